"""The port of streams: where rows come from without an end, each with its position."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import polars as pl

from modelworks.core.schema import Field

START = -(2**63)
"""The position before the first message of all."""

Positions = Callable[[Sequence[str]], Mapping[str, int]]
"""Names of partitions to positions; one that nothing was taken in of is missing."""


@dataclass(frozen=True)
class Slice:
    """Consecutive messages of one partition.

    Attributes:
        partition: Name of the partition; says where it is, and stays the same: ``"nats:FLIGHTS"``.
        since: Position of the message before the first one; `START` where there is none.
        upto: Position of the last one.
        rows: What could be read, as it came.
        numbers: Position of each row, shape (n,).
        broken: Messages that are no rows, with the columns `contract.BAD`; ``number`` is the position.
    """

    partition: str
    since: int
    upto: int
    rows: pl.DataFrame
    numbers: pl.Series
    broken: pl.DataFrame


@dataclass(frozen=True)
class Taken:
    """What came in one go.

    Attributes:
        slices: At most one of each partition.
        lost: Of messages that were gone before they were read, in words.
    """

    slices: Sequence[Slice]
    lost: Sequence[str] = ()


class Reader(Protocol):
    """A stream, opened at a position."""

    @property
    def behind(self) -> int:
        """Messages that wait to be taken, as far as is known; 0 at the end of what there is."""
        ...

    def take(self, rows: int, seconds: float) -> Taken | None:
        """The next messages, in order: as soon as there are enough, or some time after the first of them.

        Args:
            rows: How many are enough. A few more may come.
            seconds: How long to wait for the first one, and from then on for enough.

        Returns:
            ``None`` where nothing came.

        Raises:
            Unavailable: the other side does not answer any more. What was not taken in is read again by the
                next reader.
        """
        ...

    def close(self) -> None:
        """Give the connection back."""
        ...


@runtime_checkable
class Stream(Protocol):
    """Somewhere that rows come from without an end.

    It keeps no track of who read what: a reader is opened where the table says that it stands. That the
    position is in the same commit as the rows is what makes every message count exactly once.

    Attributes:
        rows: Rows from which what came is committed.
        seconds: Time after which it is committed in any case.
    """

    rows: int
    seconds: float

    def open(self, positions: Positions, expected: Mapping[str, Field]) -> Reader:
        """Begin to read behind what was taken in.

        Args:
            positions: Tells, of partitions, the position of the last message that was taken in.
            expected: What a contract says of columns.

        Raises:
            Unavailable: the other side does not answer.
            Invalid: there is no such stream, or it cannot be read twice.
            NotReady: a library is missing.
        """
        ...
