"""From sketches of many champions to what can be said of each, all judged together. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
import numpy.typing as npt

from modelworks.core.measure import FEATURE_BINS, OUTPUT_BINS, Doubles, Ints, Reference
from modelworks.core.ref import parse_segment
from modelworks.monitor.attribution import attributed, by_effect, sure
from modelworks.monitor.drift.rule import Drift
from modelworks.monitor.fleet import FALSE_ALARMS, MIN_ROWS, Between, Flags, decay, effects, shift
from modelworks.monitor.history import expect
from modelworks.monitor.moves import moves, scores
from modelworks.monitor.performance import binned_auc, clustered_error, mean_loss
from modelworks.monitor.sketch import Sketches, Spread
from modelworks.monitor.watch import LossKind, Watch, finite
from modelworks.monitor.window import Key, Known

VIEWS = (7.0, 3.0)
"""Days that are looked at by themselves besides all of them: whole days, several of them.

A shift that began yesterday is a small part of four weeks. A single day would not do: Sundays are unlike other
days, and come every week.
"""
_FEWEST_DAYS = 7
"""Days with predictions from which a reference of days is one: days of the week differ."""
_BINS = max(FEATURE_BINS, OUTPUT_BINS)


def judge(
    known: Mapping[Key, Known],
    windows: Sketches,
    of: Ints,
    age: npt.NDArray[np.float64],
    rule: Drift | None = None,
    level: float = FALSE_ALARMS,
    *,
    lag: float = -1.0,
    days: float = np.inf,
) -> list[Watch]:
    """Watches of champions that have the same number of features.

    Args:
        known: The champions.
        windows: What they answered, day by day; also on the days that the rule compares with.
        of: Whose each window is, as a place in `known`, shape (windows,).
        age: How many days ago the day of each window began, shape (windows,).
        rule: How large a shift must be.
        level: Expected share of false ones among all alarms.
        lag: How many days ago a day must have ended to be asked how good the answers were; what came of the newest
            days is not like what is still to come, for some things show sooner than others.
        days: How many days back inputs and outputs are looked at.
    """
    if not known:
        return []
    rule = rule or Drift()
    truths, per_day = _complete(windows, of, age, lag, days, len(known))
    seen = np.flatnonzero(age <= days + min(lag, 0.0))
    reference, compared_with = _compared_with(known, windows, of, age, rule.before(days))
    if len(seen) < len(age):
        windows, of, age = windows.take(seen), of[seen], age[seen]
    merged, spread = windows.merge(of, len(known)), windows.spread(of, len(known))
    sums = merged.sums
    views = [merged]
    for days in VIEWS:
        recent = np.flatnonzero((age >= 1) & (age < days + 1))
        views.append(windows.take(recent).merge(of[recent], len(known)))
    references = [entry.reference for entry in known.values()]
    live = np.stack([_together(one.counts.features, one.counts.outputs.sum(axis=1)) for one in views])
    lasted = spread.windows[:, None]
    places = scores(reference, live[0], _ordered(known.values()))
    squares = windows.moves(of, len(known), places[:, :-1, :FEATURE_BINS], places[:, -1, :OUTPUT_BINS])
    # One family of tests: every feature of every champion, and every champion's output, in every view.
    compared = shift(
        reference,
        live,
        Between(lasted, _together(spread.features, spread.outputs)),
        whole=live[0],
        moved=moves(reference, live, places, lasted, live[0], squares),
        rule=rule,
        level=level,
    )
    # What is told of a column is of the view in which its shift is largest, of those that say there is one.
    said = np.where(compared.alarm, compared.effect, -1.0)
    chosen = np.where(compared.alarm.any(axis=0), said.argmax(axis=0), 0)

    def told(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        found: npt.NDArray[Any] = np.take_along_axis(values, chosen[None], axis=0)[0]
        return found

    moved, moved_error = attributed(
        reference[:, :-1, :FEATURE_BINS],
        np.take_along_axis(live, chosen[None, ..., None], axis=0)[0, :, :-1, :FEATURE_BINS],
        np.stack([_main_effects(one) for one in references], axis=1),
        told(compared.dispersion)[:, :-1],
    )
    good = _quality(known.values(), truths, per_day, level)
    auc = binned_auc(truths.counts.outputs)
    told_of, rest = truths.counts.outputs[:, :2].sum(axis=1), truths.counts.outputs[:, 2]
    apart = shift(told_of, np.where((told_of.sum(axis=1) > 0)[:, None], rest, 0), level=level)
    foretold = expect(
        list(known.values()), merged.counts.outputs.sum(axis=1), np.arange(len(known)), len(known)
    )
    alarms: list[list[bool]] = np.any(compared.alarm, axis=0).tolist()
    lastings: list[list[bool]] = np.any(compared.lasting, axis=0).tolist()
    slight: list[list[bool]] = np.any(compared.slight, axis=0).tolist()
    staying: list[list[bool]] = np.any(compared.slight_lasting, axis=0).tolist()
    drift = np.round(told(compared.effect), 4)
    psi = drift
    if rule.test != "psi":
        psi = np.round(told(np.stack([effects("psi", reference, one) for one in live])), 4)
    driven = sure(moved, moved_error)
    watches = []
    for place, ((segment, version), entry) in enumerate(known.items()):
        names = entry.features
        rows = sums[place, 0]
        how_far, moving = _named(names, drift[place]), _named(names, driven[place])
        watches.append(
            Watch(
                segment=parse_segment(segment),
                version=version,
                rows=int(rows),
                days=int(spread.windows[place]),
                output_mean=float(sums[place, 2] / rows) if rows else None,
                **good.of(place),
                auc=finite(auc[place]),
                expected_loss=finite(foretold.loss[place]),
                expected_loss_error=finite(foretold.loss_error[place]),
                expected_auc=finite(foretold.auc[place]),
                psi=_named(names, psi[place]),
                output_psi=finite(psi[place, -1]),
                drift_test=rule.test,
                reference=rule.reference if compared_with[place] else "training",
                drift=how_far,
                output_drift=finite(drift[place, -1]),
                effects=moving,
                effect_errors=_named(names, moved_error[place]),
                shifted=tuple(
                    by_effect({name: how_far[name] for name in _flagged(names, alarms[place])}, moving)
                ),
                output_shifted=alarms[place][-1],
                shifting=_flagged(names, lastings[place]),
                output_shifting=lastings[place][-1],
                slight=_flagged(names, slight[place], alarms[place]),
                slight_lasting=_flagged(names, staying[place], alarms[place]),
                unlike=finite(np.round(apart.effect[place], 4)),
                selective=bool(apart.alarm[place]),
                selecting=bool(apart.lasting[place]),
            )
        )
    return watches


def judge_answers(
    known: Mapping[Key, Known],
    windows: Sketches,
    of: Ints,
    age: npt.NDArray[np.float64],
    level: float = FALSE_ALARMS,
    *,
    lag: float = -1.0,
    days: float = np.inf,
) -> list[Watch]:
    """Watches that say how good the answers of champions were, as `judge` does, and nothing of any shift."""
    if not known:
        return []
    good = _quality(known.values(), *_complete(windows, of, age, lag, days, len(known)), level)
    seen = age <= days + min(lag, 0.0)
    rows, outputs = (np.bincount(of[seen], windows.sums[seen, column], len(known)) for column in (0, 2))
    answered = np.bincount(of[seen], minlength=len(known))
    return [
        Watch(
            segment=parse_segment(segment),
            version=version,
            rows=int(rows[place]),
            days=int(answered[place]),
            output_mean=float(outputs[place] / rows[place]) if rows[place] else None,
            **good.of(place),
            auc=None,
        )
        for place, (segment, version) in enumerate(known)
    ]


@dataclass(frozen=True, eq=False)
class _Quality:
    """How good the answers of each champion were: all of shape (models,), named as in `Watch`."""

    kinds: Sequence[LossKind]
    labelled: npt.NDArray[np.float64]
    loss: npt.NDArray[np.float64]
    loss_error: npt.NDArray[np.float64]
    promised: npt.NDArray[np.float64]
    promised_error: npt.NDArray[np.float64]
    decayed: Flags
    decaying: Flags

    def of(self, place: int) -> dict[str, Any]:
        """What a watch says of one."""
        return {
            "labelled": int(self.labelled[place]),
            "loss_kind": self.kinds[place],
            "loss": finite(self.loss[place]),
            "loss_error": finite(self.loss_error[place]),
            "promised": finite(self.promised[place]),
            "promised_error": finite(self.promised_error[place]),
            "decayed": bool(self.decayed[place]),
            "decaying": bool(self.decaying[place]),
        }


def _complete(
    windows: Sketches, of: Ints, age: npt.NDArray[np.float64], lag: float, days: float, models: int
) -> tuple[Sketches, Spread]:
    """The answers of each champion on days whose outcomes are all there, and how much these days differ."""
    there = np.flatnonzero((age >= lag + 1) & (age <= days + lag))
    truth, of = windows.answers().take(there), of[there]
    return truth.merge(of, models), truth.spread(of, models)


def _quality(known: Collection[Known], truths: Sketches, per_day: Spread, level: float) -> _Quality:
    loss, error = mean_loss(truths.sums)
    labelled = truths.sums[:, 1]
    error = np.fmax(error, clustered_error(truths.sums, per_day.windows, per_day.loss))
    promised = np.array([entry.promised for entry in known])
    there = np.array([entry.reference.rows for entry in known])
    with np.errstate(invalid="ignore", divide="ignore"):
        promised_error = error * np.sqrt(labelled / there)
    worse, lasting = decay(loss, error, labelled, promised, promised_error, level)
    kinds: list[LossKind] = [
        "squared_error" if entry.signature.task == "regression" else "log_loss" for entry in known
    ]
    return _Quality(kinds, labelled, loss, error, promised, promised_error, worse, lasting)


def _compared_with(
    known: Mapping[Key, Known],
    windows: Sketches,
    of: Ints,
    age: npt.NDArray[np.float64],
    before: tuple[float, float] | None,
) -> tuple[Ints, Flags]:
    """Rows that champions are compared with, shape (models, features + 1, bins), and whether those are of `before`.

    They are of the training where there is too little of the days that it ought to be. Days of a reference differ as
    those do that are judged with it, which the tests take into account by scaling both with the same dispersion.
    """
    training = [entry.reference for entry in known.values()]
    rows = _together(
        np.stack([one.features for one in training]), np.stack([one.outputs for one in training])
    )
    if before is None:
        return rows, np.zeros(len(known), np.bool_)
    then = np.flatnonzero((age > before[0]) & (age <= before[1]))
    past = windows.take(then).merge(of[then], len(known))
    there = (past.sums[:, 0] >= MIN_ROWS) & (np.bincount(of[then], minlength=len(known)) >= _FEWEST_DAYS)
    then_rows = _together(past.counts.features, past.counts.outputs.sum(axis=1))
    return np.where(there[:, None, None], then_rows, rows), there


def _main_effects(reference: Reference) -> Doubles:
    """Those of the reference; NaN where it has none."""
    if reference.main_effects is None:
        return np.full((2, *reference.features.shape), np.nan)
    return reference.main_effects


def _flagged(names: Sequence[str], flags: Sequence[bool], but: Sequence[bool] = ()) -> tuple[str, ...]:
    """The names of which a flag is up, and not the one of `but`."""
    if True not in flags:  # as of nearly all
        return ()
    return tuple(
        name
        for name, flag, other in zip_longest(names, flags[: len(names)], but[: len(names)])
        if flag and not other
    )


def _named(names: Sequence[str], values: npt.NDArray[np.float64]) -> dict[str, float]:
    """Values by name, those that are none left out."""
    return {name: value for name, value in zip(names, values.tolist(), strict=False) if value == value}


def _ordered(known: Iterable[Known]) -> Flags:
    """The bins that have an order: of numbers all but "missing", and of outputs; (models, features + 1, bins)."""
    names = [(len(entry.layout[0]), len(entry.features)) for entry in known]
    ordered = np.zeros((len(names), names[0][1] + 1, _BINS), np.bool_)
    for place, (numbers, _) in enumerate(names):
        ordered[place, :numbers, : FEATURE_BINS - 1] = True
    ordered[:, -1, :OUTPUT_BINS] = True
    return ordered


def _together(features: npt.NDArray[Any], outputs: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Features and outputs in one array, the output last: (models, features + 1, bins)."""
    joined = np.zeros((len(features), features.shape[1] + 1, _BINS), features.dtype)
    joined[:, :-1, :FEATURE_BINS] = features
    joined[:, -1, :OUTPUT_BINS] = outputs
    return joined
