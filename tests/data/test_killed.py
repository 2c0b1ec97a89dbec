"""An ingest that is killed, or that is not alone, loses no row and doubles none."""

import multiprocessing
import signal
from pathlib import Path

import orjson
import polars as pl
import pytest
from data_processes import (
    POINTS,
    bring_files,
    follow,
    ingest,
    ingest_and_die,
    push,
    push_and_correct,
    tidy,
)
from data_world import frame, open_station, stream_of_trips, trips, write

from modelworks.core.errors import Unavailable
from modelworks.data import ingest as ingesting
from modelworks.demos.broker import Broker, Publisher

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["modelworks.stores", "modelworks.data.station"])


def _killed(root: Path, point: str) -> None:
    process = PROCESSES.Process(target=ingest_and_die, args=(root, point))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.fault
@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("before", [0, 1], ids=["first", "second"])
def test_killed_at_any_point(tmp_path: Path, point: str, before: int) -> None:
    station, stores = open_station(tmp_path)
    if before:
        write(tmp_path, "0.parquet", frame(100, 2))
        station.ingest(trips())
    bad = frame(0, 5, distance=[1.0, -1.0, 2.0, None, 3.0])
    write(tmp_path, "1.parquet", bad)
    _killed(tmp_path, point)
    seen = station.latest_or_none("trips") or 0
    assert seen == before + (point == "entered")
    if seen:
        assert len(station.read("trips").collect()) == 2 * before + 3 * (point == "entered")
    if point != "entered":  # and what happens to the file meanwhile does not matter
        write(tmp_path, "1.parquet", bad.with_columns(colour=None))
        write(tmp_path, "2.parquet", frame(50, 1))
    report = station.ingest(trips())
    if point == "entered":
        assert report.version is None
    else:
        assert (report.version, report.rows_added, report.rows_quarantined) == (before + 1, 4, 2)
        assert "an ingest that had been cut off was undone" in report.notes
    rows = station.read("trips").collect()
    expected = ["t0", "t2", "t4"] + ["t50"] * (point != "entered") + ["t100", "t101"] * before
    assert sorted(rows["id"]) == sorted(expected)
    assert len(station.quarantined("trips")) == 2
    assert station.versions("trips")[0].rows == len(rows)
    stores.ledger.close()


def test_an_ingest_that_fails_is_undone_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    station, stores = open_station(tmp_path)
    write(tmp_path, "1.parquet", frame(0))

    def fails(*_: object) -> None:
        raise Unavailable("the ledger does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(ingesting, "_enter", fails)
        with pytest.raises(Unavailable):
            station.ingest(trips())
    assert station.ingest(trips()).rows_added == 3
    assert len(station.read("trips").collect()) == 3
    stores.ledger.close()


def test_many_push_at_once(tmp_path: Path) -> None:
    gate = PROCESSES.Barrier(3)
    writers = [PROCESSES.Process(target=push, args=(tmp_path, writer, gate)) for writer in range(3)]
    for process in writers:
        process.start()
    for process in writers:
        process.join()
    assert [process.exitcode for process in writers] == [0, 0, 0]
    station, stores = open_station(tmp_path)
    rows = station.read("trips").collect()
    assert len(rows) == len(set(rows["id"])) == 3 * 6 * 4
    versions = station.versions("trips", 100)
    assert [version.version for version in versions] == list(range(18, 0, -1))
    for version in versions:
        assert len(station.read(f"trips@{version.version}").collect()) == version.rows == version.version * 4
    stores.ledger.close()


def test_a_stream_files_and_two_senders_at_once(tmp_path: Path) -> None:
    """Four writers of four kinds, while small files are packed beside them: nothing is lost, none gives up."""
    with Broker(tmp_path / "broker") as broker, Publisher(broker.url, "TRIPS") as publisher:
        gate, done = PROCESSES.Barrier(3), PROCESSES.Event()
        writers = [
            PROCESSES.Process(target=push, args=(tmp_path, 3, gate)),
            PROCESSES.Process(target=bring_files, args=(tmp_path, gate)),
            PROCESSES.Process(target=push_and_correct, args=(tmp_path, gate)),
        ]
        beside = [
            PROCESSES.Process(target=follow, args=(tmp_path, broker.url)),
            PROCESSES.Process(target=tidy, args=(tmp_path, done)),
        ]
        for process in (*beside, *writers):
            process.start()
        for start in range(0, 4000, 100):
            publisher.send([orjson.dumps(row) for row in frame(100_000 + start, 100).to_dicts()])
        for process in writers:
            process.join()
        done.set()
        beside[1].join()
        assert [process.exitcode for process in (*writers, beside[1])] == [0] * 4
        beside[0].kill()
        beside[0].join()
        station, stores = open_station(tmp_path)
        station.ingest(stream_of_trips(broker.url))
    rows = station.read("trips").collect()
    pushed = {f"t{3000 + n * 10 + k}" for n in range(6) for k in range(4)}
    filed = {f"t{10_000 + n * 10 + k}" for n in range(8) for k in range(7)}
    sent = {f"t{20_000 + n * 10 + k}" for n in range(8) for k in range(5)}
    streamed = {f"t{100_000 + n}" for n in range(4000)}
    assert len(rows) == len(set(rows["id"]))
    assert set(rows["id"]) == pushed | filed | sent | streamed
    corrected = {f"t{20_000 + n * 10 + k}" for n in range(8) for k in range(2)}
    assert set(rows.filter(pl.col("distance") == 7.0)["id"]) == corrected
    versions = station.versions("trips", 1000)
    assert [version.version for version in versions] == list(range(len(versions), 0, -1))
    for version in versions:
        assert len(station.read(f"trips@{version.version}").collect()) == version.rows
    assert sum(version.added - version.replaced for version in versions) == len(rows)
    stores.ledger.close()


def test_two_ingest_the_same_files_at_once(tmp_path: Path) -> None:
    for n in range(4):
        write(tmp_path, f"{n}.parquet", frame(n * 3))
    gate, results = PROCESSES.Barrier(3), PROCESSES.Queue()
    processes = [PROCESSES.Process(target=ingest, args=(tmp_path, gate, results)) for _ in range(3)]
    for process in processes:
        process.start()
    assert sorted(results.get(timeout=60) for _ in processes) == [0, 0, 12]
    for process in processes:
        process.join()
    station, stores = open_station(tmp_path)
    assert len(station.read("trips").collect()) == 12
    stores.ledger.close()
