"""What a model's predictions earned, by day: of rows that it answered, and of rows of its holdout.

Days are sums, so any span is a sum of them. Rows of one key (a customer) share their luck, on whatever days they come,
and which rows are held out is drawn by that key: so the sums stand also by groups of keys, from which it is seen how
uncertain they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from sqlalchemy import Connection, delete, func, select

from modelworks.deploy.strategies.seen import Sums
from modelworks.models.signature import Signature
from modelworks.monitor.value import Value
from modelworks.monitor.window import happened
from modelworks.stores.ledger.portable import chunks, upsert
from modelworks.stores.ledger.tables import earnings, segment_earnings

GROUPS = 64
"""Groups of keys."""
Groups = npt.NDArray[np.float64]
"""Shape (GROUPS, 4): rows and worth of what was answered, rows and worth of what was held out."""
_SEGMENT = ("rows", "total", "squares", "gain", "held", "held_total", "held_squares")


@dataclass(frozen=True, eq=False)
class Earned:
    """One day (UTC, of event time) of one model: rows whose truth is known.

    Attributes:
        start: When the day began.
        served: What those that it answered are worth.
        control: What those of its holdout are worth.
        gain: How much more the former are worth than if nobody had acted on an answer.
        groups: See `Groups`; ``None`` without a holdout.
    """

    start: datetime
    served: Sums
    control: Sums
    gain: Sums
    groups: Groups | None = None


@dataclass(frozen=True)
class Accounts:
    """What was counted: days, and their segments as rows of the table ``segment_earnings`` without the model."""

    days: Sequence[Earned]
    segments: Sequence[Mapping[str, Any]]


def earned(rows: pl.DataFrame, value: Value, signature: Signature, by: str | None = None) -> Accounts:
    """Count whole days.

    Args:
        rows: From `monitor.window.joined`.
        value: What a row is worth.
        signature: Of a version of the model; says which event a binary one foretells.
        by: The column that rows of the holdout are drawn by; the dataset's key by default.

    Raises:
        Invalid: the value cannot be told.
    """
    start = pl.col("event_time").dt.truncate("1d").alias("start")
    days = rows.select(start).unique()["start"].to_list()
    known = rows.filter(pl.col("value").is_not_null() | pl.col("label").is_not_null())
    if len(known):
        event = happened(known, signature)
        output = known["output"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        worth = value.each(known, event, output)
        idle = value.each(known, event, np.full(len(known), np.nan))
    else:
        worth = idle = np.empty(0)
    held = pl.col("arm").eq_missing("holdout")
    known = known.select(
        start, "segment", held.alias("held"), group=_group(known, by), worth=worth, gain=worth - idle
    ).filter(pl.col("worth").is_finite())
    sums = [
        pl.len().alias("n"),
        pl.col("worth").sum(),
        pl.col("worth").pow(2).sum().alias("squares"),
        pl.col("gain").sum(),
        pl.col("gain").pow(2).sum().alias("gain_squares"),
    ]
    found: dict[datetime, dict[bool, tuple[Any, ...]]] = {day: {} for day in days}
    for day, side, *some in known.group_by("start", "held").agg(sums).iter_rows():
        found[day][side] = tuple(some)
    groups = _grouped(known)
    nothing = (0, 0.0, 0.0, 0.0, 0.0)
    made = []
    for day in sorted(days):
        n, *served = found[day].get(False, nothing)
        m, *control = found[day].get(True, nothing)
        made.append(
            Earned(day, Sums(n, *served[:2]), Sums(m, *control[:2]), Sums(n, *served[2:]), groups.get(day))
        )
    return Accounts(made, _by_segment(known))


def _group(rows: pl.DataFrame, by: str | None) -> pl.Series:
    """The group of each row's key, 0 to GROUPS - 1; a row without a key is one by itself."""
    # pandas' hash of texts is the same in all its versions; it takes long to load, and is needed here alone.
    from pandas.util import hash_array

    key = rows["key"] if by is None else rows["inputs"].str.json_path_match(f'$["{by}"]')
    texts = key.fill_null(rows["id"]).to_numpy().astype(object)
    return pl.Series((hash_array(texts, categorize=False) % GROUPS).astype(np.int64))


def _grouped(known: pl.DataFrame) -> dict[datetime, Groups]:
    """By day, of days with rows that were held out."""
    both = known.filter(pl.col("held").any().over("start"))
    found: dict[datetime, Groups] = {}
    summed = both.group_by("start", "group", "held").agg(pl.len(), pl.col("worth").sum())
    for day, group, side, n, total in summed.iter_rows():
        place = found.setdefault(day, np.zeros((GROUPS, 4)))[group]
        place[2 * side : 2 * side + 2] = n, total
    return found


def _by_segment(known: pl.DataFrame) -> list[dict[str, Any]]:
    held = pl.col("held")
    worth = pl.col("worth")
    return (
        known.group_by("start", "segment")
        .agg(
            (~held).sum().alias("rows"),
            worth.filter(~held).sum().alias("total"),
            worth.filter(~held).pow(2).sum().alias("squares"),
            pl.col("gain").filter(~held).sum(),
            held.sum().alias("held"),
            worth.filter(held).sum().alias("held_total"),
            worth.filter(held).pow(2).sum().alias("held_squares"),
        )
        .to_dicts()
    )


# -- in the ledger ----------------------------------------------------------------------------------------


def counted_by(db: Connection, model: str) -> str | None:
    """By which rule the model's days were counted; ``None`` where none was."""
    return db.scalar(select(earnings.c.rule).where(earnings.c.model == model).limit(1))


def begin_anew(db: Connection, model: str) -> None:
    """Forget what was counted of a model."""
    for table in (earnings, segment_earnings):
        db.execute(delete(table).where(table.c.model == model))


def write(db: Connection, model: str, rule: str, made: Accounts) -> None:
    """Write days, over what stood in their place."""
    for some in chunks([one.start for one in made.days]):
        mine = (segment_earnings.c.model == model, segment_earnings.c.start.in_(some))
        db.execute(delete(segment_earnings).where(*mine))
    upsert(db, segment_earnings, [{"model": model, **row} for row in made.segments])
    upsert(
        db,
        earnings,
        [
            {
                "model": model,
                "start": one.start,
                "rule": rule,
                **{name: _list(getattr(one, name)) for name in ("served", "control", "gain")},
                "keys": None if one.groups is None else one.groups.astype("<f4").tobytes(),
            }
            for one in made.days
        ],
    )


def read(db: Connection, model: str, start: datetime, end: datetime) -> list[Earned]:
    """The days that begin from `start` until before `end`, in order."""
    e = earnings.c
    query = select(e.start, e.served, e.control, e.gain, e["keys"]).where(
        e.model == model, e.start >= start, e.start < end
    )
    return [
        Earned(
            row.start,
            Sums(*row.served),
            Sums(*row.control),
            Sums(*row.gain),
            None
            if row.keys is None
            else np.frombuffer(row.keys, "<f4").astype(np.float64).reshape(GROUPS, 4),
        )
        for row in db.execute(query.order_by(e.start))
    ]


def read_segments(db: Connection, model: str, start: datetime, end: datetime) -> pl.DataFrame:
    """The segments of those days, summed up: columns segment, rows, total, squares, gain, held, ..."""
    s = segment_earnings.c
    query = (
        select(s.segment, *(func.sum(s[name]).label(name) for name in _SEGMENT))
        .where(s.model == model, s.start >= start, s.start < end)
        .group_by(s.segment)
    )
    schema = {"segment": pl.String} | {
        name: pl.Int64 if name in ("rows", "held") else pl.Float64 for name in _SEGMENT
    }
    return pl.DataFrame([tuple(row) for row in db.execute(query)], schema, orient="row")


def _list(sums: Sums) -> list[float]:
    return [sums.n, sums.total, sums.squares]
