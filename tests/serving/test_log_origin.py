"""Who asked, and how long it took: in the log, by whatever way a request came."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from zlib import crc32

import grpc
import polars as pl
import pytest
import serve_world as world

from modelworks.serving import inference_pb2 as pb
from modelworks.serving import prediction_log
from modelworks.serving.about import origin
from modelworks.serving.grpc_server import SERVICE
from modelworks.serving.log_search import Wanted, recent
from modelworks.serving.prediction_log import SCHEMA, drain
from modelworks.serving.spool import PREDICTIONS, Entry, Spool, SpoolFile, files
from modelworks.serving.station import ServeStation
from modelworks.stores import Stores
from modelworks.stores.tables import DeltaTables

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
BODY = json.dumps({"rows": [world.ROW]})
NEW = ("caller", "request", "trace", "latency")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Stores:
    return world.make_world(tmp_path_factory.mktemp("origin"))


@pytest.fixture
def stores(base: Stores, tmp_path: Path) -> Stores:
    """With a spool and tables of its own."""
    return Stores(base.ledger, DeltaTables(str(tmp_path / "tables")), base.artifacts, tmp_path / "spool")


def test_whoever_asks_is_in_the_log_by_rest_by_v2_and_by_grpc(tmp_path: Path) -> None:
    stores = world.make_world(tmp_path / "state")
    token = tmp_path / "token"
    token.write_text("first 1000000")
    beside = world.free_port()
    known = {"authorization": "Bearer first"}
    ten = {"name": "input", "shape": [1, 10], "datatype": "FP32", "data": list(range(10))}
    with (
        world.server_process(tmp_path / "state", token=str(token), grpc_port=beside) as (_, port),
        world.client(port) as client,
    ):
        for number in range(4):  # from the second on, a head that is known
            assert client.post("/predict/delay", content=BODY, headers=known).status_code == 200, number
        told = {**known, "x-request-id": "mine-1", "traceparent": TRACEPARENT}
        assert client.post("/predict/delay", content=BODY, headers=told).status_code == 200
        infer = json.dumps({"inputs": [ten]})
        told = {**known, "x-request-id": "mine-2"}
        assert client.post("/v2/models/score/infer", content=infer, headers=told).status_code == 200
        nowhere = {**known, "x-request-id": "no\u00e9", "traceparent": f"00-{'0' * 32}-00f067aa0ba902b7-01"}
        pieces = iter([BODY.encode()])  # in chunks: by way of the application
        told = {**known, "x-request-id": "mine-3", "traceparent": TRACEPARENT}
        assert client.post("/predict/delay", content=pieces, headers=told).status_code == 200
        raw = {name.encode(): value.encode("latin-1") for name, value in nowhere.items()}
        assert client.post("/predict/kind", content=BODY, headers=raw).status_code == 200
        with grpc.insecure_channel(f"127.0.0.1:{beside}") as channel:
            tensor = pb.ModelInferRequest.InferInputTensor(name="input", datatype="FP32", shape=[1, 10])
            tensor.contents.fp32_contents.extend(range(10))
            stub = channel.unary_unary(
                f"/{SERVICE}/ModelInfer", pb.ModelInferRequest.SerializeToString, pb.ModelInferResponse.FromString
            )  # fmt: skip
            asked = pb.ModelInferRequest(model_name="score", inputs=[tensor])
            stub(
                asked,
                timeout=30,
                metadata=[*known.items(), ("x-request-id", "mine-4"), ("traceparent", TRACEPARENT)],
            )
    for _ in range(2):  # before it is drained, and after
        rows = recent(stores, Wanted())[::-1]
        assert [(r["caller"], r["request"], r["trace"]) for r in rows] == [
            *[("tester", None, None)] * 4,
            ("tester", "mine-1", TRACE),
            ("tester", "mine-2", None),
            ("tester", "mine-3", TRACE),
            ("tester", None, None),
            ("tester", "mine-4", TRACE),
        ]
        assert all(0 < row["latency"] < 30 for row in rows)
        (mine,) = recent(stores, Wanted(request="mine-2"))
        assert mine["model"] == "score"
        assert len(recent(stores, Wanted(caller="tester"))) == 9
        assert recent(stores, Wanted(caller="somebody")) == []
        drain(stores)


def test_without_a_token_nobody_is_named(stores: Stores) -> None:
    station = ServeStation(stores)
    (answer,) = station.predict("delay", [world.ROW])["predictions"]
    found = station.find(answer["id"])
    station.close()
    assert found is not None
    assert [found[name] for name in NEW[:3]] == [None] * 3
    assert found["latency"] > 0
    assert origin("") == origin("", b"\x00", b"no trace") == b""


def as_before(entries: list[Entry]) -> bytes:
    """A spool's file as it was written before entries said where their request came from."""
    head, written = struct.Struct("<BQqII"), b""

    def block(payload: bytes) -> bytes:
        return struct.pack("<II", len(payload), crc32(payload)) + payload

    written += block(head.pack(0, 0, 0, len(entries[0].schema), 0) + entries[0].schema)
    for one in entries:
        written += block(
            head.pack(one.kind, 0, one.time, len(one.request), len(one.answer)) + one.request + one.answer
        )
    return written


def test_a_spool_and_a_table_of_before_are_read_and_go_on(stores: Stores) -> None:
    station = ServeStation(stores)
    old = [station.predict("delay", [world.ROW])["predictions"][0]["id"] for _ in range(3)]
    station.close()
    (path,) = files(stores.spool, PREDICTIONS)
    with SpoolFile(path) as file:
        entries = [entry for block in file.blocks() for entry in block.entries]
    path.write_bytes(as_before(entries[1:]))
    before = prediction_log.table(entries[:1]).drop(NEW)
    stores.tables.append(PREDICTIONS, before)  # a table that has none of the columns
    station = ServeStation(stores)
    body = (b"/predict/delay", BODY.encode(), origin("shop", b"mine", TRACEPARENT.encode()))
    station.refresh()
    assert station.plane.answer([body])[0][0] == 200
    for drained in (False, True, True):
        rows = station.recent()[::-1]
        assert [row["id"] for row in rows[:3]] == old
        assert [[row[name] for name in NEW] for row in rows[:3]] == [[None] * 4] * 3
        assert [rows[3][name] for name in NEW[:3]] == ["shop", "mine", TRACE]
        assert [row["id"] for row in station.recent(caller="shop")] == [rows[3]["id"]]
        assert (station.find(old[0]) or {})["caller"] is None
        files_before = set(Path(stores.tables.root, PREDICTIONS).glob("*.parquet"))
        assert station.drain() == (0 if drained and rows else 3)
        assert files_before <= set(
            Path(stores.tables.root, PREDICTIONS).glob("*.parquet")
        )  # nothing is rewritten
    assert stores.tables.scan(PREDICTIONS).collect_schema() == pl.Schema(SCHEMA)
    station.close()


def test_an_entry_comes_back_as_it_was_written(tmp_path: Path) -> None:
    spool = Spool(tmp_path, PREDICTIONS)
    entries = [
        Entry(1, b"s", 5, b"request", b"answer", b'["a","b","c"]', 0.25),
        Entry(4, b"", 6, b"", b"x", b"", 0.5),
    ]
    spool.append(entries)
    spool.close()
    (path,) = files(tmp_path, PREDICTIONS)
    with SpoolFile(path) as file:
        assert [entry for block in file.blocks() for entry in block.entries] == entries
