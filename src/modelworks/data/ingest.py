"""Taking in what is new: all of it as one version, or, whenever the process dies, nothing of it.

One process at a time takes in rows of a dataset. It first writes down in the ledger at which versions the
tables are, then commits rows to the tables, at last enters the version into the ledger: from then on the rows
are there. Who comes next and finds an ingest that was written down but never entered puts the tables back to
where they were (nobody can have seen the rows: readers go by the ledger), and begins anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from time import monotonic

import polars as pl
from sqlalchemy import delete, insert, select

from modelworks.core.clock import Clock
from modelworks.core.errors import Conflict, Invalid, ModelworksError, Unavailable
from modelworks.data.contract import TYPES, hold
from modelworks.data.dataset import Dataset
from modelworks.data.delivery import Delivery
from modelworks.data.news import News, news_of
from modelworks.data.quarantine import kept, table_of, whole
from modelworks.data.sources.port import Part, Source
from modelworks.data.streams.port import START
from modelworks.data.version import VERSION, IngestReport
from modelworks.lineage import graph
from modelworks.lineage.edge import Edge
from modelworks.stores.ledger import Ledger
from modelworks.stores.ledger.portable import upsert
from modelworks.stores.ledger.tables import dataset_versions, ingested, ingests
from modelworks.stores.tables import Tables

_BATCH = 500_000
"""Rows from which what is waiting is committed."""

_COMPACT_EVERY = 50


@dataclass(frozen=True)
class Stores:
    """Where an ingest writes."""

    ledger: Ledger
    tables: Tables
    root: Path
    clock: Clock


@dataclass
class _Tally:
    """What an ingest came by so far."""

    read: int = 0
    added: int = 0
    refused: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    extra: dict[str, None] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    taken: list[Part] = field(default_factory=list)


class _CutOff(Exception):  # noqa: N818
    """A part broke when some of its rows had been committed already."""

    def __init__(self, part: Part, error: ModelworksError) -> None:
        super().__init__(part, error)
        self.part = part
        self.error = error


def ingest(
    dataset: Dataset, stores: Stores, brought: Sequence[Delivery] = (), lost: Sequence[str] = ()
) -> IngestReport:
    """Take in the parts of a dataset's source that were not taken in before, as one version.

    Args:
        dataset: What to take in.
        stores: Where to.
        brought: Rows to take in instead of what the source has.
        lost: What is known of rows that should have come before them, and are gone.

    Raises:
        Conflict: a column's type in the contract is another than that of the rows which are there; or pieces
            of a stream are not those that come next.
        Unavailable: a store does not answer.
    """
    started = monotonic()
    name = dataset.name
    with stores.ledger.alone(f"ingest {name}"):
        notes = ["an ingest that had been cut off was undone"] if _undo(name, stores) else []
        _next(dataset, stores, brought)
        news = news_of(dataset, stores.ledger, stores.root, brought)
        broken: dict[Part, ModelworksError] = {}
        tally, version = _Tally(), None
        while news.parts:
            version, now = _begin(dataset, stores, brought), stores.clock()
            try:
                tally = _take_in(dataset, stores, news.parts, brought, version, now, broken)
            except _CutOff as cut:
                _undo(name, stores)
                broken[cut.part] = cut.error
                continue
            if tally.taken:
                _enter(dataset, stores, news, version, tally)
            else:
                _undo(name, stores)
                version = None
            break
        if version is not None and version % _COMPACT_EVERY == 0:
            stores.tables.compact(f"datasets/{name}")
    return IngestReport(
        name, version, len(tally.taken), tally.read, tally.added, tally.refused,
        dict(tally.reasons.most_common()), tally.failed, tuple(tally.extra), tuple(lost), (*notes, *news.notes),
        monotonic() - started,
    )  # fmt: skip


def _undo(dataset: str, stores: Stores) -> bool:
    """Take back what an ingest did that never came to its end; whether there was one."""
    with stores.ledger.read() as db:
        begun = db.execute(select(ingests).where(ingests.c.dataset == dataset)).one_or_none()
    if begun is None:
        return False
    for table, version in begun.before.items():
        if stores.tables.version(table) > version:
            stores.tables.restore(table, version, begun.positions)
    with stores.ledger.write() as db:
        db.execute(delete(ingests).where(ingests.c.dataset == dataset))
    return True


def positions(dataset: str, stores: Stores, partitions: Sequence[str]) -> Mapping[str, int]:
    """Up to where partitions of streams were taken in: what the rows that readers see came with."""
    with stores.ledger.read() as db:
        newest = select(dataset_versions.c.table_version).where(dataset_versions.c.dataset == dataset)
        seen = db.scalar(newest.order_by(dataset_versions.c.version.desc()).limit(1))
    return {} if seen is None else stores.tables.transactions(f"datasets/{dataset}", partitions, seen)


def _next(dataset: Dataset, stores: Stores, brought: Sequence[Delivery]) -> None:
    """Make sure that pieces of a stream are those that come next: another process may have taken them in."""
    pieces = [one.piece for one in brought if one.piece is not None]
    stands = positions(dataset.name, stores, [piece.partition for piece in pieces]) if pieces else {}
    for piece in pieces:
        if stands.get(piece.partition, START) != piece.since:
            raise Conflict(
                f"what was read of {piece.partition} is not what comes next in {dataset.name}",
                "another process takes it in as well",
                "nothing is lost or doubled; run one of them",
            )


def _begin(dataset: Dataset, stores: Stores, brought: Sequence[Delivery]) -> int:
    """Write an ingest down; returns the number of its version."""
    with stores.ledger.read() as db:
        newest = db.execute(
            select(dataset_versions.c.version, dataset_versions.c.columns)
            .where(dataset_versions.c.dataset == dataset.name)
            .order_by(dataset_versions.c.version.desc())
            .limit(1)
        ).one_or_none()
    version = 1 if newest is None else newest.version + 1
    _same_types(dataset, {} if newest is None else newest.columns)
    before = {table: stores.tables.version(table) for table in (_table(dataset), table_of(dataset.name))}
    with stores.ledger.write() as db:
        db.execute(
            insert(ingests).values(
                dataset=dataset.name,
                version=version,
                before=before,
                positions={one.piece.partition: one.piece.since for one in brought if one.piece is not None},
                started=stores.clock(),
            )
        )
    return version


def _same_types(dataset: Dataset, before: Mapping[str, Mapping[str, str]]) -> None:
    for name, column in dataset.contract.items():
        if name in before and before[name]["kind"] != column.kind:
            raise Conflict(
                f"the column {name} of dataset {dataset.name!r} cannot become a {column.kind}",
                f"the rows that are there hold it as {before[name]['kind']}",
                "give the column, or the dataset, a new name",
            )


def _take_in(
    dataset: Dataset,
    stores: Stores,
    parts: Sequence[Part],
    brought: Sequence[Delivery],
    version: int,
    now: datetime,
    broken: Mapping[Part, ModelworksError],
) -> _Tally:
    """Commit the rows of one ingest."""
    tally = _Tally()
    tables, table, quarantine = stores.tables, _table(dataset), table_of(dataset.name)

    upto = {one.piece.partition: one.piece.upto for one in brought if one.piece is not None}

    def commit(good: pl.DataFrame, bad: pl.DataFrame) -> None:
        if len(bad):
            tables.append(quarantine, bad)
        if len(good) or upto or not tables.exists(table):
            tables.append(table, good, positions=upto)

    # While rows are being written, the next ones are read and held against the contract.
    with ThreadPoolExecutor(1, thread_name_prefix="commit") as writer:
        writing: Future[None] | None = None
        for good, bad in _batches(dataset, stores.root, parts, brought, version, now, broken, tally):
            tally.added += len(good)
            rows = bad.filter(pl.col("row").is_not_null())
            tally.refused += len(rows)
            tally.reasons.update(dict(rows["reason"].value_counts().iter_rows()))
            if writing is not None:
                writing.result()
            writing = writer.submit(commit, good, bad)
        if writing is not None:
            writing.result()
    return tally


def _batches(
    dataset: Dataset,
    root: Path,
    parts: Sequence[Part],
    brought: Sequence[Delivery],
    version: int,
    now: datetime,
    broken: Mapping[Part, ModelworksError],
    tally: _Tally,
) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Good rows and bad rows, small parts together, of a large one as much as memory should hold."""
    empty = pl.DataFrame(schema={name: TYPES[column.kind] for name, column in dataset.contract.items()})
    good: list[pl.DataFrame] = [empty]
    bad: list[pl.DataFrame] = []
    waiting = 0
    sent = {one.part: one for one in brought}

    def together() -> tuple[pl.DataFrame, pl.DataFrame]:
        rows = pl.concat(good).with_columns(pl.lit(version, pl.Int64).alias(VERSION))
        return rows, pl.concat(bad) if bad else whole("", "", version, now).clear()

    for part in parts:
        marks, offset, went_out = (len(good), len(bad), waiting), 0, False
        try:
            if part in broken:
                raise broken[part]
            piece = sent[part].piece if part in sent else None
            if piece is not None and len(piece.broken):
                bad.append(kept(piece.broken, part.uri, version, now))
                tally.read += len(piece.broken)
            for frame in [sent[part].rows] if part in sent else _read(dataset, root, part):
                held = hold(frame, dataset.contract, dataset.key)
                good.append(held.good)
                if len(held.bad):
                    numbers = (
                        offset + held.bad["number"] if piece is None else piece.numbers[held.bad["number"]]
                    )
                    bad.append(kept(held.bad.with_columns(number=numbers), part.uri, version, now))
                tally.extra.update(dict.fromkeys(held.extra))
                offset, waiting = offset + len(frame), waiting + len(frame)
                if waiting >= _BATCH:
                    yield together()
                    good, bad, waiting, went_out = [empty], [], 0, True
        except (Invalid, Unavailable) as error:
            if went_out:
                raise _CutOff(part, error) from error
            del good[marks[0] :], bad[marks[1] :]
            waiting = marks[2]
            tally.failed[part.uri] = str(error)
            if isinstance(error, Unavailable):
                continue  # not its content's fault: the next ingest tries again
            bad.append(whole(str(error), part.uri, version, now))
        else:
            tally.read += offset
        tally.taken.append(part)
    if tally.taken:
        yield together()


def _read(dataset: Dataset, root: Path, part: Part) -> Iterator[pl.DataFrame]:
    assert isinstance(dataset.source, Source)
    return dataset.source.read(root, part, dataset.contract)


def _enter(dataset: Dataset, stores: Stores, news: News, version: int, tally: _Tally) -> None:
    """Enter the version into the ledger, with what was taken in and where it came from."""
    now, name = stores.clock(), dataset.name
    table_version = stores.tables.version(_table(dataset))
    new = {
        "dataset": name, "version": version, "table_version": table_version, "added": tally.added,
        "quarantined": tally.refused, "created": now,
        "sources": [{"uri": part.uri, "fingerprint": part.fingerprint} for part in tally.taken[:1000]],
        "columns": {column: field.to_json() for column, field in dataset.contract.items()},
    }  # fmt: skip
    with stores.ledger.write() as db:
        before = db.scalar(
            select(dataset_versions.c.rows).where(
                dataset_versions.c.dataset == name, dataset_versions.c.version == version - 1
            )
        )
        db.execute(insert(dataset_versions).values(**new, rows=(before or 0) + tally.added))
        taken = [news.row(part, version) for part in tally.taken if news.remembered]
        upsert(db, ingested, [{"dataset": name} | row for row in taken])
        edges = [
            Edge(_node(part, news.contents[part]), "ingested", f"dataset:{name}@{version}")
            for part in tally.taken
        ]
        graph.add(db, edges, now)
        db.execute(delete(ingests).where(ingests.c.dataset == name))


def _node(part: Part, content: str) -> str:
    """A part in the lineage graph: by its content, which outlasts the file's times."""
    return f"file:{part.uri}#{content[:12]}" if content else part.uri


def _table(dataset: Dataset) -> str:
    return f"datasets/{dataset.name}"
