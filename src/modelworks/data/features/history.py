"""The past of a dataset, sorted so that what was known at a moment is found fast: for many rows, or for one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from modelworks.data.version import VERSION

_AT, _ROW, _PLACE, _SUM, _COUNT = "\x00at", "\x00row", "\x00place", "\x00sum", "\x00count"
_FEW = 256
"""Up to this many rows are looked up one by one: a join would look at the whole past."""


@dataclass(frozen=True, eq=False)
class History:
    """Rows of a dataset by time; of rows of one time, the one that came in last is the newest.

    Attributes:
        keys: Columns whose values part the past into pasts of their own.
        frame: The rows, sorted by time.
        times: Microseconds since 1970, UTC, shape (rows,).
    """

    keys: tuple[str, ...]
    frame: pl.DataFrame
    times: npt.NDArray[np.int64]
    _sums: dict[str | None, tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]] = field(
        default_factory=dict
    )

    @classmethod
    def of(cls, rows: pl.DataFrame, keys: Sequence[str], time: str) -> History:
        """Sort rows; those without a key or a time have no place in the past."""
        known = [name for name in (*keys, time) if rows[name].null_count()]
        rows = rows.drop_nulls(known) if known else rows
        # Whatever order the rows are read in, the past is the same, to the last bit of a sum.
        rest = sorted(set(rows.columns) - {*keys, time, VERSION})
        ties = [pl.col(VERSION)] if VERSION in rows.columns else []
        frame = rows.sort(time, *ties, *([pl.struct(rest).hash()] if rest else []))
        times = frame[time].dt.epoch("us").to_numpy().astype(np.int64, copy=False)
        return cls(tuple(keys), frame, times)

    def places(self, keys: pl.DataFrame, moments: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """For each row the place of the newest row of the past with its key that is not later; -1 for none.

        Args:
            keys: Values of `keys`, in that order, shape (rows,).
            moments: Microseconds since 1970, UTC, shape (rows,).
        """
        typed = keys.select(
            pl.col(own).cast(self.frame.schema[name], strict=False).alias(name)
            for own, name in zip(keys.columns, self.keys, strict=True)
        )
        if len(moments) <= _FEW:
            return self._one_by_one(typed, moments)
        if not self.keys:
            return np.searchsorted(self.times, moments, side="right").astype(np.int64) - 1
        left = typed.with_columns(pl.Series(_AT, moments)).with_row_index(_ROW).sort(_AT)
        there = pl.int_range(pl.len(), dtype=pl.Int64).alias(_PLACE)
        right = self.frame.select(*self.keys, pl.Series(_AT, self.times), there)
        # Both are sorted by time, though Polars cannot know it of each key alone.
        found = left.join_asof(right, on=_AT, by=list(self.keys), check_sortedness=False)
        places = np.empty(len(left), np.int64)
        places[found[_ROW].to_numpy()] = found[_PLACE].fill_null(-1).to_numpy()
        return places

    def _one_by_one(self, keys: pl.DataFrame, moments: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        places = np.full(len(moments), -1, np.int64)
        nowhere = (np.empty(0, np.int64), np.empty(0, np.int64))
        for row, key in enumerate(keys.rows() if self.keys else [()] * len(moments)):
            times, there = self._each.get(key, nowhere)
            place = int(np.searchsorted(times, moments[row], side="right")) - 1
            if place >= 0:
                places[row] = there[place]
        return places

    @cached_property
    def _each(self) -> Mapping[tuple[Any, ...], tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
        """Times and places of the rows of each key."""
        if not self.keys:
            return {(): (self.times, np.arange(len(self.times)))}
        places = self.frame.select(*self.keys, pl.int_range(pl.len()).alias(_PLACE)).group_by(self.keys)
        parts = places.agg(pl.col(_PLACE))
        found = {}
        for *key, there in zip(*(parts[name] for name in self.keys), parts[_PLACE], strict=True):
            place = there.to_numpy()
            found[tuple(key)] = self.times[place], place
        return found

    def sums(self, column: str | None) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        """Of each row, the sum of a column's values up to it since its key's first row, and their number.

        Without a column all rows are counted.
        """
        if column not in self._sums:
            values = (
                pl.repeat(0.0, pl.len()) if column is None else pl.col(column).cast(pl.Float64).fill_nan(None)
            )
            some = self.frame.select(
                *self.keys,
                values.fill_null(0.0).alias(_SUM),
                values.is_not_null().cast(pl.Int64).alias(_COUNT),
            )
            sums = pl.col(_SUM, _COUNT).cum_sum()
            found = some.select(sums.over(self.keys) if self.keys else sums)
            self._sums[column] = found[_SUM].to_numpy(), found[_COUNT].to_numpy()
        return self._sums[column]
