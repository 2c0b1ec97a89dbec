"""Taking in what is new, exactly once, whenever the process dies.

An ingest is first written down in the ledger (which parts, as which version), then its rows are committed to
the tables, at last the version is entered into the ledger. Each table commit carries the transaction number
``version * 10^6 + commit``. A process that finds an ingest written down but not entered does it again: commits
that are there already are recognised by their number and skipped, the rest follows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic

import polars as pl
from sqlalchemy import Connection, delete, func, insert, select

from modelworks.core.clock import Clock, new_id
from modelworks.core.errors import Invalid
from modelworks.data.contract import TYPES, hold
from modelworks.data.dataset import Dataset
from modelworks.data.quarantine import kept, table_of
from modelworks.data.sources.port import Part
from modelworks.data.version import VERSION, IngestReport
from modelworks.lineage import graph
from modelworks.lineage.edge import Edge
from modelworks.stores.ledger import Ledger
from modelworks.stores.ledger.portable import queue_up, upsert
from modelworks.stores.ledger.tables import dataset_versions, ingested, ingests
from modelworks.stores.tables import Tables

_COMMITS = 1_000_000
"""More table commits than one ingest makes."""

_COMPACT_EVERY = 50
_PUSH = "push:"


def ingest(
    dataset: Dataset, ledger: Ledger, tables: Tables, root: Path, clock: Clock, pushed: pl.DataFrame | None = None
) -> IngestReport:
    """Take in the parts of a dataset's source that were not taken in before, as one version.

    Args:
        dataset: What to take in.
        ledger: Where versions are written.
        tables: Where rows are written.
        root: The project's folder.
        clock: Gives the time of the version.
        pushed: Rows to take in instead of what the source has.
    """
    started = monotonic()
    report = None
    while True:  # first what another process left unfinished, then what is new
        begun = _begin(dataset, ledger, root, clock, pushed)
        if begun is None:
            return report or IngestReport(dataset.name, seconds=monotonic() - started)
        version, parts, mine = begun
        report = _take_in(dataset, ledger, tables, root, clock, version, parts, pushed if mine else None, started)
        if mine:
            return report


def _begin(
    dataset: Dataset, ledger: Ledger, root: Path, clock: Clock, pushed: pl.DataFrame | None
) -> tuple[int, list[Part], bool] | None:
    """Write an ingest down, or find one that was left; ``None`` where there is nothing to do."""
    found = dataset.source.parts(root) if pushed is None else [Part(_PUSH + new_id(), "")]
    with ledger.write() as db:
        queue_up(db, f"ingest {dataset.name}")
        left = db.execute(select(ingests).where(ingests.c.dataset == dataset.name)).mappings().one_or_none()
        if left is not None:
            return left["version"], [Part(*part) for part in left["parts"]], False
        new = _new(db, dataset.name, found)
        if not new:
            return None
        last = db.scalar(select(func.max(dataset_versions.c.version)).where(dataset_versions.c.dataset == dataset.name))
        version = (last or 0) + 1
        db.execute(
            insert(ingests).values(
                dataset=dataset.name, version=version, parts=[[p.uri, p.fingerprint] for p in new], started=clock()
            )
        )
    return version, new, True


def _new(db: Connection, dataset: str, parts: Sequence[Part]) -> list[Part]:
    known = {
        (row.source, row.fingerprint)
        for row in db.execute(select(ingested.c.source, ingested.c.fingerprint).where(ingested.c.dataset == dataset))
    }
    return [part for part in parts if (part.uri, part.fingerprint) not in known]


def _take_in(
    dataset: Dataset,
    ledger: Ledger,
    tables: Tables,
    root: Path,
    clock: Clock,
    version: int,
    parts: Sequence[Part],
    pushed: pl.DataFrame | None,
    started: float,
) -> IngestReport:
    """Commit the rows of one ingest and enter its version."""
    table, writer = f"datasets/{dataset.name}", f"ingest:{dataset.name}"
    quarantine = table_of(dataset.name)
    read = added = refused = 0
    reasons: Counter[str] = Counter()
    failed: dict[str, str] = {}
    extra: dict[str, None] = {}
    number = version * _COMMITS
    for good, bad, rows, unknown, failure in _judged(dataset, root, parts, pushed, version, clock):
        read, added, refused = read + rows, added + len(good), refused + len(bad)
        reasons.update(dict(bad.group_by("reason").len().iter_rows()) if len(bad) else {})
        extra.update(dict.fromkeys(unknown))
        failed.update(failure)
        number += 1
        if len(bad):
            tables.append(quarantine, bad, (writer, number))
        if len(good) or not tables.exists(table):
            tables.append(table, good, (writer, number))
    _enter(dataset, ledger, tables, clock, version, parts, added, refused)
    if version % _COMPACT_EVERY == 0:
        tables.compact(table)
    return IngestReport(
        dataset.name, version, len(parts), read, added, refused, dict(reasons.most_common()), failed,
        tuple(extra), monotonic() - started,
    )  # fmt: skip


def _judged(
    dataset: Dataset, root: Path, parts: Sequence[Part], pushed: pl.DataFrame | None, version: int, clock: Clock
) -> Iterator[tuple[pl.DataFrame, pl.DataFrame, int, Sequence[str], dict[str, str]]]:
    """Good rows, bad rows, how many there were, unknown columns, and what failed; small parts come together."""
    now = clock()
    good: list[pl.DataFrame] = []
    bad: list[pl.DataFrame] = []
    empty = pl.DataFrame(schema={name: TYPES[field.kind] for name, field in dataset.contract.items()})
    read, waiting = 0, 0
    extra: dict[str, None] = {}
    failed: dict[str, str] = {}
    for part in parts:
        if pushed is None and part.uri.startswith(_PUSH):
            continue  # its sender was never told that it had arrived, and will send it again
        try:
            offset = 0
            for frame in [pushed] if pushed is not None else dataset.source.read(root, part):
                held = hold(frame, dataset.contract, dataset.key)
                good.append(held.good)
                bad.append(kept(held.bad, part.uri, version, now, offset))
                offset += len(frame)
                read, waiting = read + len(frame), waiting + len(frame)
                extra.update(dict.fromkeys(held.extra))
                if waiting >= _BATCH:
                    yield _together(good, empty, version), pl.concat(bad), read, tuple(extra), failed
                    good, bad, read, waiting, failed = [], [], 0, 0, {}
        except Invalid as error:
            failed[part.uri] = str(error)
            bad.append(kept(pl.DataFrame({"row": [None], "reason": [str(error)], "number": [None]}), part.uri, version, now, 0))
    if good or bad:
        refused = pl.concat(bad) if bad else kept(pl.DataFrame(), "", version, now, 0)
        yield _together(good, empty, version), refused, read, tuple(extra), failed


_BATCH = 1_000_000
"""Rows from which what is waiting is committed."""


def _together(frames: Sequence[pl.DataFrame], empty: pl.DataFrame, version: int) -> pl.DataFrame:
    return pl.concat([empty, *frames]).with_columns(pl.lit(version, pl.Int64).alias(VERSION))


def _enter(
    dataset: Dataset,
    ledger: Ledger,
    tables: Tables,
    clock: Clock,
    version: int,
    parts: Sequence[Part],
    added: int,
    refused: int,
) -> None:
    """Enter the version into the ledger, with what was taken in and where it came from."""
    now = clock()
    table_version = tables.version(f"datasets/{dataset.name}")
    with ledger.write() as db:
        before = db.scalar(
            select(dataset_versions.c.rows)
            .where(dataset_versions.c.dataset == dataset.name, dataset_versions.c.version < version)
            .order_by(dataset_versions.c.version.desc())
            .limit(1)
        )
        upsert(
            db,
            dataset_versions,
            [
                {
                    "dataset": dataset.name, "version": version, "table_version": table_version,
                    "rows": (before or 0) + added, "added": added, "quarantined": refused,
                    "sources": [{"uri": part.uri, "fingerprint": part.fingerprint} for part in parts[:1000]],
                    "columns": {name: field.to_json() for name, field in dataset.contract.items()}, "created": now,
                }
            ],
            keep=True,
        )  # fmt: skip
        upsert(
            db,
            ingested,
            [{"dataset": dataset.name, "source": p.uri, "fingerprint": p.fingerprint, "version": version} for p in parts],
            keep=True,
        )
        graph.add(
            db,
            [Edge(f"file:{p.uri}#{p.fingerprint[:12]}", "ingested", f"dataset:{dataset.name}@{version}") for p in parts],
            now,
        )
        db.execute(delete(ingests).where(ingests.c.dataset == dataset.name, ingests.c.version == version))
