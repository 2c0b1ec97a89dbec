"""How good the answers were by the value of a column, beside all other rows of the same days."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from modelworks.monitor.logged import batch_of
from modelworks.monitor.versions import Versions
from modelworks.monitor.window import (
    joined,
    read_outcomes,
    read_predictions,
    told_since,
    truths_of,
)
from modelworks.registry.gates.chance import SURE, by_chance, holm, reach_of
from modelworks.stores.tables import Tables
from modelworks.train.evidence import groups

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MOST_ROWS = 1_000_000
"""Predictions that are looked at, the newest days first."""
_MOST = 50
"""Values of a column that are told apart, those with the most rows."""
_LEAST_DAYS = 7
"""Days with outcomes from which a slice is compared: on a few days luck is shared by too many rows to be told."""
_LEAST_ROWS = 50
"""The same of rows."""


@dataclass(frozen=True)
class Slice:
    """The rows with one value of a column, or with numbers in one quarter.

    Attributes:
        name: The value; ``""`` where it is missing.
        rows: Predictions.
        labelled: Those with an outcome.
        answered: Mean of their answers.
        came: Mean of what came of those with an outcome; ``None`` where that is no number.
        loss: Mean loss; ``None`` without outcomes.
        apart: How much higher that is than the mean loss of all other rows; ``None`` where it cannot be compared.
        low: Lower end of a 95 % interval for it.
        high: Upper end.
        worse: Whether it is higher, and not by chance, though the worst was looked for.
    """

    name: str
    rows: int
    labelled: int
    answered: float
    came: float | None
    loss: float | None
    apart: float | None = None
    low: float | None = None
    high: float | None = None
    worse: bool = False


@dataclass(frozen=True)
class Sliced:
    """All slices by one column.

    Attributes:
        since: The first day that was looked at.
        rows: Predictions.
        labelled: Those with an outcome.
        slices: The worst first, then those that cannot be compared.
        others: Values that were not told apart; their rows are those of the slice ``"all others"``.
    """

    since: datetime | None
    rows: int
    labelled: int
    slices: tuple[Slice, ...]
    others: int


def asked(
    tables: Tables, versions: Versions, model: str, column: tuple[str, bool | None], since: datetime, until: datetime,
    segment: str | None,
) -> Sliced:  # fmt: skip
    """Slices of what a model answered, whichever version it was.

    Args:
        tables: With ``predictions`` and ``outcomes``.
        versions: What is known of its versions.
        model: Name of the model.
        column: Name of the column, and whether it holds texts; ``None`` for as the versions have it.
        since: Earlier events are left out; whole days that are beyond `MOST_ROWS` rows as well.
        until: Later events are left out.
        segment: Text of the segment that answered; all by default.
    """
    event = pl.col("event_time")
    if not tables.exists("predictions"):
        return Sliced(None, 0, 0, (), 0)
    mine = (event >= since) & (event < until)
    if segment is not None:
        mine &= pl.col("segment") == segment
    day = event.dt.truncate("1d")
    counted = tables.scan("predictions").filter(pl.col("model") == model, mine).group_by(day).agg(pl.len())
    newest = counted.sort("event_time", descending=True).collect()
    few = newest.filter((pl.col("len").cum_sum() <= MOST_ROWS) | (pl.int_range(pl.len()) == 0))
    first = few["event_time"].min()
    if not isinstance(first, datetime):
        return Sliced(None, 0, 0, (), 0)
    rows = read_predictions(tables, model, mine & (event >= first))
    rows = rows.filter(pl.col("arm").ne_missing("holdout"))  # it was not the model that answered them
    rows = joined(rows, read_outcomes(tables, model, told_since(first, rows)))
    known = versions.of(model, rows.select("segment", "version").unique().rows())
    came, loss = truths_of(rows, known)
    name, text = column
    if text is None:
        text = any(name in one.signature.texts for one in known.values())
    inputs = batch_of(rows["inputs"], ((), (name,), "other") if text else ((name,), (), "other"))
    values = inputs.texts[:, 0] if text else inputs.numbers[:, 0].astype(np.float64)
    names, of = groups(values)
    days = rows["event_time"].dt.epoch("d").to_numpy().astype(np.int64)
    output = rows["output"].to_numpy().astype(np.float64)
    found, others = compare(names, of.astype(np.int64), days, output, came, loss)
    return Sliced(first, len(rows), int((~np.isnan(loss)).sum()), tuple(found), others)


def compare(
    names: Sequence[str], of: Ints, days: Ints, output: Doubles, came: Doubles, loss: Doubles
) -> tuple[list[Slice], int]:
    """Compare each slice with all other rows. Pure.

    Rows of a day share their luck, so days are what is independent: the standard error of a difference of two
    mean losses is that of the sums by day of what each row adds to it. Of many slices some look worse by chance, which
    Holm's correction takes into account.

    Args:
        names: Of the values.
        of: The value of each row, as a place in `names`, shape (rows,).
        days: Its day, shape (rows,).
        output: Its answer, shape (rows,).
        came: What came of it, shape (rows,); NaN where that is not known, or no number.
        loss: Its loss, shape (rows,); NaN where that is not known.

    Returns:
        The slices, and how many values there are that were not told apart.

    Source: the cluster-robust variance, Liang and Zeger, Biometrika 73 (1986).
    """
    names, of, others = _largest(names, of)
    groups_, (every, day) = len(names), np.unique(days, return_inverse=True)
    told = ~np.isnan(loss)
    cell = (of * len(every) + day)[told]

    def summed(weights: Doubles | None) -> Doubles:
        total: Doubles = (
            np.bincount(cell, weights, groups_ * len(every)).reshape(groups_, -1).astype(np.float64)
        )
        return total

    count, lost = summed(None), summed(loss[told])
    rest, rest_lost = count.sum(axis=0) - count, lost.sum(axis=0) - lost
    with np.errstate(invalid="ignore", divide="ignore"):
        mean, other = (a.sum(axis=1) / b.sum(axis=1) for a, b in ((lost, count), (rest_lost, rest)))
        adds = (lost - count * mean[:, None]) / count.sum(axis=1)[:, None]
        adds -= (rest_lost - rest * other[:, None]) / rest.sum(axis=1)[:, None]
    there = np.count_nonzero(count, axis=1)
    enough = (there >= _LEAST_DAYS) & (count.sum(axis=1) >= _LEAST_ROWS) & (rest.sum(axis=1) >= _LEAST_ROWS)
    error = np.sqrt(np.where(enough, np.square(adds).sum(axis=1) * there / np.maximum(there - 1, 1), np.nan))
    chances = [
        by_chance(float(mean[place] - other[place]), float(error[place]), int(there[place]))
        for place in np.flatnonzero(enough)
    ]
    worse = dict(zip(np.flatnonzero(enough).tolist(), (one < 1 - SURE for one in holm(chances)), strict=True))
    known = ~np.isnan(came)
    rows, labelled = np.bincount(of, minlength=groups_), np.bincount(of[known], minlength=groups_)
    answers = np.bincount(of, output, groups_) / np.maximum(rows, 1)
    truth = np.bincount(of[known], came[known], groups_) / np.maximum(labelled, 1)
    slices = []
    for place, name in enumerate(names):
        outcomes = int(count[place].sum())
        compared: dict[str, Any] = {}
        if enough[place]:
            apart = float(mean[place] - other[place])
            reach = reach_of(float(error[place]), int(there[place]), (1 + SURE) / 2)
            compared = {"apart": apart, "low": apart - reach, "high": apart + reach, "worse": worse[place]}
        slices.append(
            Slice(
                name,
                int(rows[place]),
                outcomes,
                float(answers[place]),
                float(truth[place]) if labelled[place] else None,
                float(mean[place]) if outcomes else None,
                **compared,
            )
        )
    slices.sort(key=lambda one: (one.apart is None, -(one.apart or 0.0), -one.rows))
    return slices, others


def _largest(names: Sequence[str], of: Ints) -> tuple[list[str], Ints, int]:
    """The values with the most rows, all others being one more."""
    if len(names) <= _MOST:
        return list(names), of, 0
    order = np.argsort(-np.bincount(of, minlength=len(names)), kind="stable")
    place = np.full(len(names), _MOST - 1)
    place[order[: _MOST - 1]] = np.arange(_MOST - 1)
    kept = [names[one] for one in order[: _MOST - 1].tolist()]
    return [*kept, "all others"], place[of], len(names) - len(kept)
