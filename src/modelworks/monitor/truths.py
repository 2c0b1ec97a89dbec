"""How the truth comes: how late, how often, and until when it is all there. Pure, but for reading and writing days."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from sqlalchemy import Connection, select

from modelworks.core.measure import Ints
from modelworks.stores.ledger.portable import upsert
from modelworks.stores.ledger.tables import truths

Doubles = npt.NDArray[np.float64]

EDGES: Doubles = np.concatenate([[1 / 1440], 1.25 ** np.arange(42) / 24])
"""Upper limits of the bins of delays, days: a minute, an hour, and on by quarters to more than a year."""
LOOK_BACK = 200
"""Days from which it is known how late the truth usually comes."""
ENOUGH = 0.95
"""Share of the truth with which a day is taken for complete."""
_LEAST = 30
"""Outcomes without which nothing is said of how late they usually are."""
_TOGETHER = 7
"""Days whose truth is looked at together: of one day with few rows it is chance what is there."""
_DAY = timedelta(days=1)
_LISTS = ("delays", "served", "control", "foretold")
_AHEAD = timedelta(minutes=5)
"""How much later than it is told of something may say it happened: clocks differ."""


@dataclass(frozen=True)
class Truths:
    """One day (UTC, of event time) of one model, all versions together; its holdout only where that is said.

    Attributes:
        start: When the day began.
        rows: Predictions.
        labelled: Those with an outcome.
        repeated: Times that an outcome was told that was known already.
        corrected: Times that another one was told than was known.
        ahead: Outcomes that say they happened after they were told of: the caller's clock is wrong.
        before: Outcomes that say they happened days before what was predicted.
        last: When the newest outcome came, as delays are counted; ``None`` without any.
        delays: First outcomes by how late they came, one number for each of `EDGES` and one for later.
        served: Of the truths that are numbers: how many, their sum, the sum of their squares.
        control: The same of the holdout.
        foretold: The same of the outputs that belong to `served`.
    """

    start: datetime
    rows: int
    labelled: int
    repeated: int
    corrected: int
    ahead: int
    before: int
    last: datetime | None
    delays: tuple[int, ...]
    served: tuple[float, float, float] = (0, 0.0, 0.0)
    control: tuple[float, float, float] = (0, 0.0, 0.0)
    foretold: tuple[float, float, float] = (0, 0.0, 0.0)


def with_history(rows: pl.DataFrame, outcomes: pl.DataFrame) -> pl.DataFrame:
    """Rows from `window.joined` with what was told of each: when first, how often, how often something else."""
    numbered = rows.with_row_index("row")
    columns = ["row", "received", "value", "label", "time"]
    every = pl.concat(
        numbered.select("row", pl.col(of).alias(by)).join(outcomes, on=by, how="inner").select(columns)
        for by, of in (("prediction_id", "id"), ("key", "key"))
    )
    row = every["row"].to_numpy()
    often = pl.Series(np.bincount(row, minlength=len(rows))[row] > 1, dtype=pl.Boolean)
    # Nearly all of the truth is told once: only the rest is put in order and compared.
    again = every.filter(often).sort("received", "value", "label")
    other = [pl.col(name).ne_missing(pl.col(name).shift().over("row")) for name in ("value", "label")]
    later = pl.col("received").cum_count().over("row") > 1
    first, happened = pl.col("received").alias("first"), pl.col("time").alias("happened")
    one = (pl.lit(1, pl.UInt32).alias("told"), pl.lit(0, pl.UInt32).alias("changed"))
    changed = (
        again.with_columns(changed=later & (other[0] | other[1]))
        .group_by("row")
        .agg(first.first(), pl.len().alias("told"), pl.col("changed").sum(), happened.last())
    )
    history = pl.concat([every.filter(~often).select("row", first, *one, happened), changed])
    return numbered.join(history, on="row", how="left", maintain_order="left").drop("row")


def days_of(rows: pl.DataFrame, slack: timedelta) -> list[Truths]:
    """The days of rows from `with_history`.

    How late is counted from the answer, or from the event where that is later, on the clocks of servers.

    Args:
        rows: Whole days.
        slack: How much before its event an outcome may say it happened.
    """
    event = pl.col("event_time")
    late = (pl.col("first") - pl.max_horizontal("time", event)).clip(timedelta(0))
    day = event.dt.truncate("1d").alias("start")
    there = rows.filter(pl.col("value").is_not_null()).group_by(day, held=pl.col("arm").eq_missing("holdout"))
    both = {
        (start, held): (sums[:3], (sums[0], *sums[3:]))
        for start, held, *sums in there.agg(
            pl.len(), *(step for name in ("value", "output") for step in _sums(name))
        ).iter_rows()
    }
    rows = rows.filter(pl.col("arm").ne_missing("holdout")).with_columns(late=late)
    rows = rows.with_columns(
        place=pl.Series(
            np.searchsorted(EDGES, (rows["late"].dt.total_seconds() / 86_400).fill_null(0).to_numpy())
        )
    )
    found = rows.group_by(day, maintain_order=True).agg(
        pl.len().alias("rows"),
        pl.col("first").count().alias("labelled"),
        (pl.col("told") - 1 - pl.col("changed")).sum().alias("repeated"),
        pl.col("changed").sum().alias("corrected"),
        (pl.col("happened") > pl.col("received") + _AHEAD).sum().alias("ahead"),
        (pl.col("happened") < event - slack).sum().alias("before"),
        (event + pl.col("late")).max().alias("last"),
        pl.col("place").filter(pl.col("first").is_not_null()).alias("delays"),
    )
    none = ((0, 0.0, 0.0), (0, 0.0, 0.0))
    days = []
    for row in found.iter_rows(named=True):
        served, foretold = both.get((row["start"], False), none)
        control, _ = both.get((row["start"], True), none)
        delays = tuple(np.bincount(row["delays"], minlength=len(EDGES) + 1).tolist())
        more = {"served": tuple(served), "foretold": tuple(foretold), "control": tuple(control)}
        days.append(Truths(**{**row, "delays": delays, **more}))
    return days


def _sums(name: str) -> list[pl.Expr]:
    """The sum of a column, and of its squares."""
    return [pl.col(name).sum().alias(f"{name}_sum"), pl.col(name).pow(2).sum().alias(f"{name}_squares")]


# -- until when all of it is there ----------------------------------------------------------------------


def usual_delay(since: Doubles, delays: Ints) -> float | None:
    """How late `ENOUGH` of the truth comes that comes at all, days; ``None`` while that cannot be known.

    What came late of the newest days has not come yet, so young days are counted only up to the delay that they
    are old enough for. It is not known while as much still comes at the largest delay that could be seen.

    Args:
        since: How many days ago each day ended, shape (days,).
        delays: First outcomes by delay, shape (days, bins).

    Source: the product-limit estimate for reports that come late, Lagakos, Barraj and De Gruttola, Biometrika 75
    (1988); in insurance the chain ladder.
    """
    came: Doubles = delays[:, : len(EDGES)].astype(np.float64)
    seen = EDGES[None, :] <= since[:, None]
    so_far = (np.cumsum(came, axis=1) * seen).sum(axis=0)
    watched = int(np.count_nonzero(so_far > 0))
    first = int(np.argmax(so_far > 0))
    if so_far.max(initial=0) < _LEAST:
        return None
    each = (came * seen).sum(axis=0)[first : first + watched] / so_far[first : first + watched]
    later = np.append(np.cumprod((1 - each)[::-1])[::-1][1:], 1.0)
    place = first + int(np.argmax(later >= ENOUGH))
    if place == first + watched - 1:
        return None
    return 0.0 if place == 0 else float(EDGES[place])


def lag(since: Doubles, rows: Ints, delays: Ints) -> float:
    """How many days ago the days ended whose truth is all there, as far as it comes; infinite where none is.

    A day is, when it is older than the truth is usually late, or has an outcome for nearly every row.

    Args:
        since: How many days ago each day ended, shape (days,); in order, the oldest first.
        rows: Predictions of each, shape (days,).
        delays: First outcomes by delay, shape (days, bins).
    """
    usual = usual_delay(since, delays)
    found = np.inf if usual is None else usual
    labelled = delays.sum(axis=1)
    for place in range(len(since) - 1, -1, -1):
        if since[place] > found:
            break
        near = (since >= since[place]) & (since < since[place] + _TOGETHER)
        if labelled[place] and labelled[near].sum() >= ENOUGH * rows[near].sum():
            return float(since[place])
    return found


def since_of(days: Sequence[Truths], now: datetime) -> Doubles:
    """How many days ago each ended."""
    return np.array([(now - one.start) / _DAY - 1 for one in days])


def lag_of(days: Sequence[Truths], now: datetime) -> float:
    """The same of days as they stand in the ledger."""
    if not days:
        return float("inf")
    since = since_of(days, now)
    return lag(since, np.array([one.rows for one in days]), np.array([one.delays for one in days]))


# -- in the ledger ----------------------------------------------------------------------------------------


def write(db: Connection, model: str, days: Sequence[Truths]) -> None:
    """Write days, over what stood in their place."""
    rows = [{"model": model, **asdict(one)} for one in days]
    upsert(db, truths, [row | {name: list(row[name]) for name in _LISTS} for row in rows])


def read(db: Connection, model: str, start: datetime, end: datetime) -> list[Truths]:
    """The days that begin from `start` until before `end`, in order."""
    mine = (truths.c.model == model, truths.c.start >= start, truths.c.start < end)
    query = select(*(one for one in truths.c if one.name != "model")).where(*mine).order_by(truths.c.start)
    rows = db.execute(query).mappings()
    return [Truths(**{**row, **{name: tuple(row[name]) for name in _LISTS}}) for row in rows]


def told(days: Sequence[Truths]) -> dict[str, Any]:
    """What is to be said of some days' outcomes, all together."""
    names = ("rows", "labelled", "repeated", "corrected", "ahead", "before")
    return {name: sum(getattr(one, name) for one in days) for name in names}
