"""Sensitive values never reach the log; a sample of a model's requests is enough; evidence is never left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import serve_world as world
from test_input_guard import tensors

from modelworks.core.errors import Invalid, ModelworksError
from modelworks.core.schema import Field, Kind, Number, Text, as_field
from modelworks.data.dataset import Dataset
from modelworks.data.sources.files import Files
from modelworks.monitor.versions import Versions
from modelworks.monitor.window import joined, read_outcomes, read_predictions, sketched
from modelworks.serving.columns import as_text
from modelworks.serving.redaction import made_key, redaction_of
from modelworks.serving.station import ServeStation
from modelworks.stores import open_stores

SECRET = "Zaphod-77"
CONTRACT = (
    Field("flight", Kind.TEXT),
    Field("departs", Kind.TIME),
    Field("carrier", Kind.TEXT),
    Field("distance", Kind.NUMBER, sensitive="drop"),
    Field("wind", Kind.NUMBER, nullable=True),
    Field("plane", Kind.TEXT, sensitive="hash"),
    Field("passenger", Kind.TEXT, sensitive="drop"),
)
ROW = {**world.ROW, "distance": 1234.5, "plane": SECRET, "passenger": SECRET, "flight": "UA1"}


def made(root: Path, **definition: Any) -> ServeStation:
    stores = open_stores(root)
    world.declare(stores, "delay", world.FEATURES, (), "flights", definition, CONTRACT)
    world.deploy(stores, "delay", (), world.fit(0), guarded=True)
    station = ServeStation(stores)
    station.refresh()
    return station


def test_nothing_sensitive_reaches_the_disk_and_all_goes_on_working(tmp_path: Path) -> None:
    station = made(tmp_path)
    plain = station.predict("delay", [ROW, ROW])["predictions"]
    body = json.dumps(tensors([{**ROW, "distance": 1234.5}])).encode()
    status, _, _ = station.plane.handle(
        "POST", b"/v2/models/delay/infer", {}, body.replace(b"carrier", b"flight")
    )
    assert status == 200
    hashed = redaction_of(CONTRACT, made_key(station.stores.ledger))
    assert hashed is not None
    for drained in (False, True):
        if drained:
            station.close()
            assert station.drain() == 3
        inputs = [json.loads(one["inputs"]) for one in station.recent("delay")]
        assert len(inputs) == 3
        for row in inputs:
            assert row["plane"] == hashed.hashed(SECRET) != SECRET
            assert "distance" not in row
            assert "passenger" not in row
            assert row["wind"] == world.ROW["wind"]
        spooled = b"".join(path.read_bytes() for path in tmp_path.glob("spool/*"))
        assert SECRET.encode() not in spooled
        assert b"1234.5" not in spooled
    found = station.find(plain[0]["id"])
    assert found is not None
    assert (found["key"], found["output"]) == ("UA1", pytest.approx(plain[0]["output"]))
    assert station.forget(["delay"], "plane", SECRET).rows == 3
    assert station.recent("delay") == []


def test_monitoring_says_nothing_of_a_shift_of_what_it_does_not_see(tmp_path: Path) -> None:
    station = made(tmp_path)
    station.predict("delay", [{**ROW, "wind": wind} for wind in np.random.default_rng(0).gamma(2, 8, 200)])
    station.close()
    station.drain()
    tables = station.stores.tables
    rows = joined(read_predictions(tables, "delay", True), read_outcomes(tables, "delay", True))  # type: ignore[arg-type]
    known = Versions(station.stores).of("delay", [("", 1)])
    ((_, sketches),) = sketched(rows, known)
    by_name = dict(zip(known["", 1].features, sketches.counts.features[0], strict=True))
    assert {name: int(counts.sum()) for name, counts in by_name.items()} == {
        "distance": 0,
        "wind": 200,
        "plane": 0,
    }


def test_errors_do_not_repeat_what_is_sensitive(tmp_path: Path) -> None:
    station = made(tmp_path, inputs={"unknown": "reject"})
    with pytest.raises(ModelworksError) as refused:
        station.predict("delay", [ROW])
    assert SECRET not in str(refused.value)
    station.close()
    station = made(tmp_path / "other")
    replica = station.plane.fleet.snapshot.models["delay"].replicas[()]

    class Broken:
        home = replica.predictor.home

        def predict(self, _batch: Any) -> Any:
            raise ValueError(f"could not convert {SECRET}")

    replica.predictor = Broken()  # type: ignore[assignment] - a model that fails as scikit-learn's do
    with pytest.raises(ModelworksError, match="ValueError") as failed:
        station.predict("delay", [ROW])
    assert SECRET not in str(failed.value)
    station.close()


def test_a_sample_is_logged_and_the_rest_says_so(tmp_path: Path) -> None:
    station = made(tmp_path, log={"sample": 0.25})
    body = json.dumps({"rows": [ROW]}).encode()
    ids = [
        json.loads(answer)["predictions"][0]["id"]
        for _, answer in station.plane.answer([(b"/predict/delay", body)] * 400)
    ]
    logged = [one for one in ids if not one.startswith("unlogged-")]
    assert 50 < len(logged) < 150  # 100 +- 8.7 by chance
    assert {one["id"] for one in station.recent(limit=1000)} == set(logged)
    left_out = next(one for one in ids if one not in logged)
    assert station.find(left_out) is None
    told = station.outcomes([{"prediction_id": one, "value": 1} for one in (logged[0], left_out)])
    assert told == {"accepted": 1, "unlogged": 1}
    assert station.outcomes([{"prediction_id": left_out, "value": 1}]) == {"accepted": 0, "unlogged": 1}
    station.close()
    assert station.drain() == len(logged) + 1


def test_what_is_evidence_is_never_left_out(tmp_path: Path) -> None:
    station = made(tmp_path, log={"sample": 0.0}, control={"share": 50, "answer": "none"})
    told = station.predict("delay", [{**ROW, "flight": f"UA{n}"} for n in range(20)])["predictions"]
    assert {one["id"] for one in station.recent()} == {one["id"] for one in told}
    assert {one["output"] is None for one in told} == {True, False}
    station.close()


def test_what_rows_are_found_by_cannot_be_sensitive() -> None:
    for role in ("key", "time"):
        contract: dict[str, Any] = {"key": Text(), "time": as_time(role == "time")}
        contract["key"] = Text(sensitive="hash" if role == "key" else "")
        with pytest.raises(Invalid, match=f"the {role} column"):
            Dataset("d", source=Files("*.csv"), contract=contract, key="key", time="time")
    assert as_field("x", Number(min=0, sensitive="drop")).to_json()["sensitive"] == "drop"
    with pytest.raises(Invalid, match="sensitive="):
        as_field("x", Text(sensitive="hide"))  # type: ignore[arg-type]


def as_time(sensitive: bool) -> Any:
    from modelworks.core.schema import Time

    return Time(sensitive="drop" if sensitive else "")


def test_equal_values_have_equal_hashes_and_keys_differ(tmp_path: Path) -> None:
    one, other = (made_key(open_stores(tmp_path / name).ledger) for name in "ab")
    assert one != other
    assert made_key(open_stores(tmp_path / "a").ledger) == one
    first, second = redaction_of(CONTRACT, one), redaction_of(CONTRACT, other)
    assert first is not None
    assert second is not None
    assert first.hashed(5) == first.hashed(5.0) == first.hashed("5")
    assert first.hashed("5") != second.hashed("5")
    assert as_text(5.0) == "5"
