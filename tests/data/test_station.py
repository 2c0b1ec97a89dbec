"""The data station: what is new, once, as versions that can be read again."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
from data_world import NOW, TRIPS, frame, open_station, trips, write
from sqlalchemy import select

from modelworks.core.errors import Conflict, Invalid, NotFound, NotReady
from modelworks.core.ref import Ref
from modelworks.core.schema import Number, Text
from modelworks.data import ingest as ingesting
from modelworks.data.dataset import Dataset
from modelworks.data.sources import formats
from modelworks.data.sources.files import Files
from modelworks.data.station import DataStation
from modelworks.lineage import graph
from modelworks.stores.ledger.tables import ingests


@pytest.fixture
def station(tmp_path: Path) -> Iterator[DataStation]:
    station, stores = open_station(tmp_path)
    yield station
    stores.ledger.close()


def ids(station: DataStation, ref: str = "trips") -> list[str]:
    return sorted(station.read(ref).collect()["id"].to_list())


def test_only_what_is_new(station: DataStation, tmp_path: Path) -> None:
    write(tmp_path, "1.parquet", frame(0))
    write(tmp_path, "2.csv", frame(3))
    first = station.ingest(trips())
    assert (first.version, first.parts, first.rows_read, first.rows_added, first.rows_quarantined) == (
        1,
        2,
        6,
        6,
        0,
    )
    nothing = station.ingest(trips())
    assert (nothing.version, nothing.parts, nothing.rows_added) == (None, 0, 0)
    write(tmp_path, "3.parquet", frame(6, 1))
    assert station.ingest(trips()).version == 2
    assert [(v.version, v.rows, v.added) for v in station.versions("trips")] == [(2, 7, 1), (1, 6, 6)]
    assert ids(station, "trips@1") == [f"t{n}" for n in range(6)]
    assert (
        ids(station) == ids(station, "trips@latest") == ids(station, "trips@2") == [f"t{n}" for n in range(7)]
    )
    rows = station.read("trips@2").sort("id").collect()
    assert rows["_version"].to_list() == [1] * 6 + [2]
    assert rows.schema["start"] == pl.Datetime("us", "UTC")
    assert rows["start"].to_list() == [NOW] * 7


def test_a_version_that_was_read_lazily_stays(station: DataStation, tmp_path: Path) -> None:
    write(tmp_path, "1.parquet", frame(0))
    station.ingest(trips())
    lazy = station.read("trips")
    write(tmp_path, "2.parquet", frame(3))
    station.ingest(trips())
    assert len(lazy.collect()) == 3


def test_bad_rows_go_to_quarantine(station: DataStation, tmp_path: Path) -> None:
    write(
        tmp_path,
        "1.csv",
        frame(0, 4, distance=["1", "far", "-1", "2"], colour=["red", "red", "blue", "green"]),
    )
    report = station.ingest(trips())
    assert (report.rows_read, report.rows_added, report.rows_quarantined) == (4, 1, 3)
    assert report.reasons == {
        "distance is not a number": 1, "distance is not at least 0": 1, "colour is none of red, blue": 1,
    }  # fmt: skip
    assert ids(station) == ["t0"]
    assert station.versions("trips")[0].quarantined == 3
    kept = station.quarantined("trips")
    assert [(row["number"], row["column"], row["value"]) for row in kept] == [
        (1, "distance", "far"), (2, "distance", "-1"), (3, "colour", "green"),
    ]  # fmt: skip
    assert {row["source"] for row in kept} == {"data/1.csv"}
    assert kept[0]["time"] == NOW
    assert orjson.loads(kept[0]["row"])["distance"] == "far"
    assert len(station.quarantined("trips", limit=2)) == 2
    assert station.quarantined("nothing") == []


def test_extra_columns_are_named_and_left_out(station: DataStation, tmp_path: Path) -> None:
    write(tmp_path, "1.csv", frame(0, secret=["x"] * 3))
    assert station.ingest(trips()).offered == {"secret": "mw.Text(nullable=True)"}
    assert "secret" not in station.read("trips").collect_schema().names()


def test_a_broken_file_stops_nobody(station: DataStation, tmp_path: Path) -> None:
    write(tmp_path, "1.parquet", frame(0))
    (tmp_path / "data" / "2.parquet").write_bytes(b"broken")
    write(tmp_path, "3.csv", frame(3).drop("distance"))
    write(tmp_path, "4.csv", frame(6))
    report = station.ingest(trips())
    assert set(report.failed) == {"data/2.parquet", "data/3.csv"}
    assert "distance: the contract's column is missing" in report.failed["data/3.csv"]
    assert (report.version, report.rows_added, report.rows_quarantined) == (1, 6, 0)
    kept = station.quarantined("trips")
    assert {row["source"] for row in kept} == {"data/2.parquet", "data/3.csv"}
    assert all(row["row"] is None and row["reason"] for row in kept)
    assert station.ingest(trips()).version is None  # as long as they do not change
    write(tmp_path, "2.parquet", frame(9))
    mended = station.ingest(trips())
    assert (mended.version, mended.rows_added, mended.failed) == (2, 3, {})


def test_only_broken_files(station: DataStation, tmp_path: Path) -> None:
    write(tmp_path, "1.parquet", frame(0)).write_bytes(b"broken")
    report = station.ingest(trips())
    assert (report.version, report.rows_added) == (1, 0)
    assert ids(station) == []


class Flaky(Files):
    """Files of which one cannot be reached now and then."""

    def read(self, root: Path, part: Any, expected: Any = None) -> Iterator[pl.DataFrame]:
        path = root / part.uri
        if path.with_name(f"_away-{path.name}").exists():
            path = path.with_name("nowhere.parquet")
            return super().read(root, type(part)(str(path), part.fingerprint), expected)
        return super().read(root, part, expected)


def test_a_file_out_of_reach_is_tried_again(station: DataStation, tmp_path: Path) -> None:
    dataset = Dataset("trips", source=Flaky("data/*.parquet"), contract=TRIPS)
    write(tmp_path, "1.parquet", frame(0))
    away = tmp_path / "data" / "_away-1.parquet"
    away.touch()
    report = station.ingest(dataset)
    assert (report.version, report.parts) == (None, 0)
    assert "out of reach" in report.failed["data/1.parquet"]
    away.unlink()
    assert station.ingest(dataset).version == 1


def test_touched_copied_back_or_moved_is_not_new(station: DataStation, tmp_path: Path) -> None:
    path = write(tmp_path, "1.parquet", frame(0))
    station.ingest(trips())
    os.utime(path, (1, 1))
    assert station.ingest(trips()).version is None
    path.rename(path.with_name("renamed.parquet"))
    assert station.ingest(trips()).version is None
    # The same content beside it is somebody's other file.
    write(tmp_path, "copy.parquet", frame(0))
    assert station.ingest(trips()).version == 2


def test_files_that_take_turns(station: DataStation, tmp_path: Path) -> None:
    """As logs do: today's file gets yesterday's name, and a new one takes its place."""
    path = write(tmp_path, "log.csv", frame(0))
    station.ingest(trips())
    path.rename(path.with_name("log.1.csv"))
    write(tmp_path, "log.csv", frame(3))
    station.ingest(trips())
    assert ids(station) == [f"t{n}" for n in range(6)]


def test_a_changed_file_is_new_as_a_whole_and_said_so(station: DataStation, tmp_path: Path) -> None:
    write(tmp_path, "1.csv", frame(0, 2))
    station.ingest(trips())
    write(tmp_path, "1.csv", frame(0, 3))
    report = station.ingest(trips())
    assert (report.version, report.rows_added, report.rows_replaced) == (2, 3, 2)
    assert report.notes == ("data/1.csv changed: its rows were taken in again",)
    assert ids(station) == ["t0", "t1", "t2"]
    assert len(ids(station, "trips@1")) == 2


def test_a_content_that_comes_again_under_another_name_is_no_news(
    station: DataStation, tmp_path: Path
) -> None:
    path = write(tmp_path, "1.csv", frame(0, 2))
    station.ingest(trips())
    path.rename(path.with_name("2.csv"))
    assert station.ingest(trips()).version is None
    path.write_bytes(path.with_name("2.csv").read_bytes().replace(b"t1", b"t7"))  # of the same size
    assert station.ingest(trips()).rows_added == 2


def same_key(how: str) -> Dataset:
    return Dataset("trips", source=Files("data/*"), contract=TRIPS, key="id", same_key=how)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("how", "added", "replaced", "bad", "distances"),
    [
        ("replace", 3, 1, 1, [1.5, 1.5, 9.0, 8.0, 9.0]),
        ("quarantine", 2, 0, 2, [1.5, 1.5, 1.5, 9.0, 9.0]),
        ("add", 4, 0, 0, [1.5, 1.5, 1.5, 9.0, 8.0, 9.0, 9.0]),
    ],
)
def test_a_key_that_is_there_already(
    station: DataStation,
    tmp_path: Path,
    how: str,
    added: int,
    replaced: int,
    bad: int,
    distances: list[float],
) -> None:
    write(tmp_path, "1.parquet", frame(0, 3))
    station.ingest(same_key(how))
    write(
        tmp_path,
        "2.parquet",
        pl.DataFrame(
            {
                "id": ["t2", "t3", "t4", "t3"],
                "start": [NOW] * 4,
                "distance": [9.0, 9.0, 9.0, 8.0],
                "colour": ["blue"] * 4,
            }
        ),
    )
    report = station.ingest(same_key(how))
    assert (report.rows_added, report.rows_replaced, report.rows_quarantined) == (added, replaced, bad)
    rows = station.read("trips").sort("id", "distance").collect()
    assert rows["distance"].to_list() == distances
    assert station.version_of(Ref("trips")).rows == len(rows)
    assert station.read("trips@1").collect()["distance"].to_list() == [1.5] * 3
    assert len(station.quarantined("trips")) == bad


@pytest.mark.usefixtures("small")
def test_of_many_rows_with_one_key_the_last_stands_and_none_is_lost(
    station: DataStation, tmp_path: Path
) -> None:
    """Whether they come in one frame, in two, in two commits, or in two files."""
    for number in range(3):
        distances = [float(n) for n in range(900 * number, 900 * number + 900)]
        rows = pl.concat([frame(0, 300)] * 3).with_columns(distance=pl.Series(distances))
        write(tmp_path, f"{number}.parquet", rows)
    report = station.ingest(same_key("replace"))
    assert (report.rows_read, report.rows_added, report.rows_replaced) == (2700, 300, 0)
    assert report.rows_quarantined == 2400
    rows = station.read("trips").collect()
    assert sorted(rows["distance"]) == [float(n) for n in range(2400, 2700)]


def test_a_source_without_anything_says_so(station: DataStation) -> None:
    report = station.ingest(trips("nowhere/*.csv"))
    assert report.version is None
    assert report.notes == ("Files(pattern='nowhere/*.csv') has nothing",)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A little is much: files come in frames of 100 rows, commits in 250."""
    monkeypatch.setattr(formats, "_CHUNK", 100)
    monkeypatch.setattr(ingesting, "_BATCH", 250)


@pytest.mark.usefixtures("small")
def test_a_large_ingest_is_one_version_of_several_commits(station: DataStation, tmp_path: Path) -> None:
    write(tmp_path, "1.parquet", frame(0, 1030))
    write(tmp_path, "2.parquet", frame(2000, 40))
    report = station.ingest(trips())
    assert (report.version, report.rows_read, report.rows_added) == (1, 1070, 1070)
    assert station.tables.version("datasets/trips") == 4  # four commits after the one that made it
    assert len(set(ids(station))) == 1070


class Breaks(Files):
    """Files of which one breaks when 800 of its rows have been read."""

    def read(self, root: Path, part: Any, expected: Any = None) -> Iterator[pl.DataFrame]:
        for number, rows in enumerate(super().read(root, part, expected)):
            if part.uri == "data/2.parquet" and number == 8:
                raise Invalid("data/2.parquet cannot be read", "cut off", "mend it")
            yield rows


@pytest.mark.usefixtures("small")
def test_a_large_file_that_breaks_is_not_taken_in_by_half(station: DataStation, tmp_path: Path) -> None:
    dataset = Dataset("trips", source=Breaks("data/*"), contract=TRIPS, key="id")
    write(tmp_path, "1.parquet", frame(0, 30))
    write(tmp_path, "2.parquet", frame(1000, 1000))
    write(tmp_path, "3.parquet", frame(5000, 300))
    report = station.ingest(dataset)
    assert (report.version, report.rows_added, report.rows_read) == (1, 330, 330)
    assert list(report.failed) == ["data/2.parquet"]
    assert ids(station) == sorted(f"t{n}" for n in [*range(30), *range(5000, 5300)])
    assert len(station.quarantined("trips")) == 1


def test_tags(station: DataStation, tmp_path: Path) -> None:
    write(tmp_path, "1.parquet", frame(0))
    station.ingest(trips())
    assert station.tag("trips@1", "2013-06").version == 1
    assert station.tag("trips", "2013-06").version == 1
    write(tmp_path, "2.parquet", frame(3))
    station.ingest(trips())
    assert len(ids(station, "trips@2013-06")) == 3
    with pytest.raises(Conflict, match="names version 1"):
        station.tag("trips@2", "2013-06")
    for word in ("latest", "12", "../x", ""):
        with pytest.raises(Invalid):
            station.tag("trips@2", word)


def test_what_is_not_there(station: DataStation, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no dataset 'trips'"):
        station.read("trips")
    station.declare([trips()])
    with pytest.raises(NotReady, match="'trips' has no version yet"):
        station.read("trips")
    with pytest.raises(NotFound, match="trips@3"):
        station.read("trips@3")
    write(tmp_path, "1.parquet", frame(0))
    station.ingest(trips())
    for ref in ("trips@2", "trips@0", "trips@nothing"):
        with pytest.raises(NotFound, match="the newest is trips@1"):
            station.read(ref)
    with pytest.raises(NotFound, match="there is no dataset 'other'"):
        station.show("other")
    assert station.latest_or_none("other") is None


def test_declaring_and_showing(station: DataStation, tmp_path: Path) -> None:
    station.declare([trips()])
    station.declare([trips(weight=Number(nullable=True))])
    assert station.overview()[0]["version"] is None
    write(tmp_path, "1.parquet", frame(0))
    station.ingest(trips())
    station.tag("trips@1", "first")
    (line,) = station.overview()
    assert (line["name"], line["version"], line["rows"], line["quarantined"]) == ("trips", 1, 3, 0)
    shown = station.show("trips")
    assert (shown["key"], shown["time"], shown["tags"]) == ("id", "start", {"first": 1})
    assert [column["name"] for column in shown["contract"]] == ["id", "start", "distance", "colour", "weight"]
    assert [column.get("min") for column in shown["contract"]] == [None, None, 0, None, None]
    assert [version.version for version in shown["versions"]] == [1]


def test_a_frame_reads_only_what_is_new(station: DataStation, tmp_path: Path) -> None:
    write(tmp_path, "1.parquet", frame(0))
    station.ingest(trips())
    assert station.frame("trips", ["id"]).columns == ["id", "_version"]
    write(tmp_path, "2.parquet", frame(3))
    station.ingest(trips())
    assert station.frame("trips", ["id"]).rows() == [(f"t{n}", 1 + n // 3) for n in range(6)]
    again = station.frame("trips", ["distance", "id"])
    assert again.columns == ["distance", "id", "_version"]
    assert len(again) == 6


def test_a_contract_may_grow_but_not_turn(station: DataStation, tmp_path: Path) -> None:
    write(tmp_path, "1.csv", frame(0))
    station.ingest(trips())
    write(tmp_path, "2.csv", frame(3, size=[1, 2, 3]))
    station.ingest(trips(size=Number(integer=True)))
    rows = station.read("trips").sort("id").collect()
    assert rows["size"].to_list() == [None, None, None, 1, 2, 3]
    write(tmp_path, "3.csv", frame(6, size=["S", "M", "L"]))
    with pytest.raises(Conflict, match="column size of dataset 'trips' cannot become a text"):
        station.ingest(trips(size=Text()))
    assert station.ingest(trips(size=Number(integer=True, nullable=True))).rows_quarantined == 3


def test_lineage_is_written_with_the_version(station: DataStation, tmp_path: Path) -> None:
    write(tmp_path, "1.parquet", frame(0))
    station.ingest(trips())
    station.push(trips(), frame(3).to_dicts(), id="delivery-7")
    with station.ledger.read() as db:
        (edge,) = graph.up(db, "dataset:trips@1")
        pushed, *before = graph.up(db, "dataset:trips@2")
    assert edge.source.startswith("file:data/1.parquet#")
    assert pushed.source == "push:delivery-7"
    assert [one.relation for one in before] == [
        "grew into",
        "ingested",
    ]  # it has the rows of the first one too
    assert station.versions("trips")[1].sources[0]["uri"] == "data/1.parquet"


def test_push(station: DataStation) -> None:
    rows: list[dict[str, Any]] = [
        {"id": "a", "start": "2024-05-01T00:00:00Z", "distance": 1},
        {"id": "b", "start": "2024-05-01", "distance": "2.5", "colour": "blue"},
        {"id": "c", "start": "soon", "distance": 2.5, "colour": None},
        {"id": "d", "start": "2024-05-01", "distance": {"km": 3}, "mood": "good"},
        {"id": 5, "start": "2024-05-01", "distance": True},
    ]
    report = station.push(trips(), rows)
    assert (report.version, report.rows_added, report.rows_quarantined) == (1, 3, 2) or report.reasons
    assert report.reasons == {"start is not a time": 1, "distance is not a number": 2}
    assert report.offered == {"mood": "mw.Text(nullable=True)"}
    assert ids(station) == ["a", "b"]


def test_a_delivery_with_a_name_counts_once(station: DataStation) -> None:
    rows = frame(0).to_dicts()
    assert station.push(trips(), rows, id="x").version == 1
    assert station.push(trips(), rows, id="x").version is None
    assert station.push(trips(), rows).version == 2


@pytest.mark.parametrize("rows", [[], [1], ["id"], [{"id": "a"}], [{}]])
def test_what_cannot_be_pushed(station: DataStation, rows: list[Any]) -> None:
    with pytest.raises(Invalid):
        station.push(trips(), rows)
    assert station.latest_or_none("trips") is None
    with station.ledger.read() as db:
        assert db.execute(select(ingests)).all() == []


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"name": "../x"}, "not a valid dataset name"),
        ({"contract": {}}, "empty contract"),
        ({"contract": {"a": list}}, "no known type"),
        ({"contract": {"a": str, "_version": int}}, "_version"),
        ({"key": "other"}, "key column 'other'"),
        ({"time": "other"}, "time column 'other'"),
        ({"time": "a"}, "holds no times"),
    ],
)
def test_a_wrong_declaration(more: dict[str, Any], says: str) -> None:
    options: dict[str, Any] = {"name": "trips", "source": Files("*.csv"), "contract": {"a": str}}
    with pytest.raises(Invalid, match=says):
        Dataset(**(options | more))


def test_small_files_are_packed_and_every_version_is_read_from_them(
    station: DataStation, tmp_path: Path
) -> None:
    for n in range(6):
        write(tmp_path, f"{n}.parquet", frame(n * 3))
        station.ingest(trips())
    assert station.compact("trips", at_least=7) == 0
    assert station.compact("trips", ["id"]) == 6
    assert station.compact("trips", ["id"]) == 0
    assert [len(ids(station, f"trips@{n}")) for n in range(1, 7)] == [3, 6, 9, 12, 15, 18]
    assert {v.table_version for v in station.versions("trips")} == {station.tables.version("datasets/trips")}
