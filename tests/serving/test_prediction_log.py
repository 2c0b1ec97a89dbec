"""The log: from spool to table exactly once, torn and damaged files, back by id."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import serve_world as world

from modelworks.core.errors import Invalid
from modelworks.serving import prediction_log
from modelworks.serving.spool import OUTCOMES, PREDICTIONS, ROWS, Entry, Spool, SpoolFile, files
from modelworks.serving.station import ServeStation
from modelworks.stores import Stores


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Stores:
    return world.make_world(tmp_path_factory.mktemp("logged"))


@pytest.fixture
def station(base: Stores, tmp_path: Path) -> Any:
    """A station with a spool and tables of its own."""
    from modelworks.stores.tables import DeltaTables

    (tmp_path / "spool").mkdir()
    own = Stores(base.ledger, DeltaTables(str(tmp_path / "tables")), base.artifacts, tmp_path / "spool")
    station = ServeStation(own)
    yield station
    station.close()


FLIGHT = {**world.ROW, "flight": "UA1", "departs": "2013-03-01T10:00:00+01:00", "extra": "ignored"}


def test_a_row_is_logged_as_it_was_sent(station: ServeStation) -> None:
    answer = station.predict("delay", [FLIGHT, {**world.ROW, "carrier": "ZZ", "wind": None}])["predictions"]
    assert station.drain() == 2
    one, other = station.stores.tables.scan("predictions").sort("id").collect().to_dicts()
    assert one["id"] == answer[0]["id"]
    assert (one["model"], one["segment"], one["version"], one["key"]) == ("delay", "UA,EWR", 1, "UA1")
    assert one["event_time"] == datetime(2013, 3, 1, 9, tzinfo=UTC)
    assert json.loads(one["inputs"]) == {name: value for name, value in FLIGHT.items() if name != "extra"}
    assert one["output"] == pytest.approx(answer[0]["output"])
    assert json.loads(one["outputs"]) == answer[0]["output"]
    assert (other["segment"], other["key"], other["event_time"]) == ("", None, other["time"])
    assert json.loads(other["inputs"])["wind"] is None
    assert station.stores.tables.scan("predictions").collect_schema() == pl.Schema(prediction_log.SCHEMA)


def test_tensors_are_logged_like_rows(station: ServeStation) -> None:
    station.refresh()
    inputs = [
        {
            "name": name,
            "shape": [1],
            "datatype": "BYTES" if isinstance(value, str) else "FP32",
            "data": [value],
        }
        for name, value in FLIGHT.items()
        if name != "extra"
    ]
    ten = {"name": "input", "shape": [2, 10], "datatype": "FP32", "data": list(range(20))}
    for path, body in ((b"/v2/models/delay/infer", [*inputs]), (b"/v2/models/score/infer", [ten])):
        body = json.dumps({"inputs": body, "outputs": [{"name": "label"}]}).encode()
        assert station.plane.answer([(path, body)])[0][0] == 200
    assert station.drain() == 3
    rows = station.stores.tables.scan("predictions").sort("id").collect().to_dicts()
    assert json.loads(rows[0]["inputs"]) == {name: value for name, value in FLIGHT.items() if name != "extra"}
    assert (rows[0]["key"], rows[0]["segment"]) == ("UA1", "UA,EWR")
    assert rows[0]["event_time"] == datetime(2013, 3, 1, 9, tzinfo=UTC)
    assert json.loads(rows[2]["inputs"]) == {f"x{n}": float(n + 10) for n in range(10)}
    assert rows[2]["id"].endswith("-1")


def test_a_drain_that_is_run_again_adds_nothing(station: ServeStation) -> None:
    for _ in range(5):
        station.predict("delay", [world.ROW] * 3)
    assert station.drain() == 15
    assert station.drain() == 0
    station.predict("kind", [world.ROW])
    assert station.drain() == 1
    assert files(station.stores.spool, PREDICTIONS)
    station.close()
    assert station.drain() == 0
    assert not files(station.stores.spool, PREDICTIONS)
    table = station.stores.tables.scan("predictions").collect()
    assert table["id"].n_unique() == table.height == 16


def test_a_drain_that_died_after_its_commit_adds_nothing(
    station: ServeStation, monkeypatch: pytest.MonkeyPatch
) -> None:
    station.predict("delay", [world.ROW] * 3)
    station.close()

    def dies(*_anything: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(prediction_log, "_remove", dies)
        with pytest.raises(KeyboardInterrupt):
            station.drain()
    station.drain()
    assert station.stores.tables.scan("predictions").collect().height == 3
    assert not files(station.stores.spool, PREDICTIONS)


def test_a_torn_tail_is_dropped_and_a_damaged_block_is_kept(station: ServeStation) -> None:
    for _ in range(2):
        station.predict("delay", [world.ROW])
    station.close()
    (path,) = files(station.stores.spool, PREDICTIONS)
    whole = path.read_bytes()
    with SpoolFile(path) as file:
        first, last = [block for block in file.blocks() if block.entries]
    for cut in range(first.end + 1, len(whole), 37):
        path.write_bytes(whole[:cut])
        with SpoolFile(path) as file:
            assert [block.end for block in file.blocks() if block.entries] == [first.end]
            assert file.torn(first.end) == "tail"
    assert station.drain() == 1
    assert not path.exists()
    path.write_bytes(whole[:-5] + b"wrong")
    with SpoolFile(path) as file:
        assert file.torn(last.start) == "damage"
    station.drain()
    assert list(station.stores.spool.glob("*.damaged"))


def test_a_living_file_is_never_removed(station: ServeStation) -> None:
    station.predict("delay", [world.ROW])
    station.drain()
    (path,) = files(station.stores.spool, PREDICTIONS)
    with SpoolFile(path) as file:
        assert not file.finished()
    station.close()
    with SpoolFile(path) as file:
        assert file.finished()


def test_files_are_rotated_and_all_drained(tmp_path: Path) -> None:
    spool = Spool(tmp_path, PREDICTIONS, rotate=500)
    for number in range(20):
        spool.append([Entry(ROWS, b"schema", number, b"request" * 10, b"answer %d" % number)])
    spool.close()
    found = []
    for path in files(tmp_path, PREDICTIONS):
        with SpoolFile(path) as file:
            found += [entry for block in file.blocks() for entry in block.entries]
    assert len(files(tmp_path, PREDICTIONS)) > 2
    assert [entry.time for entry in found] == list(range(20))
    assert {entry.schema for entry in found} == {b"schema"}
    assert found[7].answer == b"answer 7"


def test_find_and_recent_before_and_after_draining(station: ServeStation) -> None:
    ids = [
        station.predict(model, [world.ROW])["predictions"][0]["id"] for model in ("delay", "kind", "delay")
    ]
    for _ in range(2):
        for one in ids:
            found = station.find(one)
            assert found is not None
            assert found["id"] == one
        assert [row["id"] for row in station.recent()] == ids[::-1]
        assert [row["id"] for row in station.recent(limit=1)] == ids[-1:]
        assert [row["id"] for row in station.recent("kind")] == [ids[1]]
        station.drain()
    assert station.find("nonsense") is None
    assert station.find("0" * 26 + "-0") is None


def test_the_newest_row_may_stand_in_the_oldest_file(station: ServeStation) -> None:
    station.predict("delay", [world.ROW])
    other = ServeStation(station.stores)
    other.predict("delay", [world.ROW] * 5)
    (newest,) = station.predict("delay", [world.ROW])["predictions"]
    assert len(files(station.stores.spool, PREDICTIONS)) == 2
    for limit in (1, 3, 7):
        assert station.recent(limit=limit)[0]["id"] == newest["id"]
        assert len(station.recent(limit=limit)) == limit
    other.close()


def test_outcomes_of_all_kinds(station: ServeStation) -> None:
    (one,) = station.predict("delay", [FLIGHT])["predictions"]
    told = [
        {"prediction_id": one["id"], "value": 1, "time": "2013-03-01T12:00:00Z"},
        {"key": "UA1", "model": "delay", "value": True},
        {"key": 17, "value": "late"},
    ]
    assert station.outcomes(told) == {"accepted": 3}
    assert files(station.stores.spool, OUTCOMES)
    assert station.drain() == 4
    assert station.drain() == 0
    rows = station.stores.tables.scan("outcomes").collect().to_dicts()
    assert [row["value"] for row in rows] == [1.0, 1.0, None]
    assert [row["label"] for row in rows] == [None, None, "late"]
    assert [row["key"] for row in rows] == [None, "UA1", "17"]
    assert rows[0]["time"] == datetime(2013, 3, 1, 12, tzinfo=UTC)
    assert rows[1]["time"] == rows[1]["received"]


def test_one_bad_outcome_and_none_is_taken(station: ServeStation) -> None:
    with pytest.raises(Invalid, match="outcome 1"):
        station.outcomes(
            [{"key": "a", "value": 1}, {"key": "b", "prediction_id": "0" * 26 + "-0", "value": 1}]
        )
    assert station.drain() == 0


def test_with_fsync_one_flush_is_done_for_all_that_came_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = world.make_world(tmp_path)
    station = ServeStation(stores, log_sync="fsync")
    station.refresh()
    flushed: list[int] = []
    real = os.fdatasync

    def watched(file: int) -> None:
        real(file)
        flushed.append(os.fstat(file).st_size)

    monkeypatch.setattr(os, "fdatasync", watched)
    body = json.dumps({"rows": [world.ROW]}).encode()
    answers = station.plane.answer([(b"/predict/delay", body)] * 5)
    assert [status for status, _ in answers] == [200] * 5
    (path,) = files(stores.spool, PREDICTIONS)
    assert flushed == [path.stat().st_size]  # all five, before anybody was answered
    station.outcomes([{"key": "k", "value": 1}])
    assert len(flushed) == 2

    def broken(_file: int) -> None:
        raise OSError(5, "the disk is gone")

    monkeypatch.setattr(os, "fdatasync", broken)
    (answer,) = station.plane.answer([(b"/predict/delay", body)])
    assert answer[0] == 503
    monkeypatch.setattr(os, "fdatasync", watched)
    assert station.plane.answer([(b"/predict/delay", body)])[0][0] == 200
    station.close()
    assert station.drain() == 7  # six predictions and an outcome: what was refused is not there
    with pytest.raises(Invalid, match="log_sync"):
        ServeStation(stores, log_sync="sometimes")


def test_predictions_of_a_time_before_and_after_draining(station: ServeStation) -> None:
    old = station.predict("delay", [world.ROW] * 3)["predictions"]
    others = station.predict("score", [{f"x{n}": 0.0 for n in range(10)}])["predictions"]
    between = datetime.fromtimestamp(int(others[0]["id"][:12], 16) / 1000 + 0.001, UTC)
    while datetime.now(UTC) <= between:
        pass
    new = station.predict("delay", [world.ROW] * 2)["predictions"]

    def ids(**wanted: Any) -> list[str]:
        return [one["id"] for one in station.recent(**wanted)]

    for drained in (False, True):
        if drained:
            station.plane.predictions.close()
            station.drain()
        assert ids(since=between) == sorted((one["id"] for one in new), reverse=True)
        assert ids(model="delay", until=between) == sorted((one["id"] for one in old), reverse=True)
        assert (
            ids(model="delay", until=between, limit=2) == sorted((one["id"] for one in old), reverse=True)[:2]
        )
        assert len(ids()) == 6
        assert ids(since=datetime(2100, 1, 1, tzinfo=UTC)) == []


def test_the_newest_are_found_however_they_lie_in_files(station: ServeStation) -> None:
    told: dict[str, list[str]] = {"delay": [], "score": []}
    for turn in range(14):
        model, row = ("score", {f"x{n}": 0.0 for n in range(10)}) if turn in (0, 5) else ("delay", world.ROW)
        told[model] += [one["id"] for one in station.predict(model, [row] * 2)["predictions"]]
        station.plane.predictions.close()
        station.drain()  # a file each
    assert len(station.stores.tables.lows(PREDICTIONS, "id")) == 14
    for model, ids in told.items():
        for limit in (1, 3, 50):
            assert [one["id"] for one in station.recent(model, limit)] == sorted(ids, reverse=True)[:limit]
    prediction_log.compact(station.stores, PREDICTIONS)
    assert [one["id"] for one in station.recent("score")] == sorted(told["score"], reverse=True)
