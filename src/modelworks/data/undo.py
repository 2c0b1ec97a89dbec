"""Changes of several stores that happen as one, or not at all.

Before a change of a dataset's tables begins, the ledger keeps at which versions they are; when it has come to
its end, the transaction that lets readers see it removes that line. Who comes next and finds such a line puts
the tables back to where they were: nobody can have seen what was done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, delete, insert, select

from modelworks.core.clock import Clock
from modelworks.stores.ledger import Ledger
from modelworks.stores.ledger.tables import ingests
from modelworks.stores.tables import Tables


@dataclass(frozen=True)
class Stores:
    """Where datasets are."""

    ledger: Ledger
    tables: Tables
    root: Path
    clock: Clock


def begin(
    dataset: str, stores: Stores, tables: Sequence[str], version: int, positions: Mapping[str, int]
) -> None:
    """Write a change down before it begins; the caller is alone at the dataset.

    Args:
        dataset: What is changed.
        stores: Where it is.
        tables: Names of its tables that may change.
        version: The version it makes.
        positions: Where its streams are before it.
    """
    before = {table: stores.tables.version(table) for table in tables}
    line = {"dataset": dataset, "version": version, "before": before, "positions": dict(positions)}
    with stores.ledger.write() as db:
        db.execute(insert(ingests).values(**line, started=stores.clock()))


def end(db: Connection, dataset: str) -> None:
    """The change is done: part of the transaction that lets readers see it."""
    db.execute(delete(ingests).where(ingests.c.dataset == dataset))


def undo(dataset: str, stores: Stores) -> bool:
    """Take back a change that never came to its end; whether there was one. The caller is alone."""
    with stores.ledger.read() as db:
        begun = db.execute(select(ingests).where(ingests.c.dataset == dataset)).one_or_none()
    if begun is None:
        return False
    for table, version in begun.before.items():
        if stores.tables.version(table) > version:
            stores.tables.restore(table, version, begun.positions)
    with stores.ledger.write() as db:
        end(db, dataset)
    return True
