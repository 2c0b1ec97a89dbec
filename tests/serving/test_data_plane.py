"""The data plane in process: routing, answers equal to the models', refusals, the log."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import serve_world as world

from modelworks.core.errors import Invalid, NotFound, NotReady
from modelworks.serving.station import ServeStation
from modelworks.stores import Stores


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Stores:
    return world.make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture
def station(stores: Stores) -> Any:
    station = ServeStation(stores, max_body=4_000_000)
    station.refresh()
    yield station
    station.close()


def test_rows_go_to_their_segment_or_its_nearest_parent(station: ServeStation) -> None:
    pairs = [("UA", "EWR"), ("UA", "LGA"), ("ZZ", "EWR"), ("AA", "JFK"), ("AA", "EWR")]
    rows = [{**world.ROW, "carrier": carrier, "origin": origin} for carrier, origin in pairs]
    answer = station.predict("delay", rows)
    assert [one["segment"] for one in answer["predictions"]] == ["UA,EWR", "UA", "", "AA,JFK", ""]
    expected = [world.fit(seed)[0] for seed in (2, 1, 0, 3, 0)]
    frame = pd.DataFrame([world.ROW])[world.FEATURES]
    scores = [model.predict_proba(frame)[0, 1] for model in expected]
    np.testing.assert_allclose([one["output"] for one in answer["predictions"]], scores, atol=1e-5)
    ids = [one["id"] for one in answer["predictions"]]
    assert ids == [f"{ids[0][:-2]}-{row}" for row in range(5)]


def test_requests_that_come_together_are_answered_as_if_alone(station: ServeStation) -> None:
    rng = np.random.default_rng(1)
    bodies = [
        json.dumps(
            {
                "rows": [
                    {**world.ROW, "wind": w, "carrier": c}
                    for w, c in zip(rng.gamma(2, 8, 3), ("UA", "ZZ", "AA"), strict=True)
                ]
            }
        ).encode()
        for _ in range(20)
    ]
    requests = [(b"/predict/delay", body) for body in bodies]
    requests.insert(7, (b"/predict/delay", b"{"))
    together = station.plane.answer(requests)
    assert [status for status, _ in together] == [200] * 7 + [400] + [200] * 13
    for (path, body), (status, answer) in zip(requests, together, strict=True):
        if status == 200:
            alone = json.loads(station.plane.answer([(path, body)])[0][1])["predictions"]
            for one, other in zip(json.loads(answer)["predictions"], alone, strict=True):
                assert (one["segment"], one["version"]) == (other["segment"], other["version"])
                assert one["output"] == pytest.approx(other["output"], abs=1e-6)


def test_a_missing_value_is_accepted_where_the_contract_or_the_model_allows_it(station: ServeStation) -> None:
    without = {name: value for name, value in world.ROW.items() if name not in ("wind", "plane")}
    missing = {**world.ROW, "wind": None, "plane": None}
    one, other = station.predict("delay", [without, missing])["predictions"]
    assert one["output"] == other["output"]
    model, _, _ = world.fit(2)
    frame = pd.DataFrame([{"distance": 700.0, "wind": np.nan, "plane": ""}])
    assert one["output"] == pytest.approx(model.predict_proba(frame)[0, 1], abs=1e-5)


def test_other_tasks(station: ServeStation) -> None:
    row = {f"x{n}": 0.1 * n for n in range(10)}
    model, _, _ = world.fit_numbers(regression=True)
    (value,) = station.predict("price", [row])["predictions"]
    assert value["output"] == pytest.approx(model.predict(pd.DataFrame([row]))[0], rel=1e-5)
    (kind,) = station.predict("kind", [world.ROW])["predictions"]
    assert set(kind["output"]["probabilities"]) == {"early", "on time", "late"}
    assert sum(kind["output"]["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert (
        kind["output"]["label"] == max(kind["output"]["probabilities"].items(), key=lambda item: item[1])[0]
    )


def change(**changes: Any) -> dict[str, Any]:
    """A body of one row with something wrong."""
    return {"rows": [{**world.ROW, **changes}]}


def logged(station: ServeStation) -> dict[Path, int]:
    return {path: path.stat().st_size for path in station.stores.spool.iterdir()}


def without(column: str) -> dict[str, Any]:
    return {"rows": [{name: value for name, value in world.ROW.items() if name != column}]}


BAD: list[tuple[str, Any, int, str]] = [
    ("/predict/delay", b"{", 400, "not valid JSON"),
    ("/predict/delay", b"", 400, "no body"),
    ("/predict/delay", b"[" * 100_000, 400, ""),
    (
        "/predict/delay",
        b'{"rows": [{"distance": 1}]} trailing',
        400,
        "cannot be accepted|not valid JSON|no column",
    ),
    ("/predict/delay", b"\xff\xfe", 400, "not valid JSON"),
    ("/predict/delay", [], 400, "expected `object`"),
    ("/predict/delay", {"row": []}, 400, "no 'rows'"),
    ("/predict/delay", {"rows": []}, 400, "length >= 1"),
    ("/predict/delay", {"rows": [1]}, 422, "row 0"),
    ("/predict/delay", {"rows": [world.ROW] * 10_001}, 413, "10000"),
    ("/predict/delay", change(distance="700"), 422, "row 0, column 'distance'"),
    ("/predict/delay", change(distance=True), 422, "row 0, column 'distance'"),
    ("/predict/delay", change(distance=1e300), 422, "row 0, column 'distance'"),
    ("/predict/delay", change(distance=None), 422, "row 0, column 'distance'"),
    ("/predict/delay", change(distance=float("nan")), 400, "NaN"),
    ("/predict/delay", change(wind=float("inf")), 400, "Infinity"),
    ("/predict/delay", change(plane=7), 422, "row 0, column 'plane'"),
    ("/predict/delay", change(carrier=7), 422, "row 0, column 'carrier'"),
    ("/predict/delay", change(departs="yesterday"), 422, "row 0, column 'departs'"),
    ("/predict/delay", without("distance"), 422, "row 0, column 'distance'"),
    ("/predict/delay", without("carrier"), 422, "row 0, column 'carrier'"),
    ("/predict/nothing", change(), 404, "no model 'nothing'"),
    ("/predict/planned", change(), 503, "not live"),
    ("/predict/delay[UA,EWR,IAH]", change(), 404, "split by carrier, origin"),
    ("/predict/../../etc/passwd", change(), 400, "slash"),
    ("/predict/..%2F..%2Fetc%2Fpasswd", change(), 400, "not a valid name"),
    ("/predict/", change(), 400, "not a reference"),
    ("/predict/delay@3", change(), 400, "no version"),
    ("/predict/%00", change(), 400, "not a valid name"),
    ("/predict/" + "a" * 5000, change(), 400, "not a reference"),
    ("/v2/models/nothing/infer", {"inputs": []}, 404, "no model"),
    ("/v2/models/..%2fx/infer", {"inputs": []}, 400, "not a valid name"),
    ("/v2/models/delay/versions/99/infer", {"inputs": []}, 404, "delay@99"),
    ("/v2/models/delay/versions/x/infer", {"inputs": []}, 400, "not a version"),
    ("/v2/models/delay/nowhere", {"inputs": []}, 405, "not possible"),
    ("/outcomes", {"outcomes": [{"value": 1}]}, 400, "prediction_id"),
    ("/outcomes", {"outcomes": [{"key": "k", "value": None}]}, 400, "value"),
    ("/outcomes", b'{"outcomes": [{"key": "k", "value": NaN}]}', 400, "NaN"),
    ("/outcomes", {"outcomes": [{"prediction_id": "../x", "value": 1}]}, 400, "prediction_id"),
    ("/outcomes", {"outcomes": [{"key": "k", "value": 1, "time": "soon"}]}, 400, "time"),
]


@pytest.mark.parametrize(("path", "body", "status", "says"), BAD)
def test_bad_input_is_refused_with_its_reason(
    station: ServeStation, path: str, body: Any, status: int, says: str
) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    before = logged(station)
    got, headers, answer = station.plane.handle("POST", path.encode(), {}, raw)
    assert got == status
    assert (b"content-type", b"application/json") in headers
    error = json.loads(answer)["error"]
    if path.startswith("/v2"):
        assert isinstance(error, str)
    else:
        assert set(error) - {"values"} == {"code", "what", "why", "fix"}
        assert ("values" in error) == (status == 422)
        assert error["what"]
    assert any(one in str(error) or one in json.dumps(error) for one in says.split("|"))
    assert "Traceback" not in str(error)
    assert logged(station) == before


def test_what_a_model_cannot_answer_spoils_no_other_request(station: ServeStation) -> None:
    good = {"rows": [{f"x{n}": 0.5 for n in range(10)}]}
    huge = {"rows": [{f"x{n}": 3e38 * (-1) ** n for n in range(10)}]}
    requests = [(b"/predict/price", json.dumps(body).encode()) for body in (good, huge, good)]
    statuses = [status for status, _ in station.plane.answer(requests)]
    assert statuses[0] == statuses[2] == 200


def test_the_station_raises_what_the_server_would_answer(station: ServeStation) -> None:
    with pytest.raises(NotFound, match="no model"):
        station.predict("nothing", [world.ROW])
    with pytest.raises(NotReady):
        station.predict("planned", [world.ROW])
    with pytest.raises(Invalid, match="row 0, column 'distance'"):
        station.predict("delay", [{**world.ROW, "distance": "far"}])


def test_compressed_bodies(station: ServeStation) -> None:
    body = json.dumps({"rows": [world.ROW]}).encode()
    packed = gzip.compress(body)
    answer = station.plane.handle("POST", b"/predict/delay", {b"content-encoding": b"gzip"}, packed)
    assert answer[0] == 200
    bomb = gzip.compress(b" " * 50_000_000)
    assert station.plane.handle("POST", b"/predict/delay", {b"content-encoding": b"gzip"}, bomb)[0] == 413
    cut = station.plane.handle("POST", b"/predict/delay", {b"content-encoding": b"gzip"}, packed[:-9])
    assert cut[0] == 400
    assert station.plane.handle("POST", b"/predict/delay", {b"content-encoding": b"br"}, body)[0] == 400


def test_a_full_disk_refuses_instead_of_losing(
    station: ServeStation, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    body = json.dumps({"rows": [world.ROW]}).encode()
    assert station.plane.answer([(b"/predict/delay", body)])[0][0] == 200

    def full(_file: int, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        status, answer = station.plane.answer([(b"/predict/delay", body)])[0]
    assert status == 503
    assert json.loads(answer)["error"]["code"] == "unavailable"
    assert station.plane.answer([(b"/predict/delay", body)])[0][0] == 200


def test_counters_are_told_to_prometheus(station: ServeStation) -> None:
    station.predict("delay", [world.ROW, world.ROW])
    with pytest.raises(Invalid):
        station.predict("delay", [{}])
    text = station.plane.metrics_text()
    assert 'modelworks_requests_total{model="delay"} 1.0' in text
    assert 'modelworks_rows_total{model="delay"} 2.0' in text
    assert 'modelworks_errors_total{model="delay"} 1.0' in text
    assert 'modelworks_latency_seconds_bucket{le="+Inf",model="delay"} 1.0' in text
    assert 'modelworks_live_versions{model="delay"} 4.0' in text


def test_a_segment_can_be_asked_for_by_name(station: ServeStation) -> None:
    row = {name: world.ROW[name] for name in world.FEATURES}
    (one,) = station.predict("delay[AA,JFK]", [row])["predictions"]
    assert one["segment"] == "AA,JFK"
    (parent,) = station.predict("delay[AA,XXX]", [row])["predictions"]
    assert parent["segment"] == ""


def test_methods(station: ServeStation) -> None:
    plane = station.plane
    status, headers, body = plane.handle("OPTIONS", b"/predict/delay", {}, b"")
    assert (status, body) == (204, b"")
    assert (b"allow", b"POST, OPTIONS") in headers
    assert plane.handle("GET", b"/predict/delay", {}, b"")[0] == 405
    assert plane.handle("DELETE", b"/v2/models/delay", {}, b"")[0] == 405
    assert plane.handle("HEAD", b"/v2/health/live", {}, b"")[0] == 200


def test_no_temporary_files_are_left(stores: Stores) -> None:
    assert not list(Path(stores.spool).glob(".*"))
