"""The data station's verbs: declare, ingest, push, show, read, tag."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any

import polars as pl
from sqlalchemy import func, select

from modelworks.core.clock import Clock, new_id
from modelworks.core.errors import Invalid, NotFound
from modelworks.core.ref import Ref
from modelworks.data import follow as following
from modelworks.data import forget, profile, quarantine, upkeep, versions
from modelworks.data import ingest as ingesting
from modelworks.data import replay as replaying
from modelworks.data.checks.batch import Fresh
from modelworks.data.contract import require
from modelworks.data.dataset import Dataset
from modelworks.data.delivery import Delivery
from modelworks.data.diff import Diff, diff
from modelworks.data.features.compute import fields
from modelworks.data.features.definition import to_json
from modelworks.data.forget import Erasure
from modelworks.data.frames import Frames
from modelworks.data.quarantine import EVERYTHING, Choice
from modelworks.data.sources.port import Incremental, Part
from modelworks.data.streams.messages import columns_of
from modelworks.data.streams.port import Stream, Taken
from modelworks.data.undo import Stores
from modelworks.data.upkeep import VacuumReport
from modelworks.data.version import DatasetVersion, IngestReport
from modelworks.stores.ledger import Ledger
from modelworks.stores.ledger.portable import upsert
from modelworks.stores.ledger.tables import dataset_versions, datasets
from modelworks.stores.tables import Tables

_ID_LIMIT = 200
"""Most characters of the name that a sender gives a delivery."""


class DataStation:
    """The datasets of one project.

    Args:
        ledger: Versions and tags.
        tables: Rows.
        root: The project's folder, below which sources are looked for.
        clock: Gives the time of a version.
    """

    def __init__(self, ledger: Ledger, tables: Tables, root: Path, clock: Clock) -> None:
        self.ledger = ledger
        self.tables = tables
        self.root = root
        self.clock = clock
        self._stores = Stores(ledger, tables, root, clock)
        self.frames = Frames(ledger, tables)

    def declare(self, declared: Sequence[Dataset]) -> None:
        """Write the declarations into the ledger, where the using line reads key, time and features.

        Raises:
            Invalid: a feature cannot be computed.
        """
        contracts = {dataset.name: dataset.contract for dataset in declared}
        times = {dataset.name: dataset.time for dataset in declared}
        rows = [
            {
                "name": dataset.name, "key": dataset.key, "time": dataset.time, "updated": self.clock(),
                "contract": [field.to_json() for field in dataset.contract.values()],
                "features": {
                    name: field.to_json() | {"how": to_json(dataset.features[name])}
                    for name, field in fields(dataset.features, dataset.name, contracts, times).items()
                },
            }
            for dataset in declared
        ]  # fmt: skip
        with self.ledger.write() as db:
            upsert(db, datasets, rows)
        self.frames.declare()

    def ingest(self, dataset: Dataset, *, accept: bool = False) -> IngestReport:
        """Take in what is new in the dataset's source: see `data.ingest`; of a stream, all that waits now."""
        if isinstance(dataset.source, Stream):
            return following.drain(dataset, dataset.source, self._stores)
        if isinstance(dataset.source, Incremental):
            return following.catch_up(dataset, dataset.source, self._stores, accept)
        return ingesting.ingest(dataset, self._stores, accept=accept)

    def take(self, dataset: Dataset, taken: Taken) -> IngestReport:
        """Take in what a reader of a stream gave.

        Raises:
            Conflict: it is not what comes next; another process took it in.
        """
        return following.take(dataset, self._stores, taken)

    def follow(self, dataset: Dataset, stop: Event, said: following.Said) -> None:
        """Take in what comes of a stream, as it comes: see `data.follow`.

        Raises:
            Invalid: the dataset's source is no stream.
        """
        if not isinstance(dataset.source, Stream):
            raise Invalid(
                f"dataset {dataset.name!r} cannot be followed",
                f"its source is {type(dataset.source).__name__}, no stream",
                f"run 'modelworks ingest {dataset.name}' when there is something new",
            )
        following.follow(dataset, dataset.source, self._stores, stop, said)

    def push(
        self, dataset: Dataset, rows: Sequence[Mapping[str, Any]] | pl.DataFrame, id: str | None = None
    ) -> IngestReport:
        """Take in rows as they are, under the same contract.

        Args:
            dataset: Where to.
            rows: The rows.
            id: The sender's own name for this delivery: the same one again adds nothing.

        Raises:
            Invalid: there are none, they are no table, or a column of the contract is missing.
            Rejected: they break a rule that lets nothing in.
        """
        if not len(rows):
            raise Invalid("no rows were sent", "", "send at least one row")
        if not isinstance(rows, pl.DataFrame):
            if not all(isinstance(row, Mapping) for row in rows):
                raise Invalid(
                    "the rows are not a table", "a row is not an object", "send objects with the same columns"
                )
            rows = columns_of(rows)
        if id is not None and not 0 < len(id) <= _ID_LIMIT:
            raise Invalid(
                "the delivery's name is too long" if id else "the delivery's name is empty",
                f"it may have {_ID_LIMIT} characters",
                "choose a shorter one",
            )
        require(rows.columns, dataset.contract)
        part = Part(f"push:{id or new_id()}", "")
        report = ingesting.ingest(dataset, self._stores, [Delivery(part, rows)])
        if report.version is None:
            return replace(report, notes=(*report.notes, f"the delivery {id} came before: nothing was added"))
        return report

    # -- versions ----------------------------------------------------------------------------------------

    def latest_or_none(self, dataset: str) -> int | None:
        """The newest version's number, ``None`` before the first ingest."""
        return versions.latest(self.ledger, dataset)

    def latest(self, dataset: str) -> int:
        """The newest version's number.

        Raises:
            NotReady: nothing was ingested yet.
        """
        return self.version_of(Ref(dataset)).version

    def version_of(self, ref: Ref) -> DatasetVersion:
        """The version a reference names: see `versions.find`."""
        return versions.find(self.ledger, ref)

    def versions(self, dataset: str, limit: int = 20) -> list[DatasetVersion]:
        """The newest versions, the newest first."""
        return versions.recent(self.ledger, dataset, limit)

    def tag(self, text: str, tag: str) -> DatasetVersion:
        """Name a version: see `versions.tag`. It is kept from then on."""
        return versions.tag(self.ledger, Ref.parse(text), tag)

    def pin(self, text: str, reason: str) -> DatasetVersion:
        """Keep a version whatever its age: see `versions.pin`."""
        return versions.pin(self.ledger, self.clock, Ref.parse(text), reason)

    def unpin(self, text: str) -> DatasetVersion:
        """Let a version go when its time comes: see `versions.unpin`."""
        return versions.unpin(self.ledger, Ref.parse(text))

    # -- upkeep ------------------------------------------------------------------------------------------

    def compact(self, dataset: str, by: Sequence[str] = (), at_least: int = 2) -> int:
        """Pack small files into ordered, large ones: see `upkeep.compact`."""
        return upkeep.compact(dataset, self._stores, by, at_least)

    def vacuum(self, dataset: str, keep: timedelta | None, used: Collection[int]) -> VacuumReport:
        """Let old versions go, and delete the files that none needs: see `upkeep.vacuum`."""
        return upkeep.vacuum(dataset, self._stores, keep, used)

    def forget(
        self,
        dataset: Dataset,
        value: str,
        column: str | None,
        used: Collection[int],
        tell: Sequence[str] = (),
    ) -> Erasure:
        """Erase a subject: see `forget.erase`. Versions that are tagged, pinned or `used` stay, without it."""
        who = forget.subject(dataset, column, value)
        kept = {*used, *versions.tags(self.ledger, dataset.name).values()}
        return forget.erase(
            dataset, who, self._stores, kept | versions.pins(self.ledger, dataset.name).keys(), tell
        )

    # -- rows --------------------------------------------------------------------------------------------

    def read(self, text: str) -> pl.LazyFrame:
        """The rows of a version, as a lazy frame: ``read("flights@12")``.

        Raises:
            NotFound: there is no such version, or its rows are not kept any more.
        """
        return versions.rows(self.tables, self.version_of(Ref.parse(text)))

    def profile(self, text: str) -> dict[str, Any]:
        """What columns hold: ``version``, ``rows``, and ``columns``, as `profile.of` tells them.

        Without a version it is about what the dataset holds now: see `profile.recent`.
        """
        ref = Ref.parse(text)
        if ref.at is None:
            version, told = profile.recent(self.ledger, self.tables, ref.name)
        else:
            version = self.version_of(ref)
            told = profile.of(self.ledger, self.tables, version)
        return {"version": f"{version.dataset}@{version.version}", "rows": version.rows, "columns": told}

    def diff(self, before: str, after: str) -> Diff:
        """What is different between two versions: see `diff.diff`.

        Raises:
            Invalid: they are of two datasets.
        """
        one, other = self.version_of(Ref.parse(before)), self.version_of(Ref.parse(after))
        if one.dataset != other.dataset:
            raise Invalid(
                f"{before} and {after} are of two datasets", "", "compare two versions of one dataset"
            )
        with self.ledger.read() as db:
            key = db.scalar(select(datasets.c.key).where(datasets.c.name == one.dataset))
        return diff(self.tables, one, other, key)

    def frame(
        self,
        dataset: str,
        columns: Sequence[str],
        where: pl.Expr | None = None,
        version: DatasetVersion | None = None,
    ) -> pl.DataFrame:
        """Columns and features of rows of a version, by default the newest: see `Frames.frame`."""
        return self.frames.frame(dataset, columns, where, version)

    # -- showing -----------------------------------------------------------------------------------------

    def overview(self) -> list[dict[str, Any]]:
        """Every dataset with its newest version."""
        newest = (
            select(dataset_versions.c.dataset, func.max(dataset_versions.c.version).label("version"))
            .group_by(dataset_versions.c.dataset)
            .subquery()
        )
        v = dataset_versions.c
        query = (
            select(datasets.c.name, v.version, v.rows, v.added, v.quarantined, v.created)
            .select_from(
                datasets.outerjoin(newest, newest.c.dataset == datasets.c.name).outerjoin(
                    dataset_versions, (v.dataset == newest.c.dataset) & (v.version == newest.c.version)
                )
            )
            .order_by(datasets.c.name)
        )
        with self.ledger.read() as db:
            return [dict(row) for row in db.execute(query).mappings()]

    def show(self, text: str) -> dict[str, Any]:
        """One dataset: contract, newest versions, tags; with a version, that version.

        Raises:
            NotFound: it is not declared.
        """
        ref = Ref.parse(text)
        with self.ledger.read() as db:
            row = db.execute(select(datasets).where(datasets.c.name == ref.name)).mappings().one_or_none()
        if row is None:
            raise NotFound(
                f"there is no dataset {ref.name!r}", "", "'modelworks data list' shows those there are"
            )
        shown = [self.version_of(ref)] if ref.at is not None else self.versions(ref.name)
        return {
            "name": row["name"],
            "key": row["key"],
            "time": row["time"],
            "contract": row["contract"],
            "features": row["features"],
            "tags": versions.tags(self.ledger, ref.name),
            "pins": versions.pins(self.ledger, ref.name),
            "versions": [replace(version, columns={}) for version in shown],
        }

    # -- quarantine --------------------------------------------------------------------------------------

    def quarantined(
        self, dataset: str, limit: int | None = 50, choice: Choice = EVERYTHING
    ) -> list[dict[str, Any]]:
        """The rows that came into quarantine last, with their reason."""
        return quarantine.lines(self.tables, dataset, choice, limit).to_dicts()

    def replay(
        self,
        dataset: Dataset,
        choice: Choice = EVERYTHING,
        values: Mapping[str, Any] | None = None,
        corrected: Sequence[Mapping[str, Any]] = (),
    ) -> IngestReport:
        """Take rows of the quarantine in again, corrected: see `replay.replay`."""
        lines = replaying.parse(corrected)
        chosen = replace(choice, ids=[*choice.ids, *lines]) if lines else choice
        return replaying.replay(dataset, self._stores, chosen, values or {}, lines)

    def overdue(self, dataset: Dataset) -> str | None:
        """Whether nothing came for longer than a rule of the dataset allows; one sentence."""
        with self.ledger.read() as db:
            newest = versions.newest(db, dataset.name)
        if newest is None or newest.newest is None:
            return None
        for rule in dataset.batch_rules:
            if isinstance(rule, Fresh) and (late := rule.late(newest.newest, self.clock())):
                return f"nothing new has come into {dataset.name}: {late}"
        return None
