"""When somebody should know: one alert for one cause, in words. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

import numpy as np

from modelworks.core.ref import Ref, Segment, segment_text
from modelworks.monitor.drift.port import benjamini_hochberg
from modelworks.monitor.fleet import FALSE_ALARMS
from modelworks.monitor.watch import Traffic, Watch

Kind = Literal[
    "feature_drift", "slight_drift", "prediction_drift", "performance", "volume",
    "silent_outcomes", "selective_outcomes", "feedback_loop",
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


@dataclass(frozen=True)
class Finding:
    """Something that a person should know.

    Attributes:
        segment: Of which segment; ``()`` also for what concerns many segments.
        kind: What it is about.
        severity: ``"warning"``; ``"critical"`` where answers are worse or nobody asks any more; ``"info"`` for
            what is sure, but small.
        message: What, one sentence.
        evidence: The numbers behind it, JSON-able.
    """

    segment: Segment
    kind: Kind
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
        named, listed = _by_number({name: spread[name] for name in common})
        seen_by = f"{touched} of {len(watches)} segments of {model}"
        message = f"{seen_by} see other inputs than when they were trained: {listed}"
        evidence = {"segments": touched, "of": len(watches), "features": named}
        found.append(Finding((), "feature_drift", "warning", message, evidence))
    for watch, names in seen:
        own = {name: watch.drift[name] for name in names if name not in common}
        if own and not (touched and not watch.segment):  # the global one shares its place with the many
            ordered = sorted(own.items(), key=lambda item: -item[1])[:_NAMED]
            listed = ", ".join(f"{name} ({_far(watch.drift_test, value)})" for name, value in ordered)
            message = f"{Ref(model, watch.segment)} sees other inputs than when it was trained: {listed}"
            evidence = {watch.drift_test: own, "rows": watch.rows}
            found.append(Finding(watch.segment, "feature_drift", "warning", message, evidence))
    return found


def _slight_drift(model: str, watches: Sequence[Watch], lasting: bool) -> list[Finding]:
    """Small shifts that are beyond chance are one thing to know of a model, however many there are."""
    spread: Counter[str] = Counter()
    touched = []
    for watch in watches:
        names = watch.slight_lasting if lasting else watch.slight
        if names:
            touched.append(watch)
            spread.update(names)
    if not touched:
        return []
    named, listed = _by_number(spread)
    message = (
        f"{len(touched)} of {len(watches)} segments of {model} see slightly other inputs than when they were trained, "
        f"and not by chance: {listed}"
    )
    evidence = {
        "segments": len(touched),
        "of": len(watches),
        "features": named,
        "first": [segment_text(watch.segment) for watch in touched[:_NAMED]],
    }
    return [Finding((), "slight_drift", "info", message, evidence)]


def _prediction_drift(model: str, watches: Sequence[Watch], lasting: bool) -> list[Finding]:
    def one(watch: Watch) -> Finding:
        message = (
            f"{Ref(model, watch.segment)} gives other answers than at validation "
            f"({_far(watch.drift_test, watch.output_drift or 0.0)} over {watch.rows} predictions)"
        )
        evidence = {
            watch.drift_test: watch.output_drift,
            "rows": watch.rows,
            "output_mean": watch.output_mean,
        }
        return Finding(watch.segment, "prediction_drift", "warning", message, evidence)

    moved = [watch for watch in watches if (watch.output_shifting if lasting else watch.output_shifted)]
    return _grouped(model, moved, len(watches), one, "give other answers than at validation", _farthest)


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


def _by_number(spread: Mapping[str, int]) -> tuple[dict[str, int], str]:
    """Features by the number of segments, those of the most first; and the same in words."""
    named = dict(sorted(spread.items(), key=lambda item: (-item[1], item[0])))
    listed = ", ".join(f"{name} in {segments}" for name, segments in list(named.items())[:_NAMED])
    more = f" and {len(named) - _NAMED} more features" if len(named) > _NAMED else ""
    return named, listed + more


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
