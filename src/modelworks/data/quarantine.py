"""The quarantine of a dataset: rows that broke the contract, as they came, with the reason."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import polars as pl

from modelworks.stores.tables import Tables

_SCHEMA = {
    "row": pl.String,
    "reason": pl.String,
    "source": pl.String,
    "number": pl.Int64,
    "version": pl.Int64,
    "time": pl.Datetime("us", "UTC"),
}


def table_of(dataset: str) -> str:
    """Name of the table that holds a dataset's quarantine."""
    return f"quarantine/{dataset}"


def kept(bad: pl.DataFrame, source: str, version: int, at: datetime, offset: int) -> pl.DataFrame:
    """Bad rows with where they came from.

    Args:
        bad: Columns ``row`` (JSON text; null for a part that could not be read), ``reason``, ``number``.
        source: The part.
        version: The ingest's version.
        at: When.
        offset: Rows of the part that came before.
    """
    if not len(bad):
        return pl.DataFrame(schema=_SCHEMA)
    return bad.select(
        pl.col("row").cast(pl.String),
        pl.col("reason"),
        pl.lit(source).alias("source"),
        (pl.col("number").cast(pl.Int64) + offset).alias("number"),
        pl.lit(version, pl.Int64).alias("version"),
        pl.lit(at).dt.cast_time_unit("us").dt.convert_time_zone("UTC").alias("time"),
    )


def newest(tables: Tables, dataset: str, limit: int) -> list[dict[str, Any]]:
    """The rows that came into quarantine last."""
    if not tables.exists(table_of(dataset)):
        return []
    return tables.scan(table_of(dataset)).sort("version", "number", descending=True).head(limit).collect().to_dicts()
