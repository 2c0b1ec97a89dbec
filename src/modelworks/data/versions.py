"""Dataset versions in the ledger: which there are, which rows each sees, which are kept."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

import polars as pl
from sqlalchemy import Connection, Row, delete, func, insert, select, update

from modelworks.core.clock import Clock
from modelworks.core.errors import Conflict, Invalid, NotFound, NotReady
from modelworks.core.ref import Ref
from modelworks.data.version import VERSION, DatasetVersion
from modelworks.stores.ledger import Ledger
from modelworks.stores.ledger.portable import queue_up, upsert
from modelworks.stores.ledger.tables import dataset_pins, dataset_tags, dataset_versions, datasets
from modelworks.stores.tables import Tables

_V = dataset_versions.c


def table_of(dataset: str) -> str:
    """Name of the table that holds a dataset's rows."""
    return f"datasets/{dataset}"


def newest(db: Connection, dataset: str) -> Row[Any] | None:
    """The newest version's line in the ledger."""
    query = select(dataset_versions).where(_V.dataset == dataset).order_by(_V.version.desc()).limit(1)
    return db.execute(query).one_or_none()


def next_epoch(db: Connection, dataset: str) -> int:
    """A number for versions that are read from a table version of their own."""
    return 1 + (db.scalar(select(func.max(_V.epoch)).where(_V.dataset == dataset)) or 0)


def latest(ledger: Ledger, dataset: str) -> int | None:
    """The newest version's number, ``None`` before the first ingest."""
    with ledger.read() as db:
        number: int | None = db.scalar(select(func.max(_V.version)).where(_V.dataset == dataset))
        return number


def find(ledger: Ledger, ref: Ref) -> DatasetVersion:
    """The version a reference names: ``flights``, ``flights@12``, ``flights@TAG``, ``flights@2024-05-01``.

    A moment names the version that was the newest then; a day alone is its beginning, UTC.

    Raises:
        NotFound: there is none, or no such dataset.
        NotReady: the dataset has no version yet.
    """
    mine = _V.dataset == ref.name
    with ledger.read() as db:
        if ref.at in (None, "latest"):
            found = newest(db, ref.name)
            if (
                found is None
                and db.scalar(select(datasets.c.name).where(datasets.c.name == ref.name)) is None
            ):
                raise NotFound(
                    f"there is no dataset {ref.name!r}", "", "check the name: 'modelworks data list'"
                )
            if found is None:
                raise NotReady(
                    f"dataset {ref.name!r} has no version yet",
                    "nothing was ingested",
                    f"run 'modelworks ingest {ref.name}'",
                )
        elif isinstance(ref.at, int):
            found = db.execute(select(dataset_versions).where(mine, _V.version == ref.at)).one_or_none()
        else:
            t = dataset_tags.c
            tagged = select(t.version).where(t.dataset == ref.name, t.tag == ref.at).scalar_subquery()
            found = db.execute(select(dataset_versions).where(mine, _V.version == tagged)).one_or_none()
            moment = None if found is not None else _moment(str(ref.at))
            if moment is not None:
                then = select(dataset_versions).where(mine, _V.created <= moment)
                found = db.execute(then.order_by(_V.created.desc(), _V.version.desc()).limit(1)).one_or_none()
    if found is None:
        number = latest(ledger, ref.name)
        raise NotFound(
            f"there is no dataset version {ref}",
            f"the newest is {ref.name}@{number}" if number else f"{ref.name!r} was never ingested",
            f"'modelworks data show {ref.name}' lists versions and tags" if number else "check the name",
        )
    return DatasetVersion(**found._mapping)


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def rows(tables: Tables, version: DatasetVersion) -> pl.LazyFrame:
    """The rows that a version sees.

    Raises:
        NotFound: they are not kept any more.
    """
    if version.dropped is not None:
        raise NotFound(
            f"the rows of {version.dataset}@{version.version} are not kept any more",
            f"they were dropped on {version.dropped:%Y-%m-%d %H:%M} UTC",
            "a version that is tagged or pinned is kept: see 'modelworks data pin'",
        )
    # Later versions may be in the same table version.
    scan = tables.scan(table_of(version.dataset), version.table_version)
    return scan.filter(pl.col(VERSION) <= version.version)


def recent(ledger: Ledger, dataset: str, limit: int) -> list[DatasetVersion]:
    """The newest versions, the newest first."""
    query = select(dataset_versions).where(_V.dataset == dataset).order_by(_V.version.desc()).limit(limit)
    with ledger.read() as db:
        return [DatasetVersion(**row) for row in db.execute(query).mappings()]


def tag(ledger: Ledger, ref: Ref, name: str) -> DatasetVersion:
    """Name a version; a tag that was given is not moved.

    Raises:
        Invalid: the tag would mean something else.
        Conflict: it names another version.
        NotFound: there is no such version, or its rows are not kept.
    """
    version = find(ledger, ref)
    at = Ref.parse(f"{version.dataset}@{name}").at
    if at == "latest" or isinstance(at, int) or _moment(name) is not None:
        raise Invalid(f"{name!r} cannot be a tag", "it already means a version", "choose a word")
    t = dataset_tags.c
    with ledger.write() as db:
        queue_up(db, f"versions {version.dataset}")
        _kept(db, version)
        new = {"dataset": version.dataset, "tag": name, "version": version.version}
        upsert(db, dataset_tags, [new], keep=True)
        given = db.scalar(select(t.version).where(t.dataset == version.dataset, t.tag == name))
    if given != version.version:
        raise Conflict(
            f"the tag {version.dataset}@{name} names version {given}",
            "tags do not move",
            "choose another tag",
        )
    return version


def tags(ledger: Ledger, dataset: str) -> dict[str, int]:
    """Tag to version."""
    t = dataset_tags.c
    with ledger.read() as db:
        return dict(db.execute(select(t.tag, t.version).where(t.dataset == dataset)).all())


def pin(ledger: Ledger, clock: Clock, ref: Ref, reason: str) -> DatasetVersion:
    """Keep a version whatever its age; pinning it again changes the reason.

    Raises:
        NotFound: there is no such version, or its rows are not kept any more.
    """
    version = find(ledger, ref)
    new = {"dataset": version.dataset, "version": version.version, "reason": reason, "created": clock()}
    with ledger.write() as db:
        queue_up(db, f"versions {version.dataset}")
        _kept(db, version)
        upsert(db, dataset_pins, [new])
    return version


def unpin(ledger: Ledger, ref: Ref) -> DatasetVersion:
    """Let a version go when its time comes.

    Raises:
        NotFound: there is no such version, or it was not pinned by hand.
    """
    version, p = find(ledger, ref), dataset_pins.c
    with ledger.write() as db:
        mine = (p.dataset == version.dataset) & (p.version == version.version)
        if not db.execute(delete(dataset_pins).where(mine)).rowcount:
            raise NotFound(f"{version.dataset}@{version.version} is not pinned", "", "nothing to do")
    return version


def pins(ledger: Ledger, dataset: str) -> dict[int, str]:
    """Versions pinned by hand, with the reason."""
    with ledger.read() as db:
        return pinned(db, dataset)


def _kept(db: Connection, version: DatasetVersion) -> None:
    """Make sure, in the transaction that protects a version, that it was not dropped just before."""
    mine = (_V.dataset == version.dataset) & (_V.version == version.version)
    if db.scalar(select(_V.dropped).where(mine)) is not None:
        raise NotFound(
            f"the rows of {version.dataset}@{version.version} are not kept any more", "", "choose another"
        )


def enter(db: Connection, line: dict[str, Any]) -> None:
    """Enter a version."""
    db.execute(insert(dataset_versions).values(**line))


def move(db: Connection, dataset: str, epoch: int, table_version: int, files: str) -> None:
    """Let the versions of an epoch be read from another table version, whose files have that digest."""
    mine = (_V.dataset == dataset) & (_V.epoch == epoch) & _V.dropped.is_(None)
    db.execute(update(dataset_versions).where(mine).values(table_version=table_version, files=files))


def tagged(db: Connection, dataset: str) -> dict[int, str]:
    """Versions with a tag."""
    t = dataset_tags.c
    found = db.execute(select(t.version, t.tag).where(t.dataset == dataset).order_by(t.tag))
    return dict(found.all())


def pinned(db: Connection, dataset: str) -> dict[int, str]:
    """Versions pinned by hand, with the reason."""
    p = dataset_pins.c
    found = db.execute(select(p.version, p.reason).where(p.dataset == dataset))
    return dict(found.all())


def kept_tables(db: Connection, dataset: str) -> list[int]:
    """The table versions that versions are read from."""
    query = select(_V.table_version).where(_V.dataset == dataset, _V.dropped.is_(None)).distinct()
    return list(db.scalars(query))


def drop(db: Connection, dataset: str, numbers: Collection[int], now: datetime) -> None:
    """Let versions go: their rows are not read from here on, and may be deleted."""
    mine = (_V.dataset == dataset) & _V.version.in_(numbers)
    db.execute(update(dataset_versions).where(mine).values(dropped=now))
