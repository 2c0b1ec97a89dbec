"""The port of sources: where rows come from, in parts that are each taken in once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import polars as pl

from modelworks.core.schema import Field


@dataclass(frozen=True)
class Part:
    """A part of a source that is taken in as a whole, or not at all.

    Attributes:
        uri: Where it is; stays the same when its content changes.
        fingerprint: Cheap to get; while it stays the same, so does the content.
        size: Bytes, where that is known: contents of different sizes are different.
    """

    uri: str
    fingerprint: str
    size: int | None = None


@runtime_checkable
class Source(Protocol):
    """Somewhere that rows come from."""

    def parts(self, root: Path) -> list[Part]:
        """What there is now, the oldest first.

        Args:
            root: The project's folder; relative places are below it.
        """
        ...

    def content(self, root: Path, part: Part) -> str:
        """A digest of the part's content, hexadecimal; ``""`` where it cannot be had.

        Asked only of parts whose fingerprint is new: a file that was copied or touched is no new content.
        """
        ...

    def read(
        self, root: Path, part: Part, expected: Mapping[str, Field] | None = None
    ) -> Iterator[pl.DataFrame]:
        """The rows of one part, in frames of bounded size.

        Args:
            root: The project's folder.
            part: Which.
            expected: What a contract says of columns. A source of text may give them so, where every value of
                a frame fits; what does not fit has to come as it is, for the quarantine.

        Raises:
            Invalid: its content cannot be read; the reason is for the quarantine.
            Unavailable: it cannot be reached now, or changed while it was read.
        """
        ...


Cursor = Mapping[str, Any]
"""Where a source was left, as plain data that only the source understands; empty before the first time."""


@dataclass(frozen=True, eq=False)
class Increment:
    """What has come since a source was left.

    Attributes:
        rows: The rows.
        since: Where it was left before them.
        upto: Where it is left after them.
        more: Whether there may be more already.
        notes: What a person should know.
    """

    rows: pl.DataFrame
    since: Cursor
    upto: Cursor
    more: bool
    notes: tuple[str, ...] = ()


@runtime_checkable
class Incremental(Protocol):
    """Somewhere that rows come from which can be asked for what has come since.

    Where it was left is kept in the transaction that enters the rows: so each comes once, whoever dies.
    """

    @property
    def name(self) -> str:
        """Which one it is, without secrets; under it the ledger keeps where it was left."""
        ...

    @property
    def again(self) -> bool:
        """Whether rows that came already come again with new ones: only a key tells them apart then."""
        ...

    def increment(self, root: Path, since: Cursor) -> Increment | None:
        """The rows that have come since, in one frame of bounded size; ``None`` where none have.

        Args:
            root: The project's folder; relative places are below it.
            since: Where it was left.

        Raises:
            Invalid: it has no such table or column.
            Unavailable: it cannot be reached now.
            NotReady: a library is missing.
        """
        ...
