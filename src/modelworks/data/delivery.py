"""Rows that were brought: sent by somebody, or taken from a stream."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from modelworks.data.sources.port import Increment, Part
from modelworks.data.streams.port import Slice


@dataclass(frozen=True)
class Delivery:
    """What was brought, as a part of an ingest.

    Attributes:
        part: Names it.
        rows: The rows, as they came.
        piece: Which piece of a stream they are; ``None`` of rows that somebody sent.
        increment: Which step of a source they are that goes on from where it was left; ``None`` of others.
        lines: Lines of the quarantine that the rows stood in, one for each; ``None`` of rows that come for the
            first time.
    """

    part: Part
    rows: pl.DataFrame
    piece: Slice | None = None
    increment: Increment | None = None
    lines: pl.DataFrame | None = None

    def origin(self, numbers: pl.Series) -> tuple[str | pl.Series, pl.Series]:
        """Where some rows come from, and which there: of those with these numbers among `rows`."""
        if self.lines is not None:
            return self.lines["source"].gather(numbers), self.lines["number"].gather(numbers)
        return self.part.uri, numbers if self.piece is None else self.piece.numbers.gather(numbers)


def from_stream(piece: Slice) -> Delivery:
    """A piece of a stream: its place, and from where to where."""
    return Delivery(Part(piece.partition, f"up to {piece.upto}"), piece.rows, piece)


def from_source(name: str, increment: Increment) -> Delivery:
    """What has come since a source was left."""
    return Delivery(Part(name, ""), increment.rows, increment=increment)
