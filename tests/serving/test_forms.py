"""Raw tensors and messages: the same answers as JSON, the same log, and what they refuse."""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from typing import Any

import numpy as np
import pytest
import serve_world as world

from modelworks.core.errors import Invalid
from modelworks.serving import inference_pb2 as pb
from modelworks.serving.forms import Message
from modelworks.serving.paths import path_of
from modelworks.serving.replies import accepted
from modelworks.serving.station import ServeStation
from modelworks.serving.tensors import raw_of

TEN = np.round(np.arange(10) * 0.1 - 0.3, 3)
NUMBERS = [
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "UINT8",
    "UINT16",
    "UINT32",
    "UINT64",
    "FP16",
    "BF16",
    "FP32",
    "FP64",
]
FLIGHT = {**world.ROW, "flight": "UA1", "departs": "2013-03-01T10:00:00+01:00"}


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Any:
    station = ServeStation(world.make_world(tmp_path_factory.mktemp("forms")), max_body=2_000_000)
    station.refresh()
    yield station
    station.close()


def raw(name: str, datatype: str, shape: list[int], content: bytes) -> tuple[dict[str, Any], bytes]:
    """An input with raw bytes."""
    size = {"binary_data_size": len(content)}
    return {"name": name, "shape": shape, "datatype": datatype, "parameters": size}, content


def bf16(values: Any) -> bytes:
    return (np.asarray(values, "<f4").view("<u4") >> 16).astype("<u2").tobytes()


def content_of(datatype: str, values: Any) -> bytes:
    return bf16(values) if datatype == "BF16" else raw_of(datatype, values)


def post(
    station: ServeStation,
    model: str,
    inputs: list[Any],
    headers: dict[bytes, bytes] | None = None,
    **more: Any,
) -> tuple[int, dict[bytes, bytes], bytes]:
    """Send inputs, those that are pairs with raw bytes."""
    head = json.dumps(
        {"inputs": [one[0] if isinstance(one, tuple) else one for one in inputs], **more}
    ).encode()
    body = head + b"".join(one[1] for one in inputs if isinstance(one, tuple))
    sent = {b"inference-header-content-length": str(len(head)).encode(), **(headers or {})}
    status, got, answer = station.plane.handle("POST", f"/v2/models/{model}/infer".encode(), sent, body)
    return status, dict(got), answer


def outputs_of(got: dict[bytes, bytes], body: bytes) -> dict[str, Any]:
    """An answer's outputs by name, as arrays or lists."""
    head = int(got.get(b"inference-header-content-length", len(body)))
    answer, at, found = json.loads(body[:head]), head, {}
    for one in answer["outputs"]:
        size = one.get("parameters", {}).get("binary_data_size")
        if size is None:
            found[one["name"]] = one["data"]
            continue
        dtype = {"FP32": "<f4", "INT64": "<i8"}.get(one["datatype"])
        content, at = body[at : at + size], at + size
        found[one["name"]] = texts(content) if dtype is None else np.frombuffer(content, dtype)
    assert at == len(body)
    return found


def texts(content: bytes) -> list[str]:
    found = []
    while content:
        (size,) = struct.unpack_from("<I", content)
        found.append(content[4 : 4 + size].decode())
        content = content[4 + size :]
    return found


def message(model: str, inputs: list[Any], outputs: tuple[str, ...] = (), id: str = "") -> Message:
    """A gRPC request of raw tensors."""
    request = pb.ModelInferRequest(model_name=model, id=id)
    for one, content in inputs:
        request.inputs.add(name=one["name"], datatype=one["datatype"], shape=one["shape"])
        request.raw_input_contents.append(content)
    for name in outputs:
        request.outputs.add(name=name)
    return Message.of(request.SerializeToString())


def ask(station: ServeStation, request: Message) -> pb.ModelInferResponse:
    """Send a message, as the gRPC server does."""
    (result,) = station.plane.results([(path_of(request.parsed.model_name, "", "infer"), request)])
    if not isinstance(result, bytes):
        raise result
    return pb.ModelInferResponse.FromString(result)


@pytest.mark.parametrize("datatype", NUMBERS)
def test_every_datatype_of_numbers_means_the_same_in_every_form(station: ServeStation, datatype: str) -> None:
    values = [[3, 1, 0, 2, 5, 1, 4, 0, 1, 2], [1, 2, 0, 0, 1, 7, 1, 3, 2, 2]]
    flat = [value for row in values for value in row]
    plain = {"name": "input", "shape": [2, 10], "datatype": datatype, "data": values}
    status, got, body = post(station, "score", [plain])
    assert status == 200, body
    expected = outputs_of(got, body)
    sent = raw("input", datatype, [2, 10], content_of(datatype, flat))
    found = [
        outputs_of(*post(station, "score", [sent], **more)[1:])
        for more in ({}, {"parameters": {"binary_data_output": True}})
    ]
    for one in found:
        np.testing.assert_array_equal(np.float32(one["probabilities"]), np.float32(expected["probabilities"]))
        np.testing.assert_array_equal(one["label"], expected["label"])
    columns = [
        raw(f"x{n}", datatype, [2], content_of(datatype, [values[0][n], values[1][n]])) for n in range(10)
    ]
    by_column = outputs_of(*post(station, "score", columns)[1:])
    assert by_column == outputs_of(got, body)
    answer = ask(station, message("score", [sent]))
    np.testing.assert_array_equal(
        np.frombuffer(answer.raw_output_contents[0], "<f4"), found[1]["probabilities"]
    )


TYPED = {
    "int_contents": ("INT8", "INT16", "INT32"),
    "int64_contents": ("INT64",),
    "uint_contents": ("UINT8", "UINT16", "UINT32"),
    "uint64_contents": ("UINT64",),
    "fp32_contents": ("FP32",),
    "fp64_contents": ("FP64",),
}


@pytest.mark.parametrize(("field", "datatype"), [(f, d) for f, ds in TYPED.items() for d in ds])
def test_typed_contents(station: ServeStation, field: str, datatype: str) -> None:
    request = pb.ModelInferRequest(model_name="score", id="a-7")
    tensor = request.inputs.add(name="input", datatype=datatype, shape=[1, 10])
    getattr(tensor.contents, field).extend([1, 2, 0, 0, 1, 7, 1, 3, 2, 2])
    request.outputs.add(name="label")
    answer = ask(station, Message.of(request.SerializeToString()))
    assert (answer.id, answer.model_name, answer.model_version) == ("a-7", "score", "1")
    assert [(one.name, one.datatype, list(one.shape)) for one in answer.outputs] == [("label", "INT64", [1])]
    assert answer.parameters["prediction_ids"].string_param.endswith("-0")
    sent = raw("input", datatype, [1, 10], content_of(datatype, [1, 2, 0, 0, 1, 7, 1, 3, 2, 2]))
    assert (
        ask(station, message("score", [sent], ("label",))).raw_output_contents == answer.raw_output_contents
    )


def flight(**changes: Any) -> list[Any]:
    """A flight as raw tensors; a missing value is NaN."""
    return [
        raw(name, "BYTES", [1], raw_of("BYTES", [value]))
        if isinstance(value, str)
        else raw(name, "FP64", [1, 1], raw_of("FP64", [np.nan if value is None else value]))
        for name, value in {**FLIGHT, **changes}.items()
    ]


def test_texts_missing_values_and_segments(station: ServeStation) -> None:
    for wind in (12.5, None):
        row = {**FLIGHT, "wind": wind}
        expected = station.predict("delay", [row])["predictions"][0]["output"]
        status, got, body = post(station, "delay", flight(wind=wind), outputs=[{"name": "probabilities"}])
        assert status == 200, body
        assert json.loads(body)["parameters"]["segments"] == "UA,EWR"
        assert outputs_of(got, body)["probabilities"][1] == pytest.approx(expected, abs=1e-6)
        answer = ask(station, message("delay", flight(wind=wind)))
        assert np.frombuffer(answer.raw_output_contents[0], "<f4")[1] == pytest.approx(expected, abs=1e-6)


def test_outputs_of_texts_and_each_its_own_form(station: ServeStation) -> None:
    inputs = [one for one in flight() if one[0]["name"] in world.FEATURES]
    (kind,) = station.predict("kind", [world.ROW])["predictions"]
    wanted = [{"name": "label", "parameters": {"binary_data": True}}, {"name": "probabilities"}]
    status, got, body = post(station, "kind", inputs, outputs=wanted)
    assert (status, got[b"content-type"]) == (200, b"application/octet-stream")
    found = outputs_of(got, body)
    assert found["label"] == [kind["output"]["label"]]
    np.testing.assert_allclose(
        found["probabilities"], list(kind["output"]["probabilities"].values()), atol=1e-6
    )
    wanted = [{"name": "label", "parameters": {"binary_data": False}}, {"name": "probabilities"}]
    more = {"outputs": wanted, "parameters": {"binary_data_output": True}}
    found = outputs_of(*post(station, "kind", inputs, **more)[1:])
    assert found["label"] == [kind["output"]["label"]]
    assert isinstance(found["probabilities"], np.ndarray)
    assert texts(ask(station, message("kind", inputs)).raw_output_contents[1]) == found["label"]


def test_every_form_is_logged_as_what_it_says(station: ServeStation) -> None:
    station.drain()
    matrix = raw("input", "FP32", [2, 10], np.tile(TEN, 2).astype("<f4").tobytes())
    post(station, "score", [matrix])
    ask(station, message("score", [matrix]))
    post(station, "delay", flight(wind=None))
    ask(station, message("delay", flight()))
    assert station.drain() == 6
    rows = station.stores.tables.scan("predictions").sort("id").tail(6).collect().to_dicts()
    for row in rows[:4]:
        logged = json.loads(row["inputs"])
        assert list(logged) == [f"x{n}" for n in range(10)]
        np.testing.assert_array_equal(list(logged.values()), TEN.astype("<f4"))
    assert json.loads(rows[4]["inputs"]) == {**FLIGHT, "wind": None}
    assert json.loads(rows[5]["inputs"]) == FLIGHT
    assert [(row["key"], row["segment"]) for row in rows[4:]] == [("UA1", "UA,EWR")] * 2


def matrix(content: bytes, datatype: str = "FP32", shape: tuple[int, ...] = (1, 10)) -> list[Any]:
    return [raw("input", datatype, list(shape), content)]


FLOATS = TEN.astype("<f4").tobytes()
NAN, INF = (np.full(10, value, "<f4").tobytes() for value in (np.nan, np.inf))
REFUSED: list[tuple[str, list[Any], str]] = [
    ("score", matrix(FLOATS[:-1]), "asks for 40"),
    ("score", matrix(FLOATS + b"0000"), "asks for 40"),
    ("score", matrix(FLOATS, "FP64"), "asks for 80"),
    ("score", matrix(FLOATS, "FP31"), "cannot be FP31"),
    ("score", matrix(FLOATS, "BYTES"), "cannot be BYTES"),
    ("score", matrix(FLOATS, shape=(2, 10)), "asks for 80"),
    ("score", matrix(FLOATS, shape=(2**40, 10)), "10000 are accepted"),
    ("score", matrix(b"", shape=(0, 10)), "no rows"),
    ("score", matrix(NAN), "missing value"),
    ("score", matrix(INF), "infinite"),
    ("score", matrix(np.full(10, np.inf, "<f2").tobytes(), "FP16"), "infinite"),
    ("score", matrix(bf16(np.full(10, np.inf)), "BF16"), "infinite"),
    ("score", matrix(np.full(10, 1e39).tobytes(), "FP64"), "infinite, or larger"),
    ("delay", [*flight()[1:], raw("carrier", "BYTES", [1], b"\x05\0\0\0UA")], "cut off"),
    ("delay", [*flight()[1:], raw("carrier", "BYTES", [1], b"\x05\0")], "cut off"),
    ("delay", [*flight()[1:], raw("carrier", "BYTES", [1], b"\xff\xff\xff\xffUA")], "cut off"),
    ("delay", [*flight()[1:], raw("carrier", "BYTES", [1], b"\x02\0\0\0\xff\xfe")], "not UTF-8"),
    ("delay", [*flight()[1:], raw("carrier", "BYTES", [1], b"\0\0\0\0" * 9)], "elements"),
    ("delay", [*flight()[1:], raw("carrier", "FP32", [1], b"0000")], "cannot be FP32"),
    ("delay", flight(distance=None), "missing value"),
]


@pytest.mark.parametrize(("model", "inputs", "says"), REFUSED)
def test_what_raw_bytes_are_refused(station: ServeStation, model: str, inputs: list[Any], says: str) -> None:
    status, _, body = post(station, model, inputs)
    assert status == 422 if says == "missing value" else status in (400, 413)
    assert says in json.loads(body)["error"]
    with pytest.raises(Invalid) as refused:
        ask(station, message(model, inputs))
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("size", "head", "says"),
    [(39, None, "belong to no input"), (41, None, "40 bytes are there"), (-1, None, "binary_data_size -1"),
     ("40", None, "binary_data_size 40"), (True, None, "binary_data_size True"), (40, b"0", "no body"),
     (40, b"9999", "Content-Length"), (40, b"-1", "Content-Length"), (40, b"ten", "Content-Length"),
     (40, b"20", "not valid JSON")],
)  # fmt: skip
def test_sizes_that_do_not_add_up(station: ServeStation, size: Any, head: bytes | None, says: str) -> None:
    one, content = matrix(FLOATS)[0]
    sent = (one | {"parameters": {"binary_data_size": size}}, content)
    headers = None if head is None else {b"inference-header-content-length": head}
    status, _, body = post(station, "score", [sent], headers)
    assert status == 400
    assert says in json.loads(body)["error"]


def test_messages_that_do_not_add_up(station: ServeStation) -> None:
    def refused(change: Any, says: str) -> None:
        request = pb.ModelInferRequest.FromString(message("score", matrix(FLOATS)))
        change(request)
        with pytest.raises(Invalid, match=says):
            ask(station, Message.of(request.SerializeToString()))

    refused(lambda one: one.raw_input_contents.append(b""), "2 entries")
    refused(lambda one: one.inputs[0].contents.fp32_contents.extend(TEN), "contents and raw contents")
    refused(lambda one: one.inputs[0].shape.__setitem__(0, -1), "sizes are 0 or more")
    refused(lambda one: one.ClearField("inputs"), "no inputs")
    refused(lambda one: one.ClearField("raw_input_contents"), "has 0 elements")
    refused(lambda one: one.outputs.add(name="nothing"), "no output 'nothing'")
    with pytest.raises(Invalid, match="not a ModelInferRequest"):
        Message.of(b"\xff" * 20)
    half = pb.ModelInferRequest(model_name="score")
    half.inputs.add(name="input", datatype="FP16", shape=[1, 10]).contents.fp32_contents.extend(TEN)
    with pytest.raises(Invalid, match="send raw_input_contents"):
        ask(station, Message.of(half.SerializeToString()))


@pytest.mark.parametrize(("name", "pack"), [(b"gzip", gzip.compress), (b"deflate", zlib.compress)])
def test_compressed_both_ways(station: ServeStation, name: bytes, pack: Any) -> None:
    content = np.tile(TEN, 200).astype("<f4").tobytes()
    head = json.dumps(
        {"inputs": [raw("input", "FP32", [200, 10], content)[0]], "parameters": {"binary_data_output": True}}
    ).encode()
    headers = {
        b"content-encoding": name,
        b"inference-header-content-length": str(len(head)).encode(),
        b"accept-encoding": name,
    }
    status, got, body = station.plane.handle("POST", b"/v2/models/score/infer", headers, pack(head + content))
    assert (status, dict(got)[b"content-encoding"]) == (200, name)
    plain = zlib.decompress(body, zlib.MAX_WBITS | 32)
    assert len(plain) > len(body)
    assert len(outputs_of(dict(got), plain)["label"]) == 200


@pytest.mark.parametrize(
    ("header", "means"),
    [(b"", b""), (b"gzip, deflate, br", b"gzip"), (b"br, deflate", b"deflate"), (b"gzip;q=0, *;q=0.1", b""),
     (b"GZIP;q=0.5", b"gzip"), (b"identity", b"")],
)  # fmt: skip
def test_what_a_client_accepts(header: bytes, means: bytes) -> None:
    assert accepted(header) == means
