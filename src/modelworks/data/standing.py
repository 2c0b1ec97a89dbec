"""Up to where something was taken in: the position in a stream, the cursor of a source, lines of the quarantine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import select

from modelworks.core.errors import Conflict
from modelworks.data import versions
from modelworks.data.dataset import Dataset
from modelworks.data.delivery import Delivery
from modelworks.data.quarantine import table_of
from modelworks.data.sources.port import Cursor
from modelworks.data.streams.port import START
from modelworks.data.undo import Stores
from modelworks.stores.ledger.tables import cursors


def positions(dataset: str, stores: Stores, partitions: Sequence[str]) -> Mapping[str, int]:
    """Up to where partitions of streams were taken in: what the rows that readers see came with."""
    with stores.ledger.read() as db:
        seen = versions.newest(db, dataset)
    if seen is None:
        return {}
    return stores.tables.transactions(versions.table_of(dataset), partitions, seen.table_version)


def cursor(dataset: str, stores: Stores, source: str) -> Cursor:
    """Where a source was left by what readers see."""
    c = cursors.c
    with stores.ledger.read() as db:
        found = db.scalar(select(c.cursor).where(c.dataset == dataset, c.source == source))
    return found or {}


def check_next(dataset: Dataset, stores: Stores, brought: Sequence[Delivery]) -> None:
    """Make sure that nobody else has taken in what was brought; the caller is alone at the dataset.

    Raises:
        Conflict: a piece of a stream, or an increment, is not the one that comes next; lines of the quarantine are
            gone.
    """
    pieces = [one.piece for one in brought if one.piece is not None]
    stands = positions(dataset.name, stores, [piece.partition for piece in pieces]) if pieces else {}
    for piece in pieces:
        if stands.get(piece.partition, START) != piece.since:
            raise Conflict(
                f"what was read of {piece.partition} is not what comes next in {dataset.name}",
                "another process takes it in as well",
                "nothing is lost or doubled; run one of them",
            )
    for one in brought:
        if one.increment is not None and cursor(dataset.name, stores, one.part.uri) != one.increment.since:
            raise Conflict(
                f"what was read of {one.part.uri} is not what comes next in {dataset.name}",
                "another process takes it in as well",
                "nothing is lost or doubled; run one of them",
            )
        if one.lines is None:
            continue
        there = stores.tables.find(table_of(dataset.name), one.lines.select("id"))
        if len(there) < len(one.lines):
            raise Conflict(
                f"lines of the quarantine of {dataset.name} are not there any more",
                "somebody else replayed them",
                "look at what is there, and choose again",
            )
