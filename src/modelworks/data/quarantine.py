"""The quarantine of a dataset: rows that broke the contract, as they came, with the reason."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import polars as pl

from modelworks.core.plain import has_value
from modelworks.data.contract import BAD
from modelworks.stores.tables import Tables


def table_of(dataset: str) -> str:
    """Name of the table that holds a dataset's quarantine."""
    return f"quarantine/{dataset}"


def kept(bad: pl.DataFrame, source: str, version: int, at: datetime) -> pl.DataFrame:
    """Bad rows with where they came from.

    Args:
        bad: Rows with the columns `contract.BAD`, numbered as in their part.
        source: The part that they came with.
        version: The ingest's version.
        at: When.
    """
    return bad.with_columns(
        pl.lit(source, pl.String).alias("source"),
        pl.lit(version, pl.Int64).alias("version"),
        pl.lit(at, pl.Datetime("us", "UTC")).alias("time"),
    )


def whole(reason: str, source: str, version: int, at: datetime) -> pl.DataFrame:
    """A part of which nothing could be read, as one line without a row."""
    line = pl.DataFrame([[None, reason, None, None, None]], schema=dict(BAD), orient="row")
    return kept(line, source, version, at)


def newest(tables: Tables, dataset: str, limit: int) -> list[dict[str, Any]]:
    """The rows that came into quarantine last."""
    if not tables.exists(table_of(dataset)):
        return []
    rows = tables.scan(table_of(dataset)).sort("version", "source", "number", descending=[True, False, False])
    return rows.head(limit).collect().to_dicts()


def remove(tables: Tables, dataset: str, column: str, text: str) -> int:
    """Take rows out in which a column has a value; returns their number."""
    table = table_of(dataset)
    if not tables.exists(table):
        return 0
    rows = tables.scan(table).filter(pl.col("row").is_not_null()).collect()
    mine = [has_value(row, column, text) for row in rows["row"]]
    named = rows.filter(pl.Series(mine, dtype=pl.Boolean)).select("row", "source", "number", "version")
    return len(tables.remove(table, named, ["version"]))
