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

_AT = "\x00at"
_PLACE = "\x00place"
_FEW = 256
"""Up to this many rows are looked up one by one: a join would look at the whole past."""


@dataclass(frozen=True, eq=False)
class History:
    """Rows of a dataset by key and time; of rows of one time, the one that came in last is the newest.

    Attributes:
        keys: Columns whose values part the past into pasts of their own.
        frame: The rows, sorted by key and time.
        times: Microseconds since 1970, UTC, shape (rows,).
        starts: First row of the key of each row, shape (rows,).
    """

    keys: tuple[str, ...]
    frame: pl.DataFrame
    times: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    _sums: dict[str, tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: pl.DataFrame, keys: Sequence[str], time: str) -> History:
        """Sort rows; those without a key or a time have no place in the past."""
        rows = rows.filter(pl.all_horizontal(pl.col(name).is_not_null() for name in (*keys, time)))
        # Whatever order the rows are read in, the past is the same, to the last bit of a sum.
        rest = sorted(set(rows.columns) - {*keys, time, VERSION})
        ties = [VERSION] if VERSION in rows.columns else []
        frame = rows.sort([*keys, time, *ties, *rest], nulls_last=True)
        times = frame[time].dt.epoch("us").to_numpy().astype(np.int64, copy=False)
        starts = np.zeros(len(frame), np.int64)
        if keys and len(frame):
            changed = np.zeros(len(frame), np.bool_)
            for name in keys:
                changed[1:] |= (frame[name].slice(1) != frame[name].slice(0, len(frame) - 1)).to_numpy()
            np.maximum.accumulate(np.where(changed, np.arange(len(frame)), 0), out=starts)
        return cls(tuple(keys), frame, times, starts)

    def places(self, keys: pl.DataFrame, moments: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """For each row the place of the newest row of the past with its key that is not later; -1 for none.

        Args:
            keys: Values of `keys`, in that order, shape (rows,).
            moments: Microseconds since 1970, UTC, shape (rows,).
        """
        if len(moments) <= _FEW:
            return self._one_by_one(keys, moments)
        left = keys.rename(dict(zip(keys.columns, self.keys, strict=True))).cast(
            {name: self.frame.schema[name] for name in self.keys}
        )
        left = left.with_columns(pl.Series(_AT, moments)).with_row_index(_PLACE).sort(_AT)
        right = self.frame.select(
            *self.keys, pl.Series(_AT, self.times), pl.int_range(pl.len(), dtype=pl.Int64).alias("\x00there")
        )
        if not self.keys:
            right = right.set_sorted(_AT)
        found = left.join_asof(
            right, on=_AT, by=list(self.keys) or None, strategy="backward", check_sortedness=False
        )
        places = np.empty(len(left), np.int64)
        places[found[_PLACE].to_numpy()] = found["\x00there"].fill_null(-1).to_numpy()
        return places

    def _one_by_one(self, keys: pl.DataFrame, moments: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        typed = keys.cast(
            {own: self.frame.schema[name] for own, name in zip(keys.columns, self.keys, strict=True)}
        )
        values = typed.rows() if self.keys else [()] * len(moments)
        places = np.full(len(moments), -1, np.int64)
        for row, (key, moment) in enumerate(zip(values, moments, strict=True)):
            start, end = self._ranges.get(key, (0, 0))
            place = start + int(np.searchsorted(self.times[start:end], moment, side="right")) - 1
            places[row] = place if place >= start and end > start else -1
        return places

    @cached_property
    def _ranges(self) -> Mapping[tuple[Any, ...], tuple[int, int]]:
        """Where the past of each key lies."""
        if not len(self.frame):
            return {}
        first = np.unique(self.starts)
        values = self.frame.select(self.keys)[first].rows() if self.keys else [()]
        return dict(
            zip(values, zip(first.tolist(), [*first[1:].tolist(), len(self.frame)], strict=True), strict=True)
        )

    def sums(self, column: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        """Of each row, the sum of a column's values up to it since its key's first row, and their number."""
        if column not in self._sums:
            values = self.frame[column].cast(pl.Float64).fill_nan(None)
            there = values.is_not_null()
            frame = self.frame.select(
                values.fill_null(0.0).alias("\x00sum"),
                there.cast(pl.Int64).alias("\x00count"),
                pl.Series("\x00start", self.starts),
            ).select(pl.col("\x00sum", "\x00count").cum_sum().over("\x00start"))
            self._sums[column] = frame["\x00sum"].to_numpy(), frame["\x00count"].to_numpy()
        return self._sums[column]
