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

from modelworks.core.errors import Invalid, ModelworksError, Unavailable
from modelworks.data import forget, versions
from modelworks.data.arrivals import Arrivals
from modelworks.data.contract import TYPES, Rejected, hold, refuse, strangers
from modelworks.data.dataset import Dataset
from modelworks.data.delivery import Delivery
from modelworks.data.evolution import changed
from modelworks.data.news import News, news_of
from modelworks.data.placing import Placed, place
from modelworks.data.quarantine import kept, table_of, whole
from modelworks.data.sources.port import Part, Source
from modelworks.data.standing import check_next
from modelworks.data.undo import Stores, begin, end, undo
from modelworks.data.verify import changed_by_others
from modelworks.data.version import VERSION, IngestReport
from modelworks.lineage import graph
from modelworks.lineage.edge import Edge
from modelworks.stores.ledger.portable import upsert
from modelworks.stores.ledger.tables import cursors, ingested

_BATCH = 500_000
"""Rows from which what is waiting is committed."""


@dataclass
class _Tally:
    """What an ingest came by so far.

    Attributes:
        replaced: Rows whose place another one took.
        older: Of these, those that had come with an earlier version.
        forgotten: Rows of subjects that are to be forgotten; they were left out.
        refused: Rows that broke the contract.
        newest: Latest event time.
    """

    read: int = 0
    added: int = 0
    replaced: int = 0
    older: int = 0
    refused: int = 0
    forgotten: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)
    offered: dict[str, str] = field(default_factory=dict)
    newest: datetime | None = None
    failed: dict[str, str] = field(default_factory=dict)
    taken: list[Part] = field(default_factory=list)


class _CutOff(Exception):  # noqa: N818
    """A part broke when some of its rows had been committed already."""

    def __init__(self, part: Part, error: ModelworksError) -> None:
        super().__init__(part, error)
        self.part = part
        self.error = error


def ingest(
    dataset: Dataset,
    stores: Stores,
    brought: Sequence[Delivery] = (),
    lost: Sequence[str] = (),
    *,
    accept: bool = False,
) -> IngestReport:
    """Take in the parts of a dataset's source that were not taken in before, as one version.

    Args:
        dataset: What to take in.
        stores: Where to.
        brought: Rows to take in instead of what the source has.
        lost: What is known of rows that should have come before them, and are gone.
        accept: Let in also what rules over all of it together refuse, and only say so.

    Raises:
        Conflict: the contract changed in a way that the rows which are there do not fit; pieces of a stream are
            not those that come next; or lines of the quarantine are not there any more.
        Rejected: rows that somebody sent break a rule that lets nothing in of what came with them.
        Unavailable: a store does not answer.
    """
    started = monotonic()
    name = dataset.name
    with stores.ledger.alone(f"ingest {name}"), ThreadPoolExecutor(1, thread_name_prefix="digest") as beside:
        notes = ["an ingest that had been cut off was undone"] if undo(name, stores) else []
        check_next(dataset, stores, brought)
        news = news_of(dataset, stores.ledger, stores.root, beside, brought)
        broken: dict[Part, ModelworksError] = {}
        tally, version, refused = _Tally(), None, ""
        strange = changed_by_others(name, stores) if news.parts else []
        if news.parts:
            notes += [*_evolved(dataset, stores), *strange]
        while news.parts:
            version, now = _begin(dataset, stores, brought), stores.clock()
            try:
                tally = _take_in(dataset, stores, news.parts, brought, version, now, broken, accept)
            except _CutOff as cut:
                undo(name, stores)
                broken[cut.part] = cut.error
                continue
            except Rejected as error:
                undo(name, stores)
                if any(one.piece is not None for one in brought):
                    # A stream goes on: what is not let in goes to quarantine, all of it.
                    broken, accept = dict.fromkeys(news.parts, error), True
                    continue
                if any(one.increment is None for one in brought):
                    raise
                tally, version, refused = _Tally(), None, str(error)
                break
            tally.warnings.update(dict.fromkeys(strange, 0))
            if tally.taken:
                _enter(dataset, stores, news, brought, version, tally)
            else:
                undo(name, stores)
                version = None
            break
    if tally.forgotten:
        notes.append(f"{tally.forgotten:,} rows of subjects that are to be forgotten were left out")
    return IngestReport(
        dataset=name,
        version=version,
        parts=len(tally.taken),
        rows_read=tally.read,
        rows_added=tally.added,
        rows_replaced=tally.replaced,
        rows_quarantined=tally.refused,
        reasons=dict(tally.reasons.most_common()),
        failed=tally.failed,
        offered=tally.offered,
        warnings=dict(tally.warnings),
        refused=refused,
        lost=tuple(lost),
        notes=(*notes, *news.notes),
        seconds=monotonic() - started,
    )


def _evolved(dataset: Dataset, stores: Stores) -> list[str]:
    """What a person should know of a contract that changed since the newest version."""
    with stores.ledger.read() as db:
        newest = versions.newest(db, dataset.name)
    now = {name: field.to_json() for name, field in dataset.contract.items()}
    if newest is None or newest.columns == now:
        return []
    rows = stores.tables.scan(versions.table_of(dataset.name), newest.table_version)
    return changed(dataset, newest.columns, rows, newest.rows)


def _begin(dataset: Dataset, stores: Stores, brought: Sequence[Delivery]) -> int:
    """Write an ingest down; returns the number of its version."""
    version = 1 + (versions.latest(stores.ledger, dataset.name) or 0)
    since = {one.piece.partition: one.piece.since for one in brought if one.piece is not None}
    begin(dataset.name, stores, [versions.table_of(dataset.name), table_of(dataset.name)], version, since)
    return version


def _take_in(
    dataset: Dataset,
    stores: Stores,
    parts: Sequence[Part],
    brought: Sequence[Delivery],
    version: int,
    now: datetime,
    broken: Mapping[Part, ModelworksError],
    accept: bool,
) -> _Tally:
    """Commit the rows of one ingest."""
    tally, arrivals = _Tally(), Arrivals(dataset, stores, now)
    tables, table, quarantine = stores.tables, versions.table_of(dataset.name), table_of(dataset.name)
    erased = forget.tombstones(stores.ledger, dataset.name)
    upto = {one.piece.partition: one.piece.upto for one in brought if one.piece is not None}
    for one in brought:
        if one.lines is not None:
            tables.remove(quarantine, one.lines.select("id"))

    def commit(good: pl.DataFrame, bad: pl.DataFrame) -> Placed:
        placed = place(dataset, tables, good, bad, version, now)
        if len(placed.bad):
            tables.append(quarantine, placed.bad)
        if len(placed.good) or upto or not tables.exists(table):
            tables.append(table, placed.good, positions=upto)
        return placed

    def done(placed: Placed) -> None:
        rows = placed.bad.filter(pl.col("row").is_not_null())
        tally.added += len(placed.good) - placed.same
        tally.older += placed.older
        tally.replaced += placed.older + placed.corrected
        tally.refused += len(rows)
        tally.reasons.update(dict(rows["reason"].value_counts().iter_rows()))

    # While rows are being written, the next ones are read and held against the contract.
    with ThreadPoolExecutor(1, thread_name_prefix="commit") as writer:
        writing: Future[Placed] | None = None
        for good, bad in _batches(dataset, stores.root, parts, brought, version, now, broken, tally):
            for column, digests in erased.items():
                before = len(good)
                good = good.filter(~forget.named(good[column], dataset.name, column, digests))
                tally.forgotten += before - len(good)
            arrivals.add(good)
            if writing is not None:
                done(writing.result())
            writing = writer.submit(commit, good, bad)
        if writing is not None:
            done(writing.result())
    tally.newest = arrivals.newest
    replayed = any(one.lines is not None for one in brought)  # a handful, which a person looked at
    for rule, said in arrivals.breaches() if tally.taken and not replayed else ():
        if rule.on_breach == "reject" and not accept:
            raise Rejected(
                f"nothing was let into {dataset.name}",
                said,
                f"mend the source, or run 'modelworks ingest {dataset.name} --accept'",
            )
        tally.warnings[said] += 0
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

    key = None if dataset.same_key == "add" else dataset.key
    for part in parts:
        delivery = sent.get(part)
        piece = None if delivery is None else delivery.piece
        if piece is not None and len(piece.broken):
            bad.append(kept(piece.broken, part.uri, version, now))
            tally.read += len(piece.broken)
        marks, offset, went_out = (len(good), len(bad), waiting), 0, False
        try:
            if part in broken:
                raise broken[part]
            for frame in [delivery.rows] if delivery else _read(dataset, root, part):
                held = hold(
                    frame, dataset.contract, key, dataset.row_rules, last=dataset.same_key == "replace"
                )
                good.append(held.good)
                if len(held.bad):
                    bad.append(_kept(held.bad, part, delivery, offset, version, now))
                tally.warnings.update(held.warned)
                tally.offered |= strangers(frame, dataset.contract) if not offset else {}
                offset, waiting = offset + len(frame), waiting + len(frame)
                if waiting >= _BATCH:
                    yield together()
                    good, bad, waiting, went_out = [empty], [], 0, True
        except (Invalid, Unavailable) as error:
            if went_out:
                raise _CutOff(part, error) from error
            del good[marks[0] :], bad[marks[1] :]
            waiting = marks[2]
            if delivery is not None and isinstance(error, Rejected):
                if piece is None:
                    raise  # whoever sent it is told
                refused = refuse(delivery.rows, None, error.what)
                bad.append(_kept(refused, part, delivery, 0, version, now))
                tally.read += len(refused)
                tally.taken.append(part)
                continue
            tally.failed[part.uri] = str(error)
            if isinstance(error, Unavailable):
                continue  # not its content's fault: the next ingest tries again
            bad.append(whole(str(error), part.uri, version, now))
        else:
            tally.read += offset
        tally.taken.append(part)
    if tally.taken:
        yield together()


def _kept(
    bad: pl.DataFrame, part: Part, delivery: Delivery | None, offset: int, version: int, now: datetime
) -> pl.DataFrame:
    """Bad rows of one frame as lines of the quarantine, with where they came from."""
    if delivery is None:
        return kept(bad.with_columns(pl.col("number") + offset), part.uri, version, now)
    source, numbers = delivery.origin(bad["number"])
    return kept(bad.with_columns(numbers.alias("number")), source, version, now)


def _read(dataset: Dataset, root: Path, part: Part) -> Iterator[pl.DataFrame]:
    assert isinstance(dataset.source, Source)
    return dataset.source.read(root, part, dataset.contract)


def _enter(
    dataset: Dataset, stores: Stores, news: News, brought: Sequence[Delivery], version: int, tally: _Tally
) -> None:
    """Enter the version into the ledger, with what was taken in and where it came from."""
    now, name = stores.clock(), dataset.name
    table_version = stores.tables.version(versions.table_of(name))
    digest = stores.tables.state(versions.table_of(name), table_version)
    new = {
        "dataset": name, "version": version, "table_version": table_version, "added": tally.added,
        "replaced": tally.older, "quarantined": tally.refused, "created": now,
        "sources": [{"uri": part.uri, "fingerprint": part.fingerprint} for part in tally.taken[:1000]],
        "columns": {column: field.to_json() for column, field in dataset.contract.items()},
        "offered": tally.offered, "warnings": dict(tally.warnings), "digest": digest, "files": digest,
    }  # fmt: skip
    taken = [news.row(part, version) for part in tally.taken if news.remembered]
    left = [
        {"dataset": name, "source": one.part.uri, "cursor": dict(one.increment.upto), "version": version}
        for one in brought
        if one.increment is not None
    ]
    with stores.ledger.write() as db:
        before = versions.newest(db, name)
        rows = (before.rows if before else 0) + tally.added - tally.older
        # Whoever reads this table version does not see the rows any more that earlier versions had.
        epoch = versions.next_epoch(db, name) if before is None or tally.older else before.epoch
        times = [time for time in (before and before.newest, tally.newest) if time]
        versions.enter(db, {**new, "rows": rows, "epoch": epoch, "newest": max(times, default=None)})
        upsert(db, ingested, [{"dataset": name} | row for row in taken])
        upsert(db, cursors, left)
        edges = [
            Edge(_node(part, news.contents[part]()), "ingested", f"dataset:{name}@{version}")
            for part in tally.taken
        ]
        graph.add(db, edges, now)
        end(db, name)


def _node(part: Part, content: str) -> str:
    """A part in the lineage graph: by its content, which outlasts the file's times."""
    return f"file:{part.uri}#{content[:12]}" if content else part.uri
