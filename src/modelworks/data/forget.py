"""Erasing a subject: its rows leave every version that is kept, and do not come back.

What is left is a tombstone, which is a digest: should a source bring rows of the subject again, they are known
by it and left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import polars as pl
from sqlalchemy import Row, select, update

from modelworks.core.errors import Invalid
from modelworks.data import profile, quarantine, versions
from modelworks.data.contract import TYPES
from modelworks.data.dataset import Dataset
from modelworks.data.undo import Stores, begin, end, undo
from modelworks.data.version import VERSION
from modelworks.stores.ledger import Ledger
from modelworks.stores.ledger.portable import chunks, queue_up, upsert
from modelworks.stores.ledger.tables import dataset_versions, forgotten

SINCE, UNTIL = "_since", "_until"
"""Columns of `Erasure.seen`: the versions between which a row was seen, both included."""


@dataclass(frozen=True, eq=False)
class Erasure:
    """What an erasure did.

    Attributes:
        dataset: Name of the dataset.
        rows: Rows that the newest version lost.
        quarantined: Rows that the quarantine lost.
        dropped: Versions that are not kept any more: they held such rows, and are not tagged, pinned or used.
        seen: Of every row that was erased, the columns asked for, `SINCE` and `UNTIL`.
    """

    dataset: str
    rows: int
    quarantined: int
    dropped: Sequence[int]
    seen: pl.DataFrame


def tombstones(ledger: Ledger, dataset: str) -> Mapping[str, frozenset[str]]:
    """Column to the digests of what is to be forgotten."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    query = select(forgotten.c.column, forgotten.c.digest).where(forgotten.c.dataset == dataset)
    with ledger.read() as db:
        for column, digest in db.execute(query):
            found[column].add(digest)
    return {column: frozenset(digests) for column, digests in found.items()}


def named(values: pl.Series, dataset: str, column: str, digests: Collection[str]) -> pl.Series:
    """Which values are to be forgotten."""
    texts = values.cast(pl.String)
    subjects = texts.unique().drop_nulls()
    those = [text for text in subjects if _digest(dataset, column, text) in digests]
    return texts.is_in(those).fill_null(value=False)


def _digest(dataset: str, column: str, text: str) -> str:
    return sha256("\0".join((dataset, column, text)).encode()).hexdigest()


def subject(dataset: Dataset, column: str | None, text: str) -> pl.DataFrame:
    """A subject as a row of one column.

    Raises:
        Invalid: the dataset has no such column, no key, or the text is no value of it.
    """
    name = column or dataset.key
    if name is None or name not in dataset.contract:
        raise Invalid(
            f"dataset {dataset.name!r} has no {f'column {column!r}' if column else 'key'}",
            f"its columns are {', '.join(dataset.contract)}",
            "name the column that names the subject",
        )
    value = pl.Series(name, [text])
    typed = value.cast(TYPES[dataset.contract[name].kind], strict=False)
    if typed.null_count():
        kind = dataset.contract[name].kind
        raise Invalid(f"{text!r} is no {kind}", f"the column {name} holds {kind}s", "check the value")
    return typed.to_frame()


def erase(
    dataset: Dataset, who: pl.DataFrame, stores: Stores, protected: Collection[int], tell: Sequence[str] = ()
) -> Erasure:
    """Take a subject's rows out of every version that is kept, and out of the quarantine.

    A version that saw such rows stays, without them, if it is among `protected`, or is read together with the
    newest one; the others are let go. If it is cut off, it is done again from the beginning.

    Args:
        dataset: Where from.
        who: As `subject` gives it.
        stores: Where it is.
        protected: Versions to keep: tagged, pinned, used.
        tell: Columns of the erased rows to return.
    """
    name, column = dataset.name, who.columns[0]
    table, text = versions.table_of(name), str(who[column].cast(pl.String)[0])
    with stores.ledger.alone(f"compact {name}"), stores.ledger.alone(f"ingest {name}"):
        undo(name, stores)
        with stores.ledger.write() as db:
            # First of all: whatever happens from here on, the rows do not come again.
            line = {"dataset": name, "column": column, "digest": _digest(name, column, text)}
            upsert(db, forgotten, [{**line, "created": stores.clock()}])
            newest = versions.newest(db, name)
        if newest is None:
            return Erasure(name, 0, 0, (), pl.DataFrame())
        begin(name, stores, [table], newest.version, {})
        seen, dropped, rows = _from_versions(name, newest, who, stores, set(protected), list(tell))
        profile.drop(stores.ledger, name)
        gone = quarantine.remove(stores.tables, name, column, text)
        with stores.ledger.read() as db:
            needed = versions.kept_tables(db, name)
        stores.tables.vacuum(table, needed, 0)
        stores.tables.vacuum(quarantine.table_of(name), [], 0)
    return Erasure(name, rows, gone, dropped, seen)


def _from_versions(
    name: str, newest: Row[Any], who: pl.DataFrame, stores: Stores, protected: set[int], tell: list[str]
) -> tuple[pl.DataFrame, list[int], int]:
    """The rows of the subject that versions saw, versions that were let go, rows that the newest one lost."""
    table, tables, v = versions.table_of(name), stores.tables, dataset_versions.c
    epochs: defaultdict[int, list[int]] = defaultdict(list)
    at: dict[int, int] = {}
    with stores.ledger.read() as db:
        query = select(v.version, v.epoch, v.table_version).where(v.dataset == name, v.dropped.is_(None))
        for number, epoch, place in db.execute(query.order_by(v.version)):
            epochs[epoch].append(number)
            at[epoch] = place  # that of its newest version, which has the rows of all of them
    seen: list[pl.DataFrame] = []
    dropped: list[int] = []
    lost, moved = 0, False
    # The newest last: it leaves the table as whoever adds to it wants it.
    for epoch in sorted(epochs, key=lambda one: (one == newest.epoch, one)):
        last = epoch == newest.epoch
        found = tables.find(table, who, list(dict.fromkeys([*tell, VERSION])), at[epoch])
        seen.append(found.rename({VERSION: SINCE}).with_columns(pl.lit(epochs[epoch][-1]).alias(UNTIL)))
        saw = {number: int((found[VERSION] <= number).sum()) for number in epochs[epoch]}
        stay = [number for number in epochs[epoch] if last or number in protected or not saw[number]]
        if (stay and len(found)) or (last and moved):
            if moved or not last:
                tables.restore(table, at[epoch])
                moved = True
            tables.remove(table, who)
        with stores.ledger.write() as db:
            queue_up(db, f"versions {name}")
            go = [number for number in epochs[epoch] if number not in stay]
            for some in chunks(go):
                versions.drop(db, name, some, stores.clock())
            if stay and (len(found) or (last and moved)):
                after = {
                    "table_version": tables.version(table),
                    "epoch": versions.next_epoch(db, name),
                    "files": tables.state(table),
                }
                for number in stay:
                    here = (v.dataset == name) & (v.version == number)
                    fewer = {"rows": v.rows - saw[number], "erased": v.erased + saw[number]}
                    db.execute(update(dataset_versions).where(here).values(**after, **fewer))
            if last:
                end(db, name)
        dropped += go
        lost = saw[epochs[epoch][-1]]
    return pl.concat(seen).unique(), sorted(dropped), lost
