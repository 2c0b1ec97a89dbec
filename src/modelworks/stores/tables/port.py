"""The tables' port."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import polars as pl

NOTHING: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True)
class Commit:
    """What an append did.

    Attributes:
        version: The table's version after it.
        applied: False where the same transaction had been committed before, and nothing was done.
    """

    version: int
    applied: bool


class Tables(Protocol):
    """Named tables; a name is a path like ``datasets/flights``."""

    def append(
        self,
        name: str,
        rows: pl.DataFrame,
        transaction: tuple[str, int] | None = None,
        positions: Mapping[str, int] = NOTHING,
    ) -> Commit:
        """Add rows in one atomic commit; makes the table if there is none.

        Args:
            name: The table.
            rows: What to add; a column that the table lacks is added to it, null in the older rows.
            transaction: ``(writer, number)``, committed together with the rows. A number that is not above
                the writer's last one is skipped: that is what makes a repeated append happen once.
            positions: Writer to number, committed together with the rows, even where there are no rows.
        """
        ...

    def scan(self, name: str, version: int | None = None) -> pl.LazyFrame:
        """The table's rows, now or at a version, as a lazy frame: filters and columns are pushed down.

        Raises:
            NotFound: no such table, or no such version.
        """
        ...

    def exists(self, name: str) -> bool:
        """Whether there is such a table."""
        ...

    def version(self, name: str) -> int:
        """The table's newest version; -1 where there is no such table."""
        ...

    def transactions(
        self, name: str, writers: Sequence[str], version: int | None = None
    ) -> Mapping[str, int]:
        """The last committed number of each of `writers` that has one, now or at a version."""
        ...

    def restore(self, name: str, version: int, positions: Mapping[str, int] = NOTHING) -> None:
        """Put the rows back to those of an earlier version, as a new version; -1 takes all rows out.

        To undo appends that nobody was told of; versions in between can still be read. A table keeps the
        numbers of its writers unless `positions` puts them back too.
        """
        ...

    def compact(self, name: str) -> int:
        """Join small files, while readers and writers go on; returns the number of files removed."""
        ...
