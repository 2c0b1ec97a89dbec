"""Rows in quarantine: found, corrected, taken in again, each once."""

import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
from data_processes import POINTS, replay_and_die
from data_world import frame, open_station, trips, write

from modelworks.core.errors import Conflict, Invalid, NotFound
from modelworks.core.schema import Number
from modelworks.data import replay as replaying
from modelworks.data.quarantine import Choice
from modelworks.data.station import DataStation


@pytest.fixture
def station(tmp_path: Path) -> Iterator[DataStation]:
    station, stores = open_station(tmp_path)
    yield station
    stores.ledger.close()


def bad(root: Path) -> None:
    """Five trips, of which three are bad."""
    colours = ["red", "green", "red", "green", "blue"]
    write(root, "1.csv", frame(0, 5, distance=[1, 2, -3, 4, 5], colour=colours))


def ids(station: DataStation) -> list[str]:
    return sorted(station.read("trips").collect()["id"])


def test_each_line_has_an_id_and_can_be_chosen(station: DataStation, tmp_path: Path) -> None:
    bad(tmp_path)
    station.ingest(trips())
    lines = station.quarantined("trips")
    assert len({line["id"] for line in lines}) == len(lines) == 3
    assert len(station.quarantined("trips", 50, Choice(reason="none of"))) == 2
    assert len(station.quarantined("trips", 50, Choice(source="2.csv"))) == 0
    assert station.quarantined("trips", 50, Choice([lines[1]["id"]])) == [lines[1]]


def test_what_fits_a_wider_contract_leaves_it(station: DataStation, tmp_path: Path) -> None:
    bad(tmp_path)
    station.ingest(trips())
    report = station.replay(trips(distance=float))
    assert (report.version, report.rows_added, report.rows_quarantined) == (2, 1, 2)
    assert ids(station) == ["t0", "t2", "t4"]
    assert [line["source"] for line in station.quarantined("trips")] == ["data/1.csv"] * 2
    assert [line["number"] for line in station.quarantined("trips")] == [1, 3]
    assert station.ingest(trips(distance=float)).version is None  # the file itself is not new


def test_values_for_all_and_rows_one_by_one(station: DataStation, tmp_path: Path) -> None:
    bad(tmp_path)
    station.ingest(trips())
    report = station.replay(trips(), Choice(reason="colour"), {"colour": "blue"})
    assert (report.rows_added, report.rows_quarantined) == (2, 0)
    (line,) = station.quarantined("trips")
    row = orjson.loads(line["row"]) | {"distance": 3}
    assert station.replay(trips(), corrected=[{"id": line["id"], "row": row}]).rows_added == 1
    assert station.quarantined("trips") == []
    rows = station.read("trips").sort("id").collect()
    assert rows["distance"].to_list() == [1, 2, 3, 4, 5]
    assert rows["colour"].to_list() == ["red", "blue", "red", "blue", "blue"]


def test_a_newer_row_is_not_replaced_by_an_older_one(station: DataStation, tmp_path: Path) -> None:
    bad(tmp_path)
    station.ingest(trips())
    station.push(trips(), frame(1, 1, distance=[77.0]).to_dicts())
    report = station.replay(trips(), values={"colour": "blue", "distance": 8})
    assert report.rows_added == 2
    assert "1 rows stay: a newer row with their key has come since" in report.notes
    assert len(station.quarantined("trips")) == 1
    assert station.read("trips").filter(pl.col("id") == "t1").collect()["distance"].item() == 77
    alone = station.replay(trips(), values={"colour": "blue"})
    assert (alone.version, alone.rows_added) == (None, 0)


def test_what_had_no_row_stays(station: DataStation, tmp_path: Path) -> None:
    bad(tmp_path)
    (tmp_path / "data" / "2.parquet").write_bytes(b"no parquet")
    station.ingest(trips())
    report = station.replay(trips(), values={"colour": "red", "distance": 1})
    assert report.rows_added == 3
    assert report.notes == ("1 lines have no row: what they came with could not be read",)
    with pytest.raises(NotFound, match="nothing to replay"):
        station.replay(trips())


@pytest.mark.parametrize(
    ("corrected", "says"),
    [
        ([{"row": {}}], "has no id, or no row"),
        ([{"id": "0", "row": 3}], "has no id, or no row"),
        ([{"id": "no such", "row": {}}], "has no line no such"),
    ],
)
def test_corrections_that_cannot_be(station: DataStation, tmp_path: Path, corrected: Any, says: str) -> None:
    bad(tmp_path)
    station.ingest(trips())
    with pytest.raises(Invalid, match=says):
        station.replay(trips(), corrected=corrected)


def test_who_replays_what_somebody_else_replayed(
    station: DataStation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad(tmp_path)
    station.ingest(trips())
    real = replaying._older

    def meanwhile(*args: Any) -> pl.Series:
        monkeypatch.setattr(replaying, "_older", real)
        station.replay(trips(distance=Number(nullable=True)))
        return real(*args)

    monkeypatch.setattr(replaying, "_older", meanwhile)
    with pytest.raises(Conflict, match="somebody else replayed them"):
        station.replay(trips())
    assert ids(station) == ["t0", "t2", "t4"]


@pytest.mark.fault
@pytest.mark.parametrize("point", POINTS)
def test_killed_at_it(station: DataStation, tmp_path: Path, point: str) -> None:
    bad(tmp_path)
    station.ingest(trips())
    before = {line["id"] for line in station.quarantined("trips")}
    process = multiprocessing.get_context("spawn").Process(target=replay_and_die, args=(tmp_path, point))
    process.start()
    process.join()
    assert process.exitcode == -9
    entered = point == "entered"
    station.push(trips(), frame(90, 1).to_dicts())  # whoever comes next finds all of it, or nothing
    assert ids(station) == ["t0", *(["t1", "t3"] if entered else []), "t4", "t90"]
    lines = station.quarantined("trips")
    assert len(lines) == (1 if entered else 3)
    assert entered or {line["id"] for line in lines} == before
