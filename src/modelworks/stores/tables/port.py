"""The tables' port."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

import polars as pl

from modelworks.stores.tables.integrity import Damage

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


class Packing(Protocol):
    """Packed files that are not yet in their table."""

    @property
    def gone(self) -> Sequence[str]:
        """The files that they stand for."""
        ...


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

    def added(self, name: str, known: Set[str]) -> tuple[pl.LazyFrame | None, frozenset[str]]:
        """The rows of files that are not among `known`, ``None`` without any; and all files that there are now.

        Where files were packed that is more than has come: never less.
        """
        ...

    def lows(self, name: str, column: str) -> Sequence[Any]:
        """The smallest value of a column in each file that says so, in no order."""
        ...

    def state(self, name: str, version: int | None = None) -> str:
        """A digest of the table's files, now or at a version: another one where any row in them is another."""
        ...

    def damaged(
        self, name: str, column: str, version: int | None = None, value: int | None = None
    ) -> Sequence[Damage]:
        """The files, now or at a version, that are not what was written; of `column` the bounds are told.

        With a `value` only those that may hold it in that column are looked at.
        """
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

    def remove(self, name: str, rows: pl.DataFrame, tell: Sequence[str] | None = None) -> pl.DataFrame:
        """Take rows out, in one commit. One process at a time may: see `swap`.

        Args:
            name: The table.
            rows: Which: those that agree with one of these in its columns; null agrees with null.
            tell: Columns of the rows taken out to return; those of `rows` by default.

        Returns:
            These columns of the rows that were taken out, in any order; one that the table lacks is null.
        """
        ...

    def find(
        self, name: str, rows: pl.DataFrame, tell: Sequence[str] | None = None, version: int | None = None
    ) -> pl.DataFrame:
        """The rows that `remove` would take out, now or at a version: the columns `tell`, or those of `rows`."""
        ...

    def pack(self, name: str, by: Sequence[str] = (), at_least: int = 2) -> Packing | None:
        """Write small files anew as few large ones, while readers and writers go on; `swap` puts them in.

        Args:
            name: The table.
            by: Columns to order the rows by, so that a reader of few values reads little.
            at_least: Fewer small files than this are not worth it.

        Returns:
            ``None`` where nothing is worth it.
        """
        ...

    def swap(self, name: str, packing: Packing) -> bool:
        """Put packed files into the place of those they were made from, in one commit.

        Appends may come at the same time; of all else (`remove`, `restore`, another `swap`) the caller makes
        sure that nobody else is at it.

        Returns:
            False where rows of these files were taken out meanwhile: nothing is changed.
        """
        ...

    def vacuum(self, name: str, keep: Sequence[int], hours: int = 1) -> int:
        """Delete files that neither the newest version nor those of `keep` need; returns their number.

        Other versions cannot be read from then on.

        Args:
            name: The table.
            keep: Versions that stay readable.
            hours: Files that left the table less than this ago stay: somebody may be reading them.
        """
        ...
