"""One trial in a worker: fit with some parameters on older rows, judge on newer ones, fold by fold.

Folds are those of a forward-chained evaluation: each is judged by what was learned from all rows before it. All of
them lie within the rows that a training learns from; those held out to judge the model are never looked at.

Source: Tashman, "Out-of-sample tests of forecasting accuracy", International Journal of Forecasting 16 (2000).
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt

from modelworks.core.clock import system_clock
from modelworks.core.errors import ModelworksError, NotReady
from modelworks.models.flavors import flavor_of
from modelworks.models.layout import to_batch
from modelworks.models.metrics import METRICS
from modelworks.models.signature_of import signature
from modelworks.train import evaluate
from modelworks.train.columns import opened, to_frame
from modelworks.train.plan import Plan, fitted, line, ordered
from modelworks.train.segments import TARGET, Slice, split

_FEWEST = 20
"""Rows to learn from and to judge by that a segment needs at least, for a search to mean anything."""


@dataclass(frozen=True)
class Attempt:
    """A trial to be made.

    Attributes:
        part: Rows of the segment.
        number: Of the trial.
        params: What to try.
        metric: What to look at.
        folds: How many.
        bars: For each fold the loss, over the folds so far, above which the trial is given up.
    """

    part: Slice
    number: int
    params: Mapping[str, Any]
    metric: str
    folds: int
    bars: Sequence[float] = ()


@dataclass(frozen=True)
class Attempted:
    """What a trial came to.

    Attributes:
        values: The metric on each fold.
        pruned: Whether it was given up before the last.
        error: Why it failed, one line; ``""`` where it did not.
        started: When, UTC.
        ended: When, UTC.
    """

    values: tuple[float, ...]
    pruned: bool
    error: str
    started: datetime
    ended: datetime

    def loss(self, metric: str) -> float | None:
        """Mean over the folds, turned so that less is better; ``None`` where it failed."""
        return loss(self.values, metric) if self.values and not self.error else None


def loss(values: Sequence[float], metric: str) -> float:
    """Mean of a metric over folds, turned so that less is better."""
    return -fmean(values) if METRICS[metric].greater_is_better else fmean(values)


def attempt(plan: Plan, given: Attempt) -> Attempted:
    """Make a trial; whatever goes wrong in it is its result."""
    started, values, pruned, error = system_clock(), list[float](), False, ""
    try:
        columns = opened(plan.stored)
        rows, time = ordered(columns, given.part, parent=len(given.part.segment) < len(plan.per))
        rows = rows[: split(time, plan.holdout)]
        cuts = _cuts(time[: len(rows)], given.folds)
        for fold, (first, last) in enumerate(cuts):
            values.append(_judged(plan, given, columns, rows[:first], rows[first:last]))
            so_far = loss(values, given.metric)
            if fold < len(cuts) - 1 and fold < len(given.bars) and so_far > given.bars[fold]:
                pruned = True
                break
    except ModelworksError as failure:
        error = str(failure)
    except Exception as failure:
        error = line(failure)
        if not isinstance(failure, ArithmeticError | ValueError):
            error += f" ({traceback.extract_tb(failure.__traceback__)[-1].name})"
    return Attempted(tuple(values), pruned, error, started, system_clock())


def _cuts(time: npt.NDArray[np.int64], folds: int) -> list[tuple[int, int]]:
    """Where each fold begins and ends; rows of one time stay on one side.

    Raises:
        NotReady: there are too few rows.
    """
    total = len(time)
    if total < 2 * _FEWEST:
        raise NotReady(f"it has {total} rows to learn from, a search needs {2 * _FEWEST}")
    places = [round(total * part / (folds + 1)) for part in range(1, folds + 1)]
    starts = sorted({int(np.searchsorted(time, time[place], side="left")) for place in places} - {0})
    if not starts:
        raise NotReady("its rows to learn from share one time")
    return list(zip(starts, [*starts[1:], total], strict=True))


def _judged(
    plan: Plan, given: Attempt, columns: Any, older: npt.NDArray[np.int64], newer: npt.NDArray[np.int64]
) -> float:
    y = columns.values(TARGET, older)
    x = {name: columns.values(name, older) for name in plan.features}
    model = fitted(plan, to_frame(x), y, {**plan.params, **given.params})
    takes = signature(x, y, plan.features, model)
    batch = to_batch({name: columns.values(name, newer) for name in plan.features}, takes)
    scores = flavor_of(model).predictor(model, takes).predict(batch)
    value = evaluate.metrics([given.metric], takes, columns.values(TARGET, newer), scores)[given.metric]
    if value is None:
        raise NotReady(f"{given.metric} is undefined on a fold", "for instance all of its targets are alike")
    return value
