"""The quarantine of a dataset: rows that broke the contract, as they came, with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from secrets import token_hex

import polars as pl

from modelworks.core.plain import has_value
from modelworks.data.contract import BAD
from modelworks.stores.tables import Tables

_ID = 12
"""Hexadecimal digits of the id of a line."""


def table_of(dataset: str) -> str:
    """Name of the table that holds a dataset's quarantine."""
    return f"quarantine/{dataset}"


def kept(bad: pl.DataFrame, source: str | pl.Series, version: int, at: datetime) -> pl.DataFrame:
    """Bad rows with where they came from, each with an id by which a person can name it.

    Args:
        bad: Rows with the columns `contract.BAD`, numbered as in their part.
        source: The part that they came with, or that of each.
        version: The ingest's version.
        at: When.
    """
    digits = token_hex(_ID // 2 * len(bad))
    ids = [digits[start : start + _ID] for start in range(0, len(digits), _ID)]
    return bad.with_columns(
        source if isinstance(source, pl.Series) else pl.lit(source, pl.String).alias("source"),
        pl.lit(version, pl.Int64).alias("version"),
        pl.lit(at, pl.Datetime("us", "UTC")).alias("time"),
        pl.Series("id", ids, pl.String),
    )


def whole(reason: str, source: str, version: int, at: datetime) -> pl.DataFrame:
    """A part of which nothing could be read, as one line without a row."""
    line = pl.DataFrame([[None, reason, None, None, None]], schema=dict(BAD), orient="row")
    return kept(line, source, version, at)


@dataclass(frozen=True)
class Choice:
    """Which lines of a quarantine; what is not said is not asked for.

    Attributes:
        ids: Those with these ids.
        reason: Those with this text in their reason.
        source: Those with this text in their source.
    """

    ids: Sequence[str] = ()
    reason: str = ""
    source: str = ""

    def of(self, lines: pl.LazyFrame) -> pl.LazyFrame:
        """The lines chosen, the newest first."""
        if self.ids:
            lines = lines.filter(pl.col("id").is_in(list(self.ids)))
        if self.reason:
            lines = lines.filter(pl.col("reason").str.contains(self.reason, literal=True))
        if self.source:
            lines = lines.filter(pl.col("source").str.contains(self.source, literal=True))
        return lines.sort("version", "source", "number", descending=[True, False, False])


EVERYTHING = Choice()


def lines(
    tables: Tables, dataset: str, choice: Choice = EVERYTHING, limit: int | None = None
) -> pl.DataFrame:
    """The lines of a quarantine, the newest first: all, or as many as asked for."""
    if not tables.exists(table_of(dataset)):
        return kept(pl.DataFrame(schema=dict(BAD)), "", 0, datetime.now(UTC))
    found = choice.of(tables.scan(table_of(dataset)))
    return (found if limit is None else found.head(limit)).collect()


def remove(tables: Tables, dataset: str, column: str, text: str) -> int:
    """Take rows out in which a column has a value; returns their number."""
    table = table_of(dataset)
    if not tables.exists(table):
        return 0
    rows = tables.scan(table).filter(pl.col("row").is_not_null()).collect()
    mine = [has_value(row, column, text) for row in rows["row"]]
    named = rows.filter(pl.Series(mine, dtype=pl.Boolean)).select("row", "source", "number", "version")
    return len(tables.remove(table, named, ["version"]))
