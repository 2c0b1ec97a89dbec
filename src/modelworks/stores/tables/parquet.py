"""One data file of a table in a folder: Parquet, with the statistics by which readers pass over files."""

from __future__ import annotations

import json
import time
from datetime import date
from pathlib import Path
from typing import Any
from uuid import uuid4

import polars as pl
from deltalake.transaction import AddAction

from modelworks.stores.tables.integrity import named

_COLUMNS = 32
"""Columns that have bounds: as many as Delta Lake's own writers give by default."""

_LETTERS = 64
_LAST = "\U0010ffff"


def written(
    rows: pl.DataFrame, folder: Path, group: int | None = None, *, data_change: bool = True
) -> AddAction:
    """Write a file into a table's folder; it belongs to the table once the action is committed.

    Args:
        rows: Its rows.
        folder: The table's folder.
        group: Rows that are read together; fewer make a file of ordered rows faster to search.
        data_change: False where the rows are in the table already, and only their place changes.

    Raises:
        OSError: the disk is full, or the folder is not to be written to.
    """
    path = folder / f"part-{uuid4()}.zstd.parquet"
    rows.write_parquet(path, compression="zstd", compression_level=1, row_group_size=group)
    path = named(path)
    stats = _statistics(rows.select(rows.columns[:_COLUMNS]))
    return AddAction(
        path.name, path.stat().st_size, {}, int(time.time() * 1000), data_change=data_change, stats=stats
    )


def _statistics(rows: pl.DataFrame) -> str:
    """Number of rows, and of each column its bounds and number of nulls.

    Source: "Per-file Statistics" of the Delta transaction log protocol. A bound of text may be cut, as long as
    it still bounds.
    """
    kinds = {name: kind for name, kind in rows.schema.items() if _has_bounds(kind)}
    told = rows.select(
        *(pl.col(name).min().alias(f"min {name}") for name in kinds),
        *(pl.col(name).max().alias(f"max {name}") for name in kinds),
        *(pl.col(name).null_count().alias(f"nulls {name}") for name in rows.columns),
        # A NaN lies outside of all bounds, and JSON has no infinity.
        *(
            pl.col(name).is_finite().all().alias(f"all {name}")
            for name, kind in kinds.items()
            if kind.is_float()
        ),
    ).row(0, named=True)
    bounded = [
        name
        for name in kinds
        if told[f"min {name}"] is not None and told.get(f"all {name}", True) and _can_end(told[f"max {name}"])
    ]
    found = {
        "numRecords": len(rows),
        "minValues": {name: _low(told[f"min {name}"]) for name in bounded},
        "maxValues": {name: _high(told[f"max {name}"]) for name in bounded},
        "nullCount": {name: told[f"nulls {name}"] for name in rows.columns},
    }
    return json.dumps(found)


def _has_bounds(kind: pl.DataType) -> bool:
    return (
        kind.is_float()
        or kind.is_integer()
        or isinstance(kind, pl.Boolean | pl.String | pl.Datetime | pl.Date)
    )


def _low(value: Any) -> Any:
    return _written(value)[:_LETTERS] if isinstance(value, str) else _written(value)


def _can_end(value: Any) -> bool:
    """Whether there is a short text after this one: not after one that goes on with the last letter of all."""
    return not isinstance(value, str) or value[_LETTERS : _LETTERS + 1] != _LAST


def _high(value: Any) -> Any:
    return value[:_LETTERS] + _LAST if isinstance(value, str) and len(value) > _LETTERS else _written(value)


def _written(value: Any) -> Any:
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, date) else value
