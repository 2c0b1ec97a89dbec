"""The gRPC server: a real process, a real channel; and raw tensors on the wire of HTTP beside it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import serve_world as world
from grpc_health.v1 import health_pb2, health_pb2_grpc

from modelworks.serving import inference_pb2 as pb
from modelworks.serving import log_search, prediction_log
from modelworks.stores import Stores

LIMIT = 300_000
TEN = (np.arange(10) * 0.1 - 0.3).astype("<f4")
CALLS = {
    "ServerLive": (pb.ServerLiveRequest, pb.ServerLiveResponse),
    "ServerReady": (pb.ServerReadyRequest, pb.ServerReadyResponse),
    "ModelReady": (pb.ModelReadyRequest, pb.ModelReadyResponse),
    "ServerMetadata": (pb.ServerMetadataRequest, pb.ServerMetadataResponse),
    "ModelMetadata": (pb.ModelMetadataRequest, pb.ModelMetadataResponse),
    "ModelInfer": (pb.ModelInferRequest, pb.ModelInferResponse),
    "RepositoryIndex": (pb.RepositoryIndexRequest, pb.RepositoryIndexResponse),
    "RepositoryModelLoad": (pb.RepositoryModelLoadRequest, pb.RepositoryModelLoadResponse),
    "RepositoryModelUnload": (pb.RepositoryModelUnloadRequest, pb.RepositoryModelUnloadResponse),
}


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Stores:
    return world.make_world(tmp_path_factory.mktemp("grpc"))


@pytest.fixture(scope="module")
def ports(stores: Stores) -> Iterator[tuple[int, int]]:
    """Of HTTP and of gRPC."""
    beside = world.free_port()
    with world.server_process(stores.spool.parent, max_body=LIMIT, grpc_port=beside) as (process, port):
        yield port, beside
        process.terminate()
        assert process.wait(20) in (0, -15)


@pytest.fixture
def channel(ports: tuple[int, int]) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{ports[1]}", [("grpc.max_send_message_length", -1)]) as channel:
        yield channel


def call(channel: grpc.Channel, name: str, request: Any, **options: Any) -> Any:
    kind, answer = CALLS[name]
    stub = channel.unary_unary(
        f"/inference.GRPCInferenceService/{name}", kind.SerializeToString, answer.FromString
    )
    return stub(request, timeout=30, **options)


def request(rows: int = 1, model: str = "score", **more: Any) -> pb.ModelInferRequest:
    made = pb.ModelInferRequest(model_name=model, **more)
    made.inputs.add(name="input", datatype="FP32", shape=[rows, 10])
    made.raw_input_contents.append(np.tile(TEN, rows).tobytes())
    return made


def refused(channel: grpc.Channel, name: str, message: Any, **options: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as error:
        call(channel, name, message, **options)
    return error.value.code(), error.value.details()


def test_health_metadata_and_repository(channel: grpc.Channel) -> None:
    assert call(channel, "ServerLive", pb.ServerLiveRequest()).live
    assert call(channel, "ServerReady", pb.ServerReadyRequest()).ready
    assert call(channel, "ServerMetadata", pb.ServerMetadataRequest()).name == "modelworks"
    ready = [
        call(channel, "ModelReady", pb.ModelReadyRequest(name=name, version=version)).ready
        for name, version in (
            ("delay[UA,EWR]", ""),
            ("score", "1"),
            ("score", "9"),
            ("planned", ""),
            ("no", ""),
        )
    ]
    assert ready == [True, True, False, False, False]
    told = call(channel, "ModelMetadata", pb.ModelMetadataRequest(name="score"))
    assert (told.name, list(told.versions), told.platform) == ("score", ["1"], "onnxruntime_onnx")
    assert (told.inputs[0].name, told.inputs[0].datatype, list(told.inputs[0].shape)) == ("x0", "FP32", [-1])
    assert [(one.name, list(one.shape)) for one in told.outputs] == [
        ("probabilities", [-1, 2]),
        ("label", [-1]),
    ]
    index = call(channel, "RepositoryIndex", pb.RepositoryIndexRequest(ready=True)).models
    assert {one.state for one in index} == {"READY"}
    assert "planned" in {
        one.name for one in call(channel, "RepositoryIndex", pb.RepositoryIndexRequest()).models
    }
    call(channel, "RepositoryModelLoad", pb.RepositoryModelLoadRequest(model_name="score"))
    unload = pb.RepositoryModelUnloadRequest(model_name="score")
    assert refused(channel, "RepositoryModelUnload", unload)[0] is grpc.StatusCode.FAILED_PRECONDITION
    health = health_pb2_grpc.HealthStub(channel)
    for service in ("", "inference.GRPCInferenceService"):
        asked = health_pb2.HealthCheckRequest(service=service)
        assert health.Check(asked, timeout=30).status == health_pb2.HealthCheckResponse.SERVING


def test_statuses(channel: grpc.Channel) -> None:
    codes = grpc.StatusCode
    for message, code, says in (
        (request(model="nothing"), codes.NOT_FOUND, "no model 'nothing'"),
        (request(model="x" * 100_000), codes.INVALID_ARGUMENT, "too long"),
        (request(model="../x"), codes.INVALID_ARGUMENT, "not a valid name"),
        (request(model=""), codes.INVALID_ARGUMENT, ""),
        (request(model="planned"), codes.UNAVAILABLE, "not live"),
        (request(model_version="99"), codes.NOT_FOUND, "score@99"),
        (request(model_version="x"), codes.INVALID_ARGUMENT, "not a version"),
        (pb.ModelInferRequest(model_name="score"), codes.INVALID_ARGUMENT, "no inputs"),
    ):
        found = refused(channel, "ModelInfer", message)
        assert found[0] is code
        assert says in found[1]
    assert refused(channel, "ModelMetadata", pb.ModelMetadataRequest(name="no"))[0] is codes.NOT_FOUND
    stub = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    with pytest.raises(grpc.RpcError) as error:
        stub(b"\xff" * 30, timeout=30)
    assert error.value.code() is codes.INVALID_ARGUMENT


def test_a_message_over_the_limit_is_refused_packed_or_not(channel: grpc.Channel) -> None:
    wrong = request()
    wrong.raw_input_contents[0] = bytes(50 * 1024 * 1024)
    for packing in (grpc.Compression.NoCompression, grpc.Compression.Gzip):
        code, _ = refused(channel, "ModelInfer", wrong, compression=packing)
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    for packing in (grpc.Compression.Gzip, grpc.Compression.Deflate):
        assert call(channel, "ModelInfer", request(64), compression=packing).model_name == "score"


def test_what_was_answered_is_in_the_log(stores: Stores, channel: grpc.Channel) -> None:
    answers = [
        call(channel, "ModelInfer", one)
        for one in (request(), request(3), request(7_000), request(model_version="1"))
    ]
    ids = [one for answer in answers for one in answer.parameters["prediction_ids"].string_param.split(",")]
    assert len(ids) == 7_005
    found = log_search.find(stores, ids[3])
    assert found is not None
    assert json.loads(found["inputs"]) == dict(zip((f"x{n}" for n in range(10)), TEN.tolist(), strict=True))
    prediction_log.drain(stores)
    logged = stores.tables.scan("predictions").select("id").collect()["id"]
    assert set(ids) <= set(logged)


def test_many_at_once_over_both_protocols_each_its_own_answer(
    ports: tuple[int, int], channel: grpc.Channel
) -> None:
    def over_grpc(number: int) -> Any:
        wanted = request(1 + number % 3, id=str(number))
        wanted.raw_input_contents[0] = np.full((1 + number % 3, 10), number / 100, "<f4").tobytes()
        answer = call(channel, "ModelInfer", wanted)
        assert answer.id == str(number)
        return np.frombuffer(answer.raw_output_contents[0], "<f4").reshape(-1, 2)[:, 1].tolist()

    def over_http(number: int) -> Any:
        rows = {"rows": [{f"x{n}": number / 100 for n in range(10)}] * (1 + number % 3)}
        answer = httpx.post(f"http://127.0.0.1:{ports[0]}/predict/score", json=rows, timeout=30).json()
        return [one["output"] for one in answer["predictions"]]

    with ThreadPoolExecutor(8) as pool:
        tasks = [(pool.submit(over_grpc, number), pool.submit(over_http, number)) for number in range(60)]
        for one, other in tasks:
            assert one.result() == pytest.approx(other.result(), abs=1e-6)


def test_calls_that_are_given_up_disturb_nobody(ports: tuple[int, int]) -> None:
    async def many() -> None:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{ports[1]}") as channel:
            stub = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            raw = request().SerializeToString()
            calls = [stub(raw, timeout=30) for _ in range(200)]
            for one in calls[::2]:
                one.cancel()
            answers = [pb.ModelInferResponse.FromString(await one) for one in calls[1::2]]
            assert {answer.model_name for answer in answers} == {"score"}

    asyncio.run(many())


def test_a_token_is_asked_for_but_not_by_the_probe(stores: Stores, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first")
    beside = world.free_port()
    with (
        world.server_process(stores.spool.parent, token=str(token), grpc_port=beside),
        grpc.insecure_channel(f"127.0.0.1:{beside}") as channel,
    ):
        assert refused(channel, "ModelInfer", request())[0] is grpc.StatusCode.UNAUTHENTICATED
        wrong = [("authorization", "Bearer second")]
        assert refused(channel, "ServerMetadata", pb.ServerMetadataRequest(), metadata=wrong)[0] is (
            grpc.StatusCode.UNAUTHENTICATED
        )
        right = [("authorization", "Bearer first")]
        assert call(channel, "ModelInfer", request(), metadata=right).model_name == "score"
        asked = health_pb2.HealthCheckRequest()
        assert health_pb2_grpc.HealthStub(channel).Check(asked, timeout=30).status == 1
        secret = pb.ModelInferRequest(model_name="secret")
        assert refused(channel, "ModelInfer", secret, metadata=right)[0] is grpc.StatusCode.PERMISSION_DENIED


def test_a_second_server_on_the_port_says_so(stores: Stores, ports: tuple[int, int]) -> None:
    command = world.server_command(stores.spool.parent, grpc_port=ports[1])
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0
    assert f"cannot listen on 127.0.0.1:{ports[1]}" in done.stderr


def test_a_server_that_ends_answers_what_it_has_logged(stores: Stores) -> None:
    beside = world.free_port()
    with (
        world.server_process(stores.spool.parent, grpc_port=beside) as (process, _),
        grpc.insecure_channel(f"127.0.0.1:{beside}") as channel,
    ):
        started = threading.Event()
        answered: list[str] = []
        ended: list[grpc.StatusCode] = []

        def ask() -> None:
            try:
                while True:
                    told = call(channel, "ModelInfer", request())
                    answered.append(told.parameters["prediction_ids"].string_param)
                    started.set()
            except grpc.RpcError as error:
                ended.append(error.code())

        thread = threading.Thread(target=ask)
        thread.start()
        assert started.wait(30)
        process.terminate()
        assert process.wait(20) in (0, -15)
        thread.join(30)
    # gRPC cancels a call that has arrived and that nobody has begun to answer.
    assert ended[0] in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    prediction_log.drain(stores)
    logged = stores.tables.scan("predictions").select("id").collect()["id"]
    assert sorted(one for one in logged if one >= answered[0]) == answered


# -- raw tensors over HTTP -----------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 64, 5_000])
def test_raw_tensors_over_http(ports: tuple[int, int], rows: int) -> None:
    """One row and 64 are answered where their bytes arrive, 5,000 are too many for that."""
    content = np.tile(TEN, rows).tobytes()
    tensor = {"name": "input", "shape": [rows, 10], "datatype": "FP32"}
    sent = {"inputs": [{**tensor, "parameters": {"binary_data_size": len(content)}}]}
    head = json.dumps({**sent, "parameters": {"binary_data_output": True}}).encode()
    headers = {"inference-header-content-length": str(len(head))}
    with world.client(ports[0]) as client:
        for encoding in ("identity", "gzip", "deflate", "identity"):
            for path in ("/v2/models/score/infer", "/v2/models/score/versions/1/infer"):
                answer = client.post(
                    path, content=head + content, headers={**headers, "accept-encoding": encoding}
                )
                assert answer.status_code == 200
                assert answer.headers["content-type"] == "application/octet-stream"
                assert answer.headers.get("content-encoding", "identity") == (
                    encoding if rows > 1 else "identity"
                )
                size = int(answer.headers["inference-header-content-length"])
                told = json.loads(answer.content[:size])
                assert [one["parameters"]["binary_data_size"] for one in told["outputs"]] == [
                    8 * rows,
                    8 * rows,
                ]
                assert len(answer.content) == size + 16 * rows
        packed = {**headers, "content-encoding": "deflate"}
        assert client.post(
            "/v2/models/score/infer", content=zlib.compress(head + content), headers=packed
        ).is_success
        wrong = client.post("/v2/models/score/infer", content=head + content[:-4], headers=headers)
        assert (wrong.status_code, wrong.headers["content-type"]) == (400, "application/json")
        beyond = {"inference-header-content-length": str(10 * len(head + content))}
        assert (
            client.post("/v2/models/score/infer", content=head + content, headers=beyond).status_code == 400
        )
        plain = client.post("/v2/models/score/infer", content=head + content, headers=headers)
        assert plain.is_success
        row = {"rows": [{f"x{n}": 1 for n in range(10)}]}
        header = {"inference-header-content-length": "5"}  # says nothing where there are no tensors
        assert client.post("/predict/score", json=row, headers=header).is_success
