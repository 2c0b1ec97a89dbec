"""Which rows belong to which segment: one sort, so that every segment of every level is a range of rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import polars as pl

from modelworks.core.clock import microseconds
from modelworks.core.duration import duration
from modelworks.core.errors import Invalid
from modelworks.core.ref import Segment
from modelworks.models.definition import Definition

TIME = "::time"
"""Column of the event time in microseconds since 1970, UTC; no column of a dataset is called so."""
TARGET = "::target"
"""Column of the target: a feature of that name would be a leak, so it is kept apart."""
_PLACE = "::place"


@dataclass(frozen=True)
class Slice:
    """The rows of one segment in the sorted frame.

    Attributes:
        segment: Values of the ``per`` columns; shorter for a parent.
        offset: First row.
        length: Number of rows.
    """

    segment: Segment
    offset: int
    length: int


@dataclass(frozen=True)
class Rows:
    """The rows that a training may use, sorted by the ``per`` columns and then by time.

    Attributes:
        frame: Columns that models take, and `TIME` and `TARGET`.
        keys: The ``per`` columns as text, sorted as `frame` is.
        since: Rows before this time (microseconds) were left out by the definition's window.
    """

    frame: pl.DataFrame
    keys: pl.DataFrame
    since: int | None


def select(
    definition: Definition,
    frame: pl.DataFrame,
    *,
    time: str,
    as_of: datetime | None = None,
    extra: Iterable[str] = (),
) -> Rows:
    """Keep the rows that may be learned from, sorted.

    Left out: rows without a target or a time; rows at or after `as_of`; rows older than the definition's
    window, counted back from `as_of` or else from the newest row.

    Args:
        definition: What to train.
        frame: Rows of the dataset, in any order.
        time: Column of the event time.
        as_of: The training's present: nothing from then on exists for it.
        extra: Further columns to keep where `frame` has them (inputs of champions).

    Raises:
        Invalid: `frame` lacks a column, or `time` is not one of times.
    """
    needed = dict.fromkeys([*definition.features, definition.target, *definition.per, time])
    missing = [name for name in needed if name not in frame.columns]
    if missing:
        raise Invalid(
            f"model {definition.name!r} needs columns that dataset {definition.dataset!r} lacks",
            f"missing: {', '.join(missing)}",
            "add them to the dataset, or correct the definition",
        )
    if not frame.schema[time].is_temporal() or frame.schema[time] == pl.Time:
        raise Invalid(
            f"column {time!r} of dataset {definition.dataset!r} holds no times",
            f"its type is {frame.schema[time]}",
            "declare it as datetime in the contract",
        )
    present = None if as_of is None else microseconds(as_of)
    kept = [*definition.features, *(name for name in dict.fromkeys(extra) if name in frame.columns)]
    keys = [_key(name) for name in definition.per]
    rows = frame.lazy().select(
        *dict.fromkeys(kept),
        pl.col(definition.target).alias(TARGET),
        pl.col(time).dt.epoch("us").alias(TIME),
        *(pl.col(name).cast(pl.String).fill_null("").alias(_key(name)) for name in definition.per),
    )
    rows = rows.filter(pl.col(TARGET).is_not_null(), pl.col(TIME).is_not_null())
    if frame.schema[definition.target].is_float():
        rows = rows.filter(pl.col(TARGET).is_not_nan())
    if present is not None:
        rows = rows.filter(pl.col(TIME) < present)
    since = None
    if definition.window is not None:
        newest = rows.select(pl.col(TIME).max()).collect().item() if present is None else present
        if newest is not None:
            since = int(newest) - int(duration(definition.window).total_seconds() * 1e6)
            rows = rows.filter(pl.col(TIME) >= since)
    found = rows.collect()
    found = _settled(found[_order(found, keys)], [*keys, TIME], [*definition.features, TARGET])
    return Rows(
        found.drop(keys),
        found.select(pl.col(key).alias(name) for key, name in zip(keys, definition.per, strict=True)),
        since,
    )


def _order(frame: pl.DataFrame, keys: Sequence[str]) -> pl.Series:
    """Row numbers by the keys, then by time; equal ones stay as they are.

    Texts are numbered in their order first: sorting rows by numbers costs a quarter of sorting them by texts.
    """
    numbers = [_numbered(frame[key]) for key in keys]
    return (
        pl.DataFrame([*numbers, frame[TIME]])
        .select(pl.arg_sort_by([*keys, TIME], maintain_order=True))
        .to_series()
    )


def _numbered(texts: pl.Series) -> pl.Series:
    return texts.cast(pl.Enum(texts.unique().sort())).to_physical()


def slices(rows: Rows, min_rows: int) -> list[Slice]:
    """Every segment with at least `min_rows` rows, at every level of parents, and the global one.

    The global model is trained whenever there is any row at all: it answers where nothing else does.
    """
    every = _ranges(rows)
    return [part for part in every if part.length >= min_rows or (not part.segment and part.length)]


def chosen(rows: Rows, segments: Collection[Segment]) -> Iterator[Slice]:
    """The rows of the named segments, however many they are; length 0 for a segment that has none."""
    known = {part.segment: part for part in _ranges(rows)}
    return (known.get(segment, Slice(segment, 0, 0)) for segment in dict.fromkeys(segments))


def split(time: npt.NDArray[np.int64], holdout: float) -> int:
    """Where the held-out rows begin: the newest `holdout` share of rows that are sorted by time.

    Rows of one time stay on one side, the held-out one, so that no model is judged on a moment it has seen.

    Args:
        time: Sorted times, shape (rows,).
        holdout: Share of the rows, between 0 and 1.

    Returns:
        Position of the first held-out row; 0 where no row is left to learn from.
    """
    if not len(time):
        return 0
    first = len(time) - max(1, round(len(time) * holdout))
    return int(np.searchsorted(time, time[max(first, 0)], side="left"))


def _ranges(rows: Rows) -> list[Slice]:
    """Every segment of every level: a new one begins where any of the level's columns changes."""
    total = rows.frame.height
    found = [Slice((), 0, total)]
    if not total:
        return found
    changed = np.zeros(total - 1, dtype=bool)
    for level, column in enumerate(rows.keys.iter_columns(), 1):
        changed |= (column.slice(1) != column.slice(0, total - 1)).to_numpy()
        starts = np.concatenate(([0], np.flatnonzero(changed) + 1))
        lengths = np.diff(starts, append=total)
        values = rows.keys.select(rows.keys.columns[:level])[starts].rows()
        found += [
            Slice(segment, int(start), int(length))
            for segment, start, length in zip(values, starts, lengths, strict=True)
        ]
    return found


def _settled(rows: pl.DataFrame, order: Sequence[str], by: Sequence[str]) -> pl.DataFrame:
    """Rows that are sorted by `order`; those that agree in it are put in the order of their content.

    So a model depends on which rows there are, not on how they lie in files: packing changes that. Rows that
    agree in all of it can stand for each other.
    """
    if len(rows) < 2:
        return rows
    same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(name).shift(-1)) for name in order)
    after = rows.select(same.alias("same"))["same"]
    after[-1] = False
    tied = after | after.shift(1, fill_value=False)
    if not tied.any():
        return rows
    places = tied.arg_true().to_numpy()
    content = [name for name in by if not rows.schema[name].is_nested()]
    sort = list(dict.fromkeys([*order, *content]))
    moved = rows[places].select(sort).with_row_index(_PLACE).sort(sort)[_PLACE].to_numpy()
    every = np.arange(len(rows))
    every[places] = places[moved]
    return rows[every]


def _key(name: str) -> str:
    return f"::per {name}"
