"""The Open Inference Protocol: its forms, and what it must refuse."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
import serve_world as world

from modelworks.serving.station import ServeStation

TEN = [round(0.1 * n - 0.3, 3) for n in range(10)]


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Any:
    station = ServeStation(world.make_world(tmp_path_factory.mktemp("tensors")))
    station.refresh()
    yield station
    station.close()


def call(station: ServeStation, method: str, path: str, body: Any = b"") -> tuple[int, Any]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    status, _, answer = station.plane.handle(method, path.encode(), {}, raw)
    return status, json.loads(answer)


def tensor(name: str, data: Any, datatype: str = "FP64", shape: list[int] | None = None) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape or [len(data)], "data": data}


def flight(**changes: Any) -> list[dict[str, Any]]:
    """The inputs of one flight, a tensor a column."""
    row = {**world.ROW, **changes}
    return [
        tensor(name, [value], "BYTES" if isinstance(value, str) else "FP32") for name, value in row.items()
    ]


def test_health_and_metadata(station: ServeStation) -> None:
    server = call(station, "GET", "/v2")[1]
    assert (server["name"], server["extensions"]) == (
        "modelworks",
        ["binary_tensor_data", "model_repository"],
    )
    assert call(station, "GET", "/v2/health/live") == (200, {"live": True})
    assert call(station, "GET", "/v2/health/ready") == (200, {"ready": True})
    assert call(station, "GET", "/v2/models/delay/ready") == (200, {"name": "delay", "ready": True})
    assert call(station, "GET", "/v2/models/delay%5BUA%2CEWR%5D/ready")[1]["name"] == "delay[UA,EWR]"
    assert call(station, "GET", "/v2/models/planned/ready")[0] == 503
    status, told = call(station, "GET", "/v2/models/score/versions/1")
    assert (status, told["versions"], told["platform"]) == (200, ["1"], "onnxruntime_onnx")
    assert told["inputs"][0] == {"name": "x0", "datatype": "FP32", "shape": [-1]}
    assert [output["name"] for output in told["outputs"]] == ["probabilities", "label"]
    assert {one["name"] for one in call(station, "GET", "/v2/models/delay")[1]["inputs"]} == set(world.ROW)
    assert {one["name"] for one in call(station, "GET", "/v2/models/delay[AA,JFK]")[1]["inputs"]} == set(
        world.FEATURES
    )
    assert call(station, "GET", "/v2/models/nothing")[0] == 404
    assert call(station, "GET", "/v2/nowhere")[0] == 404


def test_the_repository(station: ServeStation) -> None:
    index = {one["name"]: one for one in call(station, "POST", "/v2/repository/index")[1]}
    assert index["delay[UA,EWR]"]["version"] == "1"
    assert index["planned"]["state"] == "UNAVAILABLE"
    ready = call(station, "POST", "/v2/repository/index", {"ready": True})[1]
    assert "planned" not in {one["name"] for one in ready}
    assert call(station, "POST", "/v2/repository/index", b"{")[0] == 400
    load = "/v2/repository/models/{}/load".format
    assert call(station, "POST", load("score")) == (200, {"name": "score", "load": True})
    assert call(station, "POST", load("delay%5BUA%5D"))[1]["name"] == "delay[UA]"
    status, answer = call(station, "POST", load("planned"))
    assert (status, "no champion" in answer["error"]) == (503, True)
    assert call(station, "POST", load("nothing"))[0] == 404
    assert call(station, "POST", "/v2/repository/models/score/unload")[0] == 409
    assert call(station, "POST", "/v2/repository/models/planned/unload")[0] == 200
    assert call(station, "POST", "/v2/repository/models/score/sell")[0] == 404
    assert call(station, "POST", "/v2/repository/models/load")[0] == 404


@pytest.mark.parametrize("data", [TEN * 2, [TEN, TEN]])
def test_a_matrix_flat_or_nested(station: ServeStation, data: Any) -> None:
    body = {"id": "a-7", "inputs": [tensor("input", data, "FP32", [2, 10])]}
    status, answer = call(station, "POST", "/v2/models/score/infer", body)
    assert (status, answer["id"], answer["model_name"], answer["model_version"]) == (200, "a-7", "score", "1")
    expected = world.fit_numbers()[0].predict_proba(
        pd.DataFrame([TEN], columns=[f"x{n}" for n in range(10)])
    )[0]
    probabilities, label = answer["outputs"]
    assert probabilities["shape"] == [2, 2]
    np.testing.assert_allclose(probabilities["data"], [*expected, *expected], atol=1e-6)
    assert (label["datatype"], label["data"]) == ("INT64", [int(expected.argmax())] * 2)
    assert len(answer["parameters"]["prediction_ids"].split(",")) == 2


def test_one_row_and_many_are_worded_alike(station: ServeStation) -> None:
    for model, inputs in (
        ("score", [tensor(f"x{n}", [value]) for n, value in enumerate(TEN)]),
        ("price", [tensor("input", TEN, "FP64", [1, 10])]),
        ("delay", flight()),
        ("delay[UA,EWR]", [one for one in flight() if one["name"] in world.FEATURES]),
        ("kind", [one for one in flight() if one["name"] in world.FEATURES]),
    ):
        path = f"/v2/models/{model}/infer"
        names = [one["name"] for one in call(station, "GET", f"/v2/models/{model}")[1]["outputs"]]
        asked = [{"name": name} for name in names]
        _, short = call(station, "POST", path, {"id": "%b", "inputs": inputs})
        _, full = call(station, "POST", path, {"id": "%b", "inputs": inputs, "outputs": asked})
        assert list(short) == list(full)
        assert {**short, "parameters": 0, "outputs": 0} == {**full, "parameters": 0, "outputs": 0}
        assert short["parameters"].get("segments") == full["parameters"].get("segments")
        for one, other in zip(short["outputs"], full["outputs"], strict=True):
            assert {**one, "data": 0} == {**other, "data": 0}
            if one["datatype"] == "FP32":
                np.testing.assert_allclose(one["data"], other["data"], rtol=1e-6)
            else:
                assert one["data"] == other["data"]


def test_rows_are_routed_and_answered_in_order(station: ServeStation) -> None:
    carriers, origins = ["UA", "ZZ", "AA", "UA"], ["EWR", "EWR", "JFK", "LGA"]
    inputs = [
        tensor("carrier", carriers, "BYTES"),
        tensor("origin", origins, "BYTES", [4, 1]),
        tensor("distance", [1, 2, 3, 4], "INT32"),
        tensor("wind", [1.5, None, 2, 3]),
        tensor("plane", ["B737"] * 4, "BYTES"),
    ]
    _, answer = call(station, "POST", "/v2/models/delay/infer", {"inputs": inputs})
    assert answer["parameters"]["segments"].split("/") == ["UA,EWR", "", "AA,JFK", "UA"]
    rows = [
        {"carrier": c, "origin": o, "distance": d, "wind": w, "plane": "B737"}
        for c, o, d, w in zip(carriers, origins, [1, 2, 3, 4], [1.5, None, 2, 3], strict=True)
    ]
    expected = [one["output"] for one in station.predict("delay", rows)["predictions"]]
    np.testing.assert_allclose(answer["outputs"][0]["data"][1::2], expected, atol=1e-6)


def test_only_the_outputs_that_were_asked_for(station: ServeStation) -> None:
    body = {"inputs": [tensor("input", TEN, "FP32", [1, 10])], "outputs": [{"name": "label"}]}
    _, answer = call(station, "POST", "/v2/models/score/infer", body)
    assert [output["name"] for output in answer["outputs"]] == ["label"]


def test_any_registered_version_can_be_pinned(station: ServeStation) -> None:
    version = world.register(station.stores, "score", (), world.fit_numbers(seed=5))
    body = {"inputs": [tensor("input", TEN, "FP32", [1, 10])]}
    _, answer = call(station, "POST", f"/v2/models/score/versions/{version}/infer", body)
    assert answer["model_version"] == str(version)
    expected = world.fit_numbers(seed=5)[0].predict_proba(
        pd.DataFrame([TEN], columns=[f"x{n}" for n in range(10)])
    )
    np.testing.assert_allclose(answer["outputs"][0]["data"], expected[0], atol=1e-6)


def matrix(**changes: Any) -> dict[str, Any]:
    return {"inputs": [{**tensor("input", TEN, "FP32", [1, 10]), **changes}]}


MATRIX = {"name": "input", "datatype": "FP32", "shape": [1, 10]}
REFUSED: list[tuple[str, Any, str]] = [
    ("score", {"inputs": []}, "length >= 1"),
    ("score", {}, "no 'inputs'"),
    ("score", matrix(shape=[1, 9]), "[rows, 10]"),
    ("score", matrix(shape=[10]), "[rows, 10]"),
    ("score", matrix(shape=[2, 10]), "asks for 20"),
    ("score", matrix(shape=[0, 10], data=[]), "no rows"),
    ("score", matrix(shape=[-1, 10]), ">= 0"),
    ("score", matrix(shape=[20_000, 10]), "10000 are accepted"),
    ("score", matrix(datatype="FP31"), "cannot be FP31"),
    ("score", matrix(datatype="BYTES"), "cannot be BYTES"),
    ("score", matrix(datatype="INT64"), "does not fit INT64"),
    ("score", matrix(data=["1"] * 10), "does not fit FP32"),
    ("score", matrix(data=[True] * 10), "does not fit FP32"),
    ("score", matrix(data=[None, *TEN[1:]]), "missing value"),
    ("score", matrix(data=[[TEN]]), "not nested"),
    ("score", matrix(data=[TEN[:5], TEN[5:]]), "not nested"),
    ("score", json.dumps(matrix(data=[float("nan"), *TEN[1:]])).encode(), "NaN"),
    ("score", {"inputs": [{"name": "input", "datatype": "FP32", "shape": [1, 10]}]}, "no data"),
    ("score", {"inputs": [{**MATRIX, "parameters": {"binary_data_size": 40}}]}, "Inference-Header"),
    ("score", matrix(datatype="INT8", data=[128] * 10), "<= 127"),
    ("score", matrix(datatype="UINT16", data=[-1] * 10), ">= 0"),
    ("score", matrix(datatype="UINT64", data=[2**64] * 10), "<= 18446744073709551615"),
    ("score", matrix(datatype="FP16", data=[65505.0] * 10), "<= 65504"),
    ("score", matrix(datatype="FP64", data=[1e39] * 10), "does not fit FP64"),
    ("score", b'{"inputs":[{"name":"input","shape":[1,10],"datatype":"FP32","data":' + b"[" * 5000, "nested"),
    ("score", {**matrix(), "outputs": [{"name": "nothing"}]}, "no output 'nothing'"),
    (
        "score",
        {**matrix(), "outputs": [{"name": "label", "parameters": {"classification": 2}}]},
        "classification",
    ),
    ("score", {"inputs": [tensor("x99", [1.0])]}, "no input 'x99'"),
    ("score", {"inputs": [tensor("x0", [1.0])]}, "has no input"),
    ("score", {"inputs": [tensor("x0", [1.0]), tensor("x0", [1.0])]}, "twice"),
    ("delay", {"inputs": flight(distance="far")}, "cannot be BYTES"),
    ("delay", {"inputs": flight(plane=5)}, "it takes BYTES"),
    ("delay", {"inputs": [*flight()[:-1], tensor("plane", ["a", "b"], "BYTES")]}, "it must be [1]"),
    ("delay", {"inputs": [*flight(), tensor("departs", ["soon"], "BYTES")]}, "departs"),
    ("delay", {"inputs": [one for one in flight() if one["name"] != "carrier"]}, "no input 'carrier'"),
    ("delay", matrix(), "no input 'input'"),
]


@pytest.mark.parametrize(("model", "body", "says"), REFUSED)
def test_what_it_refuses(station: ServeStation, model: str, body: Any, says: str) -> None:
    status, answer = call(station, "POST", f"/v2/models/{model}/infer", body)
    assert status == 422 if says == "missing value" else status in (400, 413)
    assert says in answer["error"]


def test_labels_over_segments_that_know_different_classes(tmp_path: Any) -> None:
    from modelworks.stores import open_stores

    stores = open_stores(tmp_path)
    world.declare(stores, "kind", world.FEATURES, ["carrier"], "flights")
    world.deploy(stores, "kind", (), world.fit(labels=["a", "b", "c"]))
    world.deploy(stores, "kind", ("UA",), world.fit(labels=["b", "c"]))
    station = ServeStation(stores)
    station.refresh()
    inputs = [
        tensor("carrier", ["UA", "ZZ"], "BYTES"),
        tensor("distance", [5, 5]),
        tensor("wind", [5, 5]),
        tensor("plane", ["A320"] * 2, "BYTES"),
    ]
    _, both = call(station, "POST", "/v2/models/kind/infer", {"inputs": inputs})
    probabilities = np.array(both["outputs"][0]["data"]).reshape(2, 3)
    assert probabilities[0, 0] == 0
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    alone = [{**one, "shape": [1], "data": one["data"][:1]} for one in inputs]
    _, one = call(station, "POST", "/v2/models/kind/infer", {"inputs": alone})
    np.testing.assert_allclose(one["outputs"][0]["data"], probabilities[0], atol=1e-6)
    assert one["outputs"][1]["data"] == both["outputs"][1]["data"][:1]
    station.close()
