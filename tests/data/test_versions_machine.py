"""Whatever is done to a dataset in whatever order, every version that is kept reads as it should."""

from __future__ import annotations

import tempfile
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from data_world import NOW
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from modelworks.core.errors import NotFound
from modelworks.data import undo, upkeep, versions
from modelworks.data.dataset import Dataset
from modelworks.data.sources.files import Files
from modelworks.data.station import DataStation
from modelworks.stores import open_stores

THINGS = Dataset(
    "things", source=Files("none/*.csv"), contract={"id": int, "owner": str, "value": float}, key="id"
)
TABLE = "datasets/things"
Row = tuple[str, float]
Rows = dict[int, Row]

ids = st.integers(0, 30)
batches = st.dictionaries(ids, st.tuples(st.sampled_from("abcd"), st.integers(0, 5)), min_size=1, max_size=12)


class Versions(RuleBasedStateMachine):
    """The dataset, and beside it what it should be: for each version its rows by key."""

    @initialize()
    def start(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.root = Path(self._folder.name)
        self.now: datetime = NOW
        self.station = self.open()
        self.kept: dict[int, Rows] = {}
        self.created: dict[int, datetime] = {}
        self.tags: dict[str, int] = {}
        self.pins: set[int] = set()
        self.together: set[int] = set()  # versions that are read from the same rows as the newest
        self.forgotten: set[tuple[str, object]] = set()
        self.dropped: set[int] = set()

    def open(self) -> DataStation:
        """The station as another process has it, which knows nothing of what this one remembers."""
        stores = open_stores(self.root)
        return DataStation(stores.ledger, stores.tables, self.root, lambda: self.now)

    @property
    def newest(self) -> int:
        return max(self.created, default=0)

    @property
    def protected(self) -> set[int]:
        return {*self.tags.values(), *self.pins, self.newest}

    def teardown(self) -> None:
        if hasattr(self, "_folder"):
            self.station.ledger.close()
            self._folder.cleanup()

    # -- what is done ------------------------------------------------------------------------------------

    @rule(rows=batches)
    def append_or_correct(self, rows: dict[int, Row]) -> None:
        self.now += timedelta(days=1)
        report = self.station.push(
            THINGS, [{"id": key, "owner": owner, "value": value} for key, (owner, value) in rows.items()]
        )
        came = {
            key: (owner, float(value))
            for key, (owner, value) in rows.items()
            if ("id", key) not in self.forgotten and ("owner", owner) not in self.forgotten
        }
        before = self.kept.get(self.newest, {})
        replaced = len(before.keys() & came.keys())
        version = self.newest + 1
        assert (report.version, report.rows_added, report.rows_replaced) == (version, len(came), replaced)
        self.together = {version} if replaced else self.together | {version}
        self.kept[version] = before | came
        self.created[version] = self.now

    @precondition(lambda self: self.created)
    @rule(rows=batches)
    def be_killed_at_it(self, rows: dict[int, Row]) -> None:
        """Rows are taken out and put in, and then the process is gone; another one comes after it."""
        stores, tables = self.station._stores, self.station.tables
        came = pl.DataFrame({"id": list(rows)}).with_columns(
            owner=pl.lit("x"), value=pl.lit(0.0), _version=pl.lit(self.newest + 1, pl.Int64)
        )
        undo.undo("things", stores)
        undo.begin("things", stores, [TABLE, "quarantine/things"], self.newest + 1, {})
        tables.remove(TABLE, came.select("id"))
        tables.append(TABLE, came)
        self.station.ledger.close()
        self.station = self.open()

    @precondition(lambda self: self.kept)
    @rule(data=st.data(), name=st.sampled_from("uvw"))
    def tag(self, data: st.DataObject, name: str) -> None:
        version = data.draw(st.sampled_from(sorted(self.kept)))
        if self.tags.setdefault(name, version) == version:
            self.station.tag(f"things@{version}", name)

    @precondition(lambda self: self.kept)
    @rule(data=st.data())
    def pin(self, data: st.DataObject) -> None:
        version = data.draw(st.sampled_from(sorted(self.kept)))
        self.station.pin(f"things@{version}", "a test")
        self.pins.add(version)

    @precondition(lambda self: self.pins)
    @rule(data=st.data())
    def unpin(self, data: st.DataObject) -> None:
        version = data.draw(st.sampled_from(sorted(self.pins)))
        self.station.unpin(f"things@{version}")
        self.pins.discard(version)

    @precondition(lambda self: self.created)
    @rule()
    def compact(self) -> None:
        self.station.compact("things", ["owner"])

    @precondition(lambda self: self.created)
    @rule(days=st.integers(1, 6), used=st.sets(st.integers(1, 10)))
    def vacuum(self, days: int, used: set[int]) -> None:
        report = upkeep.vacuum("things", self.station._stores, timedelta(days=days), used, grace=0)
        old = {v for v in self.kept if self.created[v] < self.now - timedelta(days=days)}
        gone = old - self.protected - used
        assert set(report.dropped) == gone
        assert set(report.kept) == old - gone - {self.newest}
        self.drop(gone)
        # What is on the disk is what is needed, and no more.
        tables = self.station.tables
        needed = {
            Path(path).name
            for at in {v.table_version for v in self.station.versions("things", 1000) if not v.dropped}
            for path in tables._pinned(TABLE, at).file_uris()  # type: ignore[attr-defined]
        } | {Path(path).name for path in tables._table(TABLE).file_uris()}  # type: ignore[attr-defined]
        assert {path.name for path in self.files()} == needed

    @precondition(lambda self: self.created)
    @rule(data=st.data())
    def erase(self, data: st.DataObject) -> None:
        column = data.draw(st.sampled_from(["id", "owner"]))
        value: object = data.draw(ids if column == "id" else st.sampled_from("abcd"))

        def hit(key: int, row: Row) -> bool:
            return (key if column == "id" else row[0]) == value

        lost = sum(hit(*one) for one in self.kept[self.newest].items())
        held = {v for v, rows in self.kept.items() if any(hit(*one) for one in rows.items())}
        done = self.station.forget(THINGS, str(value), column, (), ["owner"])
        gone = held - self.together - self.protected
        assert (done.rows, set(done.dropped)) == (lost, gone)
        assert bool(len(done.seen)) == bool(held)
        self.forgotten.add((column, value))
        self.drop(gone)
        self.kept = {
            v: {key: row for key, row in rows.items() if not hit(key, row)} for v, rows in self.kept.items()
        }
        for path in self.files():  # and nowhere on the disk is anything left of it
            assert not len(pl.read_parquet(path).filter(pl.col(column) == value)), path

    @rule()
    def come_from_elsewhere(self) -> None:
        self.station.ledger.close()
        self.station = self.open()

    def drop(self, gone: set[int]) -> None:
        self.dropped |= gone
        self.kept = {v: rows for v, rows in self.kept.items() if v not in gone}

    def files(self) -> list[Path]:
        return list((self.root / "tables" / TABLE).glob("*.parquet"))

    # -- what is always so -------------------------------------------------------------------------------

    @invariant()
    def every_version_reads_as_it_should(self) -> None:
        if not hasattr(self, "kept"):
            return
        for version, rows in self.kept.items():
            read = self.station.read(f"things@{version}").select("id", "owner", "value").collect()
            assert len(read) == len(rows)
            assert {key: (owner, value) for key, owner, value in read.iter_rows()} == rows
            assert self.station.version_of(versions.Ref("things", at=version)).rows == len(rows)
        for version in self.dropped:
            with pytest.raises(NotFound, match="not kept any more"):
                self.station.read(f"things@{version}")
        for name, version in self.tags.items():
            assert self.station.version_of(versions.Ref("things", at=name)).version == version
        if self.created:
            held = self.station.frame("things", ["id"])["id"]
            assert sorted(held) == sorted(self.kept[self.newest])
            then = self.created[self.newest].isoformat()
            assert self.station.version_of(versions.Ref("things", at=then)).version == self.newest


Versions.TestCase.settings = settings(
    max_examples=20, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TestVersions = Versions.TestCase
