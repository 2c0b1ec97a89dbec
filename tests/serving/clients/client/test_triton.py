"""tritonclient: HTTP and gRPC, each for threads and for asyncio, are one test each with four clients."""

from __future__ import annotations

import asyncio
import inspect
import queue

import numpy as np
import pytest
import tritonclient.grpc as over_grpc
import tritonclient.grpc.aio as over_grpc_aio
import tritonclient.http as over_http
import tritonclient.http.aio as over_http_aio
from tritonclient.utils import InferenceServerException

CLIENTS = {"http": over_http, "http.aio": over_http_aio, "grpc": over_grpc, "grpc.aio": over_grpc_aio}
DTYPES = {"INT8": np.int8, "INT16": np.int16, "INT32": np.int32, "INT64": np.int64, "UINT8": np.uint8,
          "UINT16": np.uint16, "UINT32": np.uint32, "UINT64": np.uint64, "FP16": np.float16,
          "FP32": np.float32, "FP64": np.float64}  # fmt: skip


class Caller:
    """One of the four, called as if it were not asynchronous."""

    def __init__(self, name, http, grpc):
        self.module = CLIENTS[name]
        self.http = name.startswith("http")
        self.loop = asyncio.new_event_loop()

        async def make():
            return self.module.InferenceServerClient(http if self.http else grpc)

        self.client = self.loop.run_until_complete(make())

    def __call__(self, name, *args, **options):
        async def call():
            result = getattr(self.client, name)(*args, **options)
            return await result if inspect.isawaitable(result) else result

        return self.loop.run_until_complete(call())

    def input(self, name, array, datatype, **options):
        made = self.module.InferInput(name, list(array.shape), datatype)
        made.set_data_from_numpy(array, **options)
        return made

    def output(self, name, **options):
        return self.module.InferRequestedOutput(name, **options)

    def close(self):
        self("close")
        self.loop.close()


@pytest.fixture(params=CLIENTS)
def caller(request, http, grpc):
    made = Caller(request.param, http, grpc)
    yield made
    made.close()


@pytest.fixture
def expected(http, ten):
    """The probabilities of `ten`, by the plainest request there is."""
    client = over_http.InferenceServerClient(http)
    tensor = over_http.InferInput("input", [2, 10], "FP32")
    tensor.set_data_from_numpy(ten, binary_data=False)
    wanted = over_http.InferRequestedOutput("probabilities", binary_data=False)
    return client.infer("score", [tensor], outputs=[wanted]).as_numpy("probabilities")


def test_health(caller):
    assert caller("is_server_live")
    assert caller("is_server_ready")
    assert caller("is_model_ready", "score")
    assert caller("is_model_ready", "score", "1")
    assert caller("is_model_ready", "delay[UA,EWR]") or caller.http
    assert not caller("is_model_ready", "planned")
    assert not caller("is_model_ready", "nothing")


def test_metadata(caller):
    server = caller("get_server_metadata")
    assert (server["name"] if caller.http else server.name) == "modelworks"
    extensions = server["extensions"] if caller.http else list(server.extensions)
    assert extensions == ["binary_tensor_data", "model_repository"]
    for version in ("", "1"):
        told = caller("get_model_metadata", "score", version)
        if not caller.http:
            told = {"inputs": [{"name": i.name, "shape": list(i.shape), "datatype": i.datatype} for i in told.inputs],
                    "outputs": [{"name": o.name} for o in told.outputs], "versions": list(told.versions)}  # fmt: skip
        assert told["versions"] == ["1"]
        assert told["inputs"] == [{"name": f"x{n}", "shape": [-1], "datatype": "FP32"} for n in range(10)]
        assert [one["name"] for one in told["outputs"]] == ["probabilities", "label"]


def test_the_repository(caller):
    index = caller("get_model_repository_index")
    found = (
        {one["name"]: one["state"] for one in index}
        if caller.http
        else {m.name: m.state for m in index.models}
    )
    assert (found["score"], found["planned"]) == ("READY", "UNAVAILABLE")
    caller("load_model", "score")
    for call, model in (("load_model", "planned"), ("unload_model", "score"), ("load_model", "nothing")):
        with pytest.raises(InferenceServerException):
            caller(call, model)


def test_raw_tensors_as_they_are_sent_by_default(caller, ten, expected):
    answer = caller("infer", "score", [caller.input("input", ten, "FP32")], request_id="a-7")
    np.testing.assert_allclose(answer.as_numpy("probabilities"), expected, atol=1e-7)
    assert answer.as_numpy("label").tolist() == expected.argmax(axis=1).tolist()
    response = answer.get_response()
    told = response if caller.http else {"id": response.id, "model_name": response.model_name,
                                         "model_version": response.model_version}  # fmt: skip
    assert (told["id"], told["model_name"], told["model_version"]) == ("a-7", "score", "1")


def test_only_the_outputs_that_are_asked_for(caller, ten, expected):
    answer = caller("infer", "score", [caller.input("input", ten, "FP32")], outputs=[caller.output("label")])
    assert answer.as_numpy("label").tolist() == expected.argmax(axis=1).tolist()
    assert answer.as_numpy("probabilities") is None


def test_a_version(caller, ten, expected):
    answer = caller("infer", "score", [caller.input("input", ten, "FP32")], "1")
    np.testing.assert_allclose(answer.as_numpy("probabilities"), expected, atol=1e-7)


def test_json_and_raw_in_every_mixture(caller, ten, expected):
    if not caller.http:
        return  # it has no JSON
    for there in (True, False):
        for back in (True, False):
            sent = [
                caller.input(f"x{n}", ten[:, n], "FP32", binary_data=there if n else back) for n in range(10)
            ]
            wanted = [
                caller.output("probabilities", binary_data=back),
                caller.output("label", binary_data=there),
            ]
            answer = caller("infer", "score", sent, outputs=wanted)
            np.testing.assert_allclose(answer.as_numpy("probabilities"), expected, atol=1e-6)
            assert answer.as_numpy("label").tolist() == expected.argmax(axis=1).tolist()


@pytest.mark.parametrize("datatype", DTYPES)
def test_every_datatype(caller, datatype, http):
    whole = np.arange(20).reshape(2, 10) % 7
    plain = over_http.InferInput("input", [2, 10], "FP64")
    plain.set_data_from_numpy(whole.astype(np.float64), binary_data=False)
    expected = over_http.InferenceServerClient(http).infer("score", [plain]).as_numpy("probabilities")
    answer = caller("infer", "score", [caller.input("input", whole.astype(DTYPES[datatype]), datatype)])
    np.testing.assert_allclose(answer.as_numpy("probabilities"), expected, atol=1e-6)


def test_texts_and_missing_values(caller, flight):
    sent = [
        caller.input(name, array, "BYTES" if array.dtype == object else "FP64")
        for name, array in flight.items()
    ]
    answer = caller("infer", "delay", sent)
    assert answer.as_numpy("probabilities").shape == (2, 2)
    mine = [one for one in sent if one.name() in ("distance", "wind", "plane")]
    label = caller("infer", "kind", mine).as_numpy("label")
    assert {one.decode() for one in label.tolist()} <= {"early", "on time", "late"}


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_both_ways(caller, algorithm, ten, expected):
    rows = np.tile(ten, (300, 1))
    both = (
        {"request_compression_algorithm": algorithm, "response_compression_algorithm": algorithm}
        if caller.http
        else {"compression_algorithm": algorithm}
    )
    answer = caller("infer", "score", [caller.input("input", rows, "FP32")], **both)
    np.testing.assert_allclose(answer.as_numpy("probabilities"), np.tile(expected, (300, 1)), atol=1e-7)


def test_what_is_refused(caller, ten):
    good = caller.input("input", ten, "FP32")
    nine = caller.input("input", ten[:, :9].copy(), "FP32")
    text = caller.input("input", np.full((1, 10), "a", dtype=object), "BYTES")
    missing = caller.input("input", np.full((1, 10), np.nan, dtype=np.float32), "FP32")
    for inputs, options, says in (
        ([caller.input("nothing", ten, "FP32")], {}, "no input 'nothing'"),
        ([nine], {}, "[rows, 10]"),
        ([text], {}, "cannot be BYTES"),
        ([missing], {}, "missing value"),
        ([good], {"outputs": [caller.output("nothing")]}, "no output 'nothing'"),
        ([good], {"outputs": [caller.output("label", class_count=2)]}, "classification"),
        ([good], {"model_version": "9"}, "score@9"),
    ):
        with pytest.raises(InferenceServerException) as error:
            caller("infer", "score", inputs, **options)
        assert says in error.value.message()
    with pytest.raises(InferenceServerException, match="no model 'nothing'"):
        caller("infer", "nothing", [good])


def test_many_at_once(http, grpc, ten, expected):
    """Threads' own way of being asynchronous."""
    for module, at in ((over_http, http), (over_grpc, grpc)):
        client = module.InferenceServerClient(at, **({"concurrency": 8} if module is over_http else {}))
        tensor = module.InferInput("input", [2, 10], "FP32")
        tensor.set_data_from_numpy(ten)
        if module is over_http:
            answers = [one.get_result() for one in [client.async_infer("score", [tensor]) for _ in range(40)]]
        else:
            told = queue.Queue()

            def take(result, error, told=told):
                told.put((result, error))

            for _ in range(40):
                client.async_infer("score", [tensor], callback=take)
            answers = [result for result, error in (told.get(timeout=60) for _ in range(40)) if error is None]
        assert len(answers) == 40
        for answer in answers:
            np.testing.assert_allclose(answer.as_numpy("probabilities"), expected, atol=1e-7)
        client.close()
