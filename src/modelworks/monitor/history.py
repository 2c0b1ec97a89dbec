"""Volume and performance over time: as it was measured, and as it was expected before the truth came. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from modelworks.core.measure import Ints
from modelworks.monitor.estimators import ESTIMATORS, OF_TASK
from modelworks.monitor.estimators.port import Doubles, Expected, nothing
from modelworks.monitor.performance import binned_auc, mean_loss
from modelworks.monitor.sketch import SUMS, outputs_alone
from modelworks.monitor.stored import Window
from modelworks.monitor.watch import finite
from modelworks.monitor.window import Key, Known

By = Literal["day", "month"]

_FEWEST_DAYS = 7
"""Days with outcomes from which it is known how much luck the rows of a day share."""
_SURE = 3.0
"""Standard errors beyond which estimates are not what came."""


@dataclass(frozen=True)
class Honesty:
    """Whether estimates were right, once the truth was known.

    Attributes:
        rows: Rows whose truth is known by now.
        expected: Their mean loss as it was expected.
        measured: As it was.
        error: Standard error of the difference if the estimates are right.
        shared: How many times more days differ than if their rows were independent.
        trusted: Whether the difference may be chance; ``None`` where nothing can be said yet.
    """

    rows: int
    expected: float | None
    measured: float | None
    error: float | None
    shared: float
    trusted: bool | None


def expect(entries: Sequence[Known], live: Ints, group: Ints, groups: int) -> Expected:
    """What is expected of rows that versions have answered, by the estimator of their task.

    Args:
        entries: The versions.
        live: Rows of each by output bin, shape (versions, bins).
        group: Which are taken together, shape (versions,).
        groups: Number of groups.
    """
    found = nothing(groups)
    held = np.array([entry.reference.held for entry in entries]).reshape(len(entries), 4, -1)
    tasks = [entry.signature.task for entry in entries]
    known = held[:, 0].sum(axis=1) > 0
    for task in sorted({task for task in tasks if task in OF_TASK}):
        mine = np.flatnonzero(known & np.array([one == task for one in tasks]))
        if len(mine):
            told = ESTIMATORS[OF_TASK[task]].compute(held[mine], live[mine], group[mine], groups)
            # Of rows that are not all of such versions nothing is said.
            whole = np.bincount(group, live.sum(axis=1), groups) == np.bincount(
                group[mine], live[mine].sum(axis=1), groups
            )
            found = Expected(
                **{
                    one.name: np.where(whole, getattr(told, one.name), getattr(found, one.name))
                    for one in fields(Expected)
                }
            )
    return found


def history(
    stored: Sequence[Window], known: Mapping[Key, Known], by: By = "day"
) -> tuple[list[dict[str, Any]], Honesty]:
    """A model by day or month, all versions together.

    Args:
        stored: Windows.
        known: The versions in them.
        by: What is summed up.

    Returns:
        One entry for each that has predictions, in order: ``day, rows, labelled, output_mean, loss, loss_error, auc``
        (from binned outputs), and, without a look at any outcome, ``expected_loss, expected_loss_error, expected_auc,
        expected_auc_error``. And whether what was expected of the rows whose truth is known is what came.
    """
    sums = np.array([one.sums for one in stored], np.float64).reshape(len(stored), len(SUMS))
    outputs = outputs_alone([one.sketch for one in stored]).astype(np.int64)
    days, day = _numbered([one.start for one in stored])
    honesty = _honesty(stored, known, sums, outputs, day, len(days))
    starts = [one.start if by == "day" else one.start.replace(day=1) for one in stored]
    places, period = _numbered(starts)
    said = _expected(stored, known, outputs.sum(axis=1), period, len(places)).shared(honesty.shared)
    totals, merged = _summed(sums, period, len(places)), _summed(outputs, period, len(places))
    loss, error = mean_loss(totals)
    auc = binned_auc(merged)
    return [
        {
            "day": start,
            "rows": int(totals[place, 0]),
            "labelled": int(totals[place, 1]),
            "output_mean": totals[place, 2] / totals[place, 0],
            "loss": finite(loss[place]),
            "loss_error": finite(error[place]),
            "auc": finite(auc[place]),
            "expected_loss": finite(said.loss[place]),
            "expected_loss_error": finite(said.loss_error[place]),
            "expected_auc": finite(said.auc[place]),
            "expected_auc_error": finite(said.auc_error[place]),
        }
        for place, start in enumerate(places)
    ], honesty


def _honesty(
    stored: Sequence[Window],
    known: Mapping[Key, Known],
    sums: Doubles,
    outputs: Ints,
    day: Ints,
    days: int,
) -> Honesty:
    told = outputs[:, :-1].sum(axis=1)
    whole = sums[:, 1] == sums[:, 0]
    told[whole] = outputs[whole].sum(axis=1)  # values have no label, but here all rows have a truth
    clear = (told.sum(axis=1) == sums[:, 1]) & np.isin(np.arange(len(stored)), _places(stored, known))
    told, sums, day = told[clear], sums[clear], day[clear]
    some = [one for one, flag in zip(stored, clear.tolist(), strict=True) if flag]
    rows = int(sums[:, 1].sum())
    if not rows:
        return Honesty(0, None, None, None, 1.0, None)
    daily = _expected(some, known, told, day, days)
    labelled = np.bincount(day, sums[:, 1], days)
    with np.errstate(invalid="ignore", divide="ignore"):
        off = np.bincount(day, sums[:, 3], days) / labelled - daily.loss
        luck = np.square(daily.loss_by_luck)
    there = np.isfinite(off) & (luck > 0) & (labelled > 1)
    shared = 1.0
    if there.sum() >= _FEWEST_DAYS:
        level = np.average(off[there], weights=1 / luck[there])
        shared = max(float((np.square(off[there] - level) / luck[there]).sum() / (there.sum() - 1)), 1.0)
    every = _expected(some, known, told, np.zeros(len(some), np.int64), 1).shared(shared)
    measured, error = float(sums[:, 3].sum() / rows), finite(every.loss_error[0])
    expected = finite(every.loss[0])
    trusted = None
    if expected is not None and error is not None and there.sum() >= _FEWEST_DAYS:
        trusted = abs(measured - expected) <= _SURE * error
    return Honesty(rows, expected, measured, error, shared, trusted)


def _expected(
    stored: Sequence[Window], known: Mapping[Key, Known], live: Ints, period: Ints, periods: int
) -> Expected:
    """What is expected of each period; the windows of a version in it are one."""
    mine = _places(stored, known)
    keys = [(int(period[place]), *stored[place][:2]) for place in mine]
    pairs, pair = _numbered(keys)
    merged = _summed(live[mine], pair, len(pairs))
    entries = [known[key[1], key[2]] for key in pairs]
    group = np.array([key[0] for key in pairs], np.int64)
    return expect(entries, merged, group, periods) if pairs else nothing(periods)


def _places(stored: Sequence[Window], known: Mapping[Key, Known]) -> Ints:
    return np.array([place for place, one in enumerate(stored) if one[:2] in known], np.int64)


def _numbered(keys: Sequence[Any]) -> tuple[list[Any], Ints]:
    """What there is, in order, and the number of each."""
    order = sorted(set(keys))
    number = {key: place for place, key in enumerate(order)}
    return order, np.array([number[key] for key in keys], np.int64)


def _summed(values: npt.NDArray[Any], group: Ints, groups: int) -> npt.NDArray[Any]:
    total = np.zeros((groups, *values.shape[1:]), values.dtype)
    np.add.at(total, group, values)
    return total
