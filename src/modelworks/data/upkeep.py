"""Keeping a dataset's table fast and small: packing small files, letting old versions go.

Packing does its work beside readers and writers and stops them only for the moment of its commit.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy import select

from modelworks.data import versions
from modelworks.data.quarantine import table_of as quarantine_of
from modelworks.data.undo import Stores, undo
from modelworks.stores.ledger.portable import chunks, queue_up
from modelworks.stores.ledger.tables import dataset_versions

_GRACE = 1
"""Hours that a file stays after it left the table: somebody may be reading it."""


@dataclass(frozen=True)
class VacuumReport:
    """What a vacuum did.

    Attributes:
        dataset: Name of the dataset.
        dropped: Versions whose rows are not kept any more.
        kept: Older versions that are kept all the same, with the reason.
        files: Files that were deleted.
    """

    dataset: str
    dropped: Sequence[int] = ()
    kept: dict[int, str] = field(default_factory=dict)
    files: int = 0


def compact(dataset: str, stores: Stores, by: Sequence[str], at_least: int = 2) -> int:
    """Pack a dataset's small files into large ones; its versions are then read from these.

    Args:
        dataset: Its name.
        stores: Where it is.
        by: Columns that readers choose rows by, the one that most choose by first.
        at_least: Fewer small files are left alone.

    Returns:
        The number of files that were packed.
    """
    with stores.ledger.alone(f"compact {dataset}"):
        packing = stores.tables.pack(versions.table_of(dataset), by, at_least)
        if packing is None:
            return 0
        with stores.ledger.alone(f"ingest {dataset}"):
            undo(dataset, stores)
            if not stores.tables.swap(versions.table_of(dataset), packing):
                return 0  # rows were corrected meanwhile; what was written is in no table, and vacuumed
            with stores.ledger.write() as db:
                newest = versions.newest(db, dataset)
                if newest is not None:
                    table = versions.table_of(dataset)
                    at = stores.tables.version(table)
                    versions.move(db, dataset, newest.epoch, at, stores.tables.state(table, at))
        return len(packing.gone)


def vacuum(
    dataset: str, stores: Stores, keep: timedelta | None, used: Collection[int] = (), grace: int = _GRACE
) -> VacuumReport:
    """Let old versions go, and delete the files that no version needs.

    The newest version stays, and those that are tagged, pinned, or used.

    Args:
        dataset: Its name.
        stores: Where it is.
        keep: How old a version may become; ``None`` keeps them all, and only deletes what none needs.
        used: Versions that live models were trained on.
        grace: Hours that files stay after they left the table: somebody may be reading them.
    """
    with stores.ledger.alone(f"compact {dataset}"), stores.ledger.alone(f"ingest {dataset}"):
        undo(dataset, stores)
        dropped: list[int] = []
        kept: dict[int, str] = {}
        with stores.ledger.write() as db:
            queue_up(db, f"versions {dataset}")
            newest = versions.newest(db, dataset)
            if newest is None:
                return VacuumReport(dataset)
            if keep is not None:
                v, old = dataset_versions.c, stores.clock() - keep
                query = select(v.version).where(v.dataset == dataset, v.dropped.is_(None), v.created < old)
                tagged, pinned = versions.tagged(db, dataset), versions.pinned(db, dataset)
                for number in db.scalars(query.where(v.version != newest.version).order_by(v.version)):
                    if number in tagged:
                        kept[number] = f"tagged {tagged[number]}"
                    elif number in pinned:
                        kept[number] = f"pinned: {pinned[number]}"
                    elif number in used:
                        kept[number] = "a live model was trained on it"
                    else:
                        dropped.append(number)
                for some in chunks(dropped):
                    versions.drop(db, dataset, some, stores.clock())
            needed = versions.kept_tables(db, dataset)
        files = stores.tables.vacuum(versions.table_of(dataset), needed, grace)
        files += stores.tables.vacuum(quarantine_of(dataset), [], grace)
    return VacuumReport(dataset, dropped, kept, files)
