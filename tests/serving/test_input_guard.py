"""The input guard: what a training did not see is refused or flagged, in every form, and in batches."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl
import pytest
import serve_world as world

from modelworks.core.errors import Invalid, Unfit
from modelworks.core.seen import MOST, Seen
from modelworks.deploy.inputs import Inputs
from modelworks.serving import inference_pb2 as pb
from modelworks.serving.batch import Scorer
from modelworks.serving.columns import MAX_ROWS
from modelworks.serving.forms import Message
from modelworks.serving.input_guard import guard_of
from modelworks.serving.paths import path_of
from modelworks.serving.station import ServeStation
from modelworks.stores import Stores, open_stores

FAR, NEW = {**world.ROW, "distance": 1e6}, {**world.ROW, "plane": "Concorde"}
STRICT = Inputs(out_of_range="reject", unknown="reject").to_json()


def made(root: Path, inputs: dict[str, Any] | None = None, **contract: Any) -> ServeStation:
    stores = open_stores(root)
    definition = {} if inputs is None else {"inputs": inputs}
    world.declare(stores, "delay", world.FEATURES, ["carrier"], "flights", definition, **contract)
    world.deploy(stores, "delay", (), world.fit(0), guarded=True)
    world.deploy(stores, "delay", ("UA",), world.fit(1), guarded=True)
    world.declare(stores, "score", [f"x{n}" for n in range(10)], definition=definition)
    world.deploy(stores, "score", (), world.fit_numbers(), guarded=True)
    station = ServeStation(stores)
    station.refresh()
    return station


@pytest.fixture
def station(tmp_path: Path) -> Any:
    station = made(tmp_path)
    yield station
    station.close()


@pytest.fixture
def strict(tmp_path: Path) -> Any:
    station = made(tmp_path, STRICT)
    yield station
    station.close()


def test_what_is_odd_is_answered_told_logged_and_counted(station: ServeStation) -> None:
    both = {**FAR, "plane": "Concorde", "carrier": "AA"}
    told = station.predict("delay", [world.ROW, FAR, NEW, both])["predictions"]
    far, new = {"column": "distance", "kind": "out_of_range"}, {"column": "plane", "kind": "unknown"}
    assert [one.get("flags") for one in told] == [None, [far], [new], [far, new]]
    assert all(isinstance(one["output"], (int, float)) for one in told)
    for wait in (True, False):  # from the spool, then from the table
        logged = [station.find(one["id"]) for one in told]
        assert [one and one["flags"] and orjson.loads(one["flags"]) for one in logged] == [
            None, [far], [new], [far, new],
        ]  # fmt: skip
        if wait:
            station.plane.predictions.close()
            station.drain()
    text = station.plane.metrics_text()
    for kind in ("out_of_range", "unknown"):
        assert f'modelworks_odd_values_total{{action="flagged",kind="{kind}",model="delay"}} 2.0' in text, (
            text
        )


def test_a_missing_value_that_the_contract_allows_is_flagged_where_the_training_saw_none(
    tmp_path: Path,
) -> None:
    loose = [
        one if one.name != "distance" else type(one)("distance", one.kind, nullable=True)
        for one in world.CONTRACT
    ]
    station = made(tmp_path, {"missing": "flag"}, contract=loose)
    row = {name: value for name, value in world.ROW.items() if name not in ("wind", "distance")}
    (told,) = station.predict("delay", [row])["predictions"]
    assert told["flags"] == [
        {"column": "distance", "kind": "missing"}
    ]  # wind was missing in the training, too
    station.close()


def test_every_bad_row_and_column_is_named(strict: ServeStation) -> None:
    rows = [world.ROW, {**FAR, "plane": "Concorde"}, world.ROW, {**NEW, "carrier": "AA"}]
    with pytest.raises(Unfit) as refused:
        strict.predict("delay", rows)
    assert [(one.row, one.column, one.kind) for one in refused.value.values] == [
        (1, "distance", "out_of_range"), (1, "plane", "unknown"), (3, "plane", "unknown"),
    ]  # fmt: skip
    assert "Concorde" not in str(refused.value)
    wrong = [{**world.ROW, "distance": "far"}, 7, {**world.ROW, "distance": None, "plane": 3}, {}]
    with pytest.raises(Unfit) as refused:
        strict.predict("delay", wrong)  # type: ignore[arg-type] - that is what is tested
    assert {(one.row, one.column, one.kind) for one in refused.value.values} == {
        (0, "distance", "type"), (1, None, "type"), (2, "distance", "missing"), (2, "plane", "type"),
        (3, "distance", "missing"), (3, "carrier", "missing"),
    }  # fmt: skip
    with pytest.raises(Unfit) as many:
        strict.predict("delay", [{**world.ROW, "distance": "far"}] * MAX_ROWS)
    assert len(many.value.values) == Unfit.MOST
    assert len(str(many.value)) < 2_000


def test_one_request_that_is_refused_spoils_no_other(strict: ServeStation) -> None:
    bodies = [json.dumps({"rows": [row]}).encode() for row in (world.ROW, FAR, world.ROW, NEW, world.ROW)]
    answers = strict.plane.answer([(b"/predict/delay", body) for body in bodies])
    assert [status for status, _ in answers] == [200, 422, 200, 422, 200]
    error = json.loads(answers[1][1])["error"]
    assert error["code"] == "unfit"
    assert error["values"] == [
        {"row": 0, "column": "distance", "kind": "out_of_range",
         "why": "it is beyond what the training saw"},
    ]  # fmt: skip
    outputs = {json.loads(answers[n][1])["predictions"][0]["output"] for n in (0, 2, 4)}
    assert len(outputs) == 1
    assert len(strict.recent()) == 3
    assert 'action="refused",kind="unknown",model="delay"} 1.0' in strict.plane.metrics_text()


def tensors(rows: list[dict[str, Any]]) -> dict[str, Any]:
    kinds = {"distance": "FP32", "wind": "FP32", "plane": "BYTES", "carrier": "BYTES"}
    return {
        "inputs": [
            {"name": name, "datatype": kind, "shape": [len(rows)], "data": [row[name] for row in rows]}
            for name, kind in kinds.items()
        ]
    }


def infer(station: ServeStation, model: str, body: Any) -> tuple[int, Any]:
    path = f"/v2/models/{model}/infer".encode()
    status, _, answer = station.plane.handle("POST", path, {}, json.dumps(body).encode())
    return status, json.loads(answer)


def test_tensors_are_guarded_in_json_raw_and_grpc(station: ServeStation) -> None:
    status, answer = infer(station, "delay", tensors([world.ROW, FAR]))
    assert status == 200
    far = {"row": 1, "column": "distance", "kind": "out_of_range"}
    assert json.loads(answer["parameters"]["flags"]) == [far]
    status, answer = infer(station, "delay", tensors([world.ROW]))
    assert "flags" not in answer["parameters"]
    status, answer = infer(station, "delay", tensors([{**NEW, "carrier": "ZZ"}]))
    assert json.loads(answer["parameters"]["flags"]) == [{"row": 0, "column": "plane", "kind": "unknown"}]
    request = pb.ModelInferRequest(model_name="score")
    request.inputs.add(name="input", datatype="FP32", shape=[1, 10])
    request.raw_input_contents.append(np.full(10, 1e6, "<f4").tobytes())
    message = Message.of(request.SerializeToString())
    (result,) = station.plane.results([(path_of("score", "", "infer"), message)])
    assert isinstance(result, bytes)
    parameters = pb.ModelInferResponse.FromString(result).parameters
    assert len(json.loads(parameters["flags"].string_param)) == 10


def test_tensors_are_refused_with_row_and_column(strict: ServeStation) -> None:
    status, answer = infer(strict, "delay", tensors([world.ROW, FAR, NEW]))
    assert status == 422
    assert "row 1, column 'distance'" in answer["error"]
    assert "row 2, column 'plane'" in answer["error"]
    status, answer = infer(strict, "delay", tensors([world.ROW, {**world.ROW, "distance": None}]))
    assert status == 422
    assert "row 1, column 'distance'" in answer["error"]


def test_a_policy_that_changes_is_followed_without_a_new_version(station: ServeStation) -> None:
    from sqlalchemy import update

    from modelworks.core.clock import system_clock
    from modelworks.stores.ledger.tables import models

    assert "flags" in station.predict("delay", [FAR])["predictions"][0]
    for inputs, expected in ((STRICT, None), (Inputs(out_of_range="pass").to_json(), False)):
        with station.stores.ledger.write() as db:
            db.execute(
                update(models)
                .where(models.c.name == "delay")
                .values(definition={"inputs": inputs}, updated=system_clock())
            )
        station.refresh()
        if expected is None:
            with pytest.raises(Unfit):
                station.predict("delay", [FAR])
        else:
            assert "flags" not in station.predict("delay", [FAR])["predictions"][0]


def test_a_margin_widens_the_range(tmp_path: Path) -> None:
    station = made(tmp_path, {"margin": 1.0})
    rows = [{**world.ROW, "distance": far} for far in (-2000.0, 5000.0, 9000.0)]
    told = station.predict("delay", rows)["predictions"]
    assert ["flags" in one for one in told] == [False, False, True]
    station.close()


def test_batches_are_guarded_as_requests_are(tmp_path: Path) -> None:
    from test_batch import scorer

    made(tmp_path, STRICT).close()
    stores: Stores = open_stores(tmp_path)
    plain = scorer(stores, "delay")
    rows = pl.DataFrame([world.ROW, FAR, NEW, world.ROW])
    for policy, errors, flagged in ((STRICT, [1, 2], []), ({}, [], [1, 2])):
        inputs = Inputs.from_json(policy)
        guarded = Scorer(
            plain.scoring, plain.load, partial(guard_of, artifacts=stores.artifacts, policy=inputs)
        )
        told = guarded.answer(rows)
        for column, where in (("error", errors), ("flags", flagged)):
            assert [n for n, value in enumerate(told[column]) if value is not None] == where
        assert told["output"].null_count() == len(errors)


def test_what_was_seen_survives_as_bytes() -> None:
    columns = {
        "a": np.array([1.0, np.nan, 3.0]),
        "b": np.array([True, False, True]),
        "c": np.array(["x", None, "y"], dtype=object),
        "d": np.array([f"id {n}" for n in range(MOST + 1)], dtype=object),
        "e": np.array([np.nan, np.nan]),
    }
    seen = Seen.from_bytes(Seen.of(columns, ["a", "b", "e"], ["c", "d"]).to_bytes())
    np.testing.assert_array_equal(seen.lows, np.float32([1, 0, np.nan]))
    np.testing.assert_array_equal(seen.highs, np.float32([3, 1, np.nan]))
    assert seen.texts == (frozenset({"x", "", "y"}), None)


def test_a_policy_that_cannot_be_meant_is_refused() -> None:
    with pytest.raises(Invalid, match=r"unknown of mw\.Inputs"):
        Inputs(unknown="refuse")  # type: ignore[arg-type]
    with pytest.raises(Invalid, match="margin"):
        Inputs(margin=-1)
