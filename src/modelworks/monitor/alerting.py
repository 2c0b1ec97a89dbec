"""When somebody should know: one alert for one cause, in words. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

import numpy as np

from modelworks.core.ref import Ref, Segment, segment_text
from modelworks.monitor.attribution import by_effect
from modelworks.monitor.drift.port import benjamini_hochberg
from modelworks.monitor.drift.rule import Compared
from modelworks.monitor.fleet import FALSE_ALARMS
from modelworks.monitor.watch import Traffic, Watch

Kind = Literal[
    "feature_drift", "slight_drift", "prediction_drift", "performance", "volume",
    "silent_outcomes", "selective_outcomes", "feedback_loop", "negative_value", "value_unknown",
    "source", "quarantine", "lost", "contract", "stale", "rollout", "training",
]  # fmt: skip
KINDS: frozenset[Kind] = frozenset(
    {
        "feature_drift",
        "slight_drift",
        "prediction_drift",
        "performance",
        "volume",
        "silent_outcomes",
        "selective_outcomes",
        "feedback_loop",
        "negative_value",
        "value_unknown",
    }
)
"""What is judged of a model's windows."""

Severity = Literal["info", "warning", "critical"]
SEVERITIES: tuple[str, ...] = get_args(Severity)
"""In the order of their weight."""

MANY = 3
"""Segments from which the same thing is one alert of the model, not one of each segment."""
_DAY = timedelta(days=1)
_WEEK = timedelta(days=7)
_NAMED = 5
"""Features or segments that a message names."""
_BEFORE: dict[Compared | None, str] = {
    "trailing": "on the days before",
    "seasonal": "a year before",
    None: "before",
}
_THAN = {"training": "when it was trained", **_BEFORE}
_THAN_MANY = {"training": "when they were trained", **_BEFORE}
_THAN_ANSWERS = {"training": "at validation", **_BEFORE}
"""What inputs or answers are compared with, in words."""


@dataclass(frozen=True)
class Finding:
    """Something that a person should know.

    Attributes:
        segment: Of which segment; ``()`` also for what concerns many segments.
        kind: What it is about: a `Kind`, or what a project's own rule is called.
        severity: ``"warning"``; ``"critical"`` where answers are worse or nobody asks any more; ``"info"`` for
            what is sure, but small.
        message: What, one sentence.
        evidence: The numbers behind it, JSON-able.
    """

    segment: Segment
    kind: str
    severity: Severity
    message: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


def findings(
    model: str, watches: Sequence[Watch], traffic: Sequence[Traffic], now: datetime, *, lasting: bool = False
) -> list[Finding]:
    """All that there is to say of a model; at most one finding of a kind for a segment.

    Args:
        model: Its name.
        watches: Its champions.
        traffic: When predictions came, for each segment.
        now: The moment.
        lasting: Judge by the easier limits that keep an open alert open.
    """
    return [
        *_feature_drift(model, watches, lasting),
        *_slight_drift(model, watches, lasting),
        *_prediction_drift(model, watches, lasting),
        *_performance(model, watches, lasting),
        *_volume(model, traffic, now),
    ]


def _feature_drift(model: str, watches: Sequence[Watch], lasting: bool) -> list[Finding]:
    """A feature that shifts in many segments is one cause; what few have, each tells for itself."""
    seen = [(watch, watch.shifting if lasting else watch.shifted) for watch in watches]
    spread = Counter(name for _, names in seen for name in names)
    common = {name for name, segments in spread.items() if segments >= MANY}
    touched = sum(1 for _, names in seen if common & set(names))
    found = []
    if touched:
        driven = _over_all([(watch, common.intersection(names)) for watch, names in seen])
        named, listed = _by_number({name: spread[name] for name in common}, driven)
        seen_by = f"{touched} of {len(watches)} segments of {model}"
        than = _THAN_MANY[_reference(watch for watch, names in seen if common.intersection(names))]
        message = f"{seen_by} see other inputs than {than}: {listed}"
        evidence = {"segments": touched, "of": len(watches), "features": named, "effects": driven}
        found.append(Finding((), "feature_drift", "warning", message, evidence))
    for watch, names in seen:
        own = {name: watch.drift[name] for name in names if name not in common}
        if own and not (touched and not watch.segment):  # the global one shares its place with the many
            ordered = by_effect(own, watch.effects)
            listed = ", ".join(
                f"{name} ({_far(watch.drift_test, own[name])}{_driven(watch.effects.get(name))})"
                for name in ordered[:_NAMED]
            )
            than = _THAN[watch.reference]
            message = f"{Ref(model, watch.segment)} sees other inputs than {than}: {listed}"
            effects = {name: watch.effects[name] for name in ordered if name in watch.effects}
            evidence = {watch.drift_test: own, "rows": watch.rows, "effects": effects}
            found.append(Finding(watch.segment, "feature_drift", "warning", message, evidence))
    return found


def _slight_drift(model: str, watches: Sequence[Watch], lasting: bool) -> list[Finding]:
    """Small shifts that are beyond chance are one thing to know of a model, however many there are."""
    spread: Counter[str] = Counter()
    told = []
    for watch in watches:
        names = watch.slight_lasting if lasting else watch.slight
        if names:
            told.append((watch, set(names)))
            spread.update(names)
    if not told:
        return []
    driven = _over_all(told)
    named, listed = _by_number(spread, driven)
    message = (
        f"{len(told)} of {len(watches)} segments of {model} see slightly other inputs than "
        f"{_THAN_MANY[_reference(watch for watch, _ in told)]}, and not by chance: {listed}"
    )
    evidence = {
        "segments": len(told),
        "of": len(watches),
        "features": named,
        "effects": driven,
        "first": [segment_text(watch.segment) for watch, _ in told[:_NAMED]],
    }
    return [Finding((), "slight_drift", "info", message, evidence)]


def _prediction_drift(model: str, watches: Sequence[Watch], lasting: bool) -> list[Finding]:
    def one(watch: Watch) -> Finding:
        message = (
            f"{Ref(model, watch.segment)} gives other answers than {_THAN_ANSWERS[watch.reference]} "
            f"({_far(watch.drift_test, watch.output_drift or 0.0)} over {watch.rows} predictions)"
        )
        evidence = {
            watch.drift_test: watch.output_drift,
            "rows": watch.rows,
            "output_mean": watch.output_mean,
        }
        return Finding(watch.segment, "prediction_drift", "warning", message, evidence)

    moved = [watch for watch in watches if (watch.output_shifting if lasting else watch.output_shifted)]
    says = f"give other answers than {_THAN_ANSWERS[_reference(moved)]}"
    return _grouped(model, moved, len(watches), one, says, _farthest)


def _performance(model: str, watches: Sequence[Watch], lasting: bool) -> list[Finding]:
    def one(watch: Watch) -> Finding:
        loss, promised = watch.loss or 0.0, watch.promised or 0.0
        message = (
            f"{Ref(model, watch.segment)} is worse than at validation: "
            f"loss {loss:.3f} over {watch.labelled} outcomes, it was {promised:.3f}"
        )
        evidence = {"loss": loss, "error": watch.loss_error, "promised": promised, "labelled": watch.labelled}
        return Finding(watch.segment, "performance", "critical", message, evidence)

    worse = [watch for watch in watches if (watch.decaying if lasting else watch.decayed)]
    return _grouped(model, worse, len(watches), one, "are worse than at validation", _largest_loss)


def _volume(model: str, traffic: Sequence[Traffic], now: datetime) -> list[Finding]:
    """Segments that nobody asks for any more.

    A segment is missed after two days, and twice as long as its longest pause so far, if its rows a day make
    so long a silence unlikely (Poisson), all segments judged together. It takes more than a week of
    history, so that days of rest are known. Parents are not: they answer what
    their children leave, which is nothing once each has a model.
    """
    lowest = max((len(one.segment) for one in traffic), default=0)
    seen = [one for one in traffic if len(one.segment) == lowest]
    silent = np.array([max((now - one.days[-1]) // _DAY - 1, 0) for one in seen])
    rate = np.array([one.rate for one in seen])
    chance = benjamini_hochberg(np.exp(-rate * silent))
    gone = [
        one
        for one, days, p in zip(seen, silent.tolist(), chance.tolist(), strict=True)
        if days >= 2 and days > 2 * one.pause and one.days[-1] - one.days[0] >= _WEEK and p <= FALSE_ALARMS
    ]

    def one(quiet: Traffic) -> Finding:
        message = (
            f"{Ref(model, quiet.segment)} got no predictions since {quiet.days[-1]:%d %B %Y}, "
            f"before that {_rate(quiet.rate)}"
        )
        evidence = {"last": quiet.days[-1].date().isoformat(), "rows_a_day": quiet.rate}
        return Finding(quiet.segment, "volume", "critical", message, evidence)

    return _grouped(model, gone, len(seen), one, "get no predictions any more", lambda one: -one.rows)


def _grouped(
    model: str,
    what: Sequence[Any],
    of: int,
    one: Callable[[Any], Finding],
    says: str,
    order: Callable[[Any], float],
) -> list[Finding]:
    """A finding for each, or one for all of them where they are many."""
    if len(what) < MANY:
        return [one(each) for each in what]
    first = [one(each) for each in sorted(what, key=order)]
    named = ", ".join(segment_text(finding.segment) or "the global one" for finding in first[:_NAMED])
    message = f"{len(what)} of {of} segments of {model} {says}, most of all {named}"
    evidence = {
        "segments": len(what),
        "of": of,
        "most": {segment_text(finding.segment): dict(finding.evidence) for finding in first[:_NAMED]},
    }
    return [Finding((), first[0].kind, first[0].severity, message, evidence)]


def _by_number(spread: Mapping[str, int], driven: Mapping[str, float]) -> tuple[dict[str, int], str]:
    """Features, those first that move the answers most, then those of the most segments; and the same in words."""
    ordered = by_effect(spread, driven)
    listed = ", ".join(
        f"{name} in {spread[name]}{_driven(driven.get(name), ' (', ')')}" for name in ordered[:_NAMED]
    )
    more = f" and {len(ordered) - _NAMED} more features" if len(ordered) > _NAMED else ""
    return {name: spread[name] for name in ordered}, listed + more


def _reference(watches: Iterable[Watch]) -> Compared | None:
    """What all of them are compared with, if it is the same."""
    found = {watch.reference for watch in watches}
    return found.pop() if len(found) == 1 else None


def _over_all(seen: Sequence[tuple[Watch, Set[str]]]) -> dict[str, float]:
    """How far each feature moves the mean answer of the rows of segments in which it has shifted, where known."""
    sums: dict[str, tuple[float, int]] = {}
    for watch, names in seen:
        for name in names & watch.effects.keys():
            total, rows = sums.get(name, (0.0, 0))
            sums[name] = (total + watch.effects[name] * watch.rows, rows + watch.rows)
    return {name: total / rows for name, (total, rows) in sums.items() if rows}


def _driven(effect: float | None, begin: str = ", ", end: str = "") -> str:
    """What a shift does to the answers, in words; nothing where it is not known."""
    if effect is None:
        return ""
    told = f"moves the answers by {effect:+.2g}" if effect else "hardly moves the answers"
    return f"{begin}{told}{end}"


def _farthest(watch: Watch) -> float:
    return -(watch.output_drift or 0.0)


def _far(test: str, value: float) -> str:
    """How far something has shifted, in words: ``"PSI 0.31"``, ``"wasserstein 0.40"``."""
    return f"{test.upper() if len(test) < 4 else test} {value:.2f}"


def _largest_loss(watch: Watch) -> float:
    return (watch.promised or 0.0) - (watch.loss or 0.0)


def _rate(per_day: float) -> str:
    if per_day >= 1.5:
        return f"about {per_day:.0f} a day"
    days = math.ceil(1 / per_day)
    return "about one a day" if days == 1 else f"one in about {days} days"
