"""Whatever bytes come, the answer is an answer or says what is wrong: never an error of ours, no hang, no growth."""

from __future__ import annotations

import gc
import json
import random
import struct
import tracemalloc
from typing import Any

import pytest
import serve_world as world
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelworks.core.errors import Invalid, ModelworksError
from modelworks.serving import inference_pb2 as pb
from modelworks.serving.forms import Message
from modelworks.serving.paths import path_of
from modelworks.serving.station import ServeStation
from modelworks.serving.tensors import DATATYPES

_QUICK = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Any:
    station = ServeStation(world.make_world(tmp_path_factory.mktemp("fuzz")), max_body=200_000)
    station.refresh()
    yield station
    station.close()


MODELS = st.sampled_from(["score", "price", "kind", "delay", "delay[UA,EWR]"])
NAMES = st.sampled_from(
    ["input", "x0", "x1", "distance", "wind", "plane", "carrier", "origin", "departs", "flight", ""]
)
TYPES = st.sampled_from([*DATATYPES, "FP31", ""])
SIZES = st.integers(0, 12) | st.sampled_from([10, 10, 10, 2**31, 2**63, -1])
SHAPES = st.lists(SIZES, max_size=4) | st.sampled_from([[1, 10], [2, 10], [1], [1, 1], [0, 10]])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
)
JUNK = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
ELEMENTS = st.one_of(
    st.just([0.5] * 10),
    st.just([[0.5] * 10] * 2),
    st.lists(SCALARS, max_size=12),
    st.just(["UA"]),
    st.just([1.5]),
    JUNK,
)
PARAMETERS = (
    st.none()
    | JUNK
    | st.fixed_dictionaries(
        {},
        optional={
            "binary_data_size": st.integers(-1, 90) | JUNK,
            "binary_data": JUNK,
            "binary_data_output": st.booleans() | JUNK,
        },
    )
)
INPUTS = st.fixed_dictionaries(
    {"name": NAMES, "shape": SHAPES, "datatype": TYPES}, optional={"data": ELEMENTS, "parameters": PARAMETERS}
)
OUTPUTS = st.fixed_dictionaries(
    {"name": st.sampled_from(["label", "probabilities", "value", "no"])}, optional={"parameters": PARAMETERS}
)
REQUESTS = st.fixed_dictionaries(
    {"inputs": st.lists(INPUTS, max_size=4) | JUNK},
    optional={
        "id": st.text(max_size=5) | JUNK,
        "outputs": st.lists(OUTPUTS, max_size=2) | JUNK,
        "parameters": PARAMETERS,
    },
)


def rest(station: ServeStation, model: str, body: bytes, head: int | None, encoding: bytes = b"") -> int:
    """Send a body; what comes back is an answer, or says what is wrong."""
    headers = {} if head is None else {b"inference-header-content-length": b"%d" % head}
    headers |= {b"content-encoding": encoding} if encoding else {}
    status, got, answer = station.plane.handle("POST", f"/v2/models/{model}/infer".encode(), headers, body)
    length = int(dict(got).get(b"inference-header-content-length", len(answer)))
    told = json.loads(answer[:length])
    assert status in (200, 400, 404, 413, 422), answer
    assert ("outputs" in told) if status == 200 else isinstance(told["error"], str)
    return status


@_QUICK
@given(
    model=MODELS, request=REQUESTS, tail=st.binary(max_size=90), shift=st.sampled_from([0, 0, 0, 1, -1, 999])
)
def test_requests_that_are_nearly_right(
    station: ServeStation, model: str, request: Any, tail: bytes, shift: int
) -> None:
    head = json.dumps(request).encode()
    rest(station, model, head, None)
    rest(station, model, head + tail, max(len(head) + shift, 0))


def seeds() -> list[tuple[str, bytes, int | None]]:
    """Good requests of every form."""
    matrix = {"name": "input", "shape": [2, 10], "datatype": "FP32"}
    plain = json.dumps({"id": "7", "inputs": [{**matrix, "data": [[0.5] * 10] * 2}]}).encode()
    sized = {**matrix, "parameters": {"binary_data_size": 80}}
    head = json.dumps({"inputs": [sized], "parameters": {"binary_data_output": True}}).encode()
    texts, content = [], b""
    for name, value in world.ROW.items():
        text = isinstance(value, str)
        raw = (
            struct.pack("<I", len(value)) + value.encode()
            if isinstance(value, str)
            else struct.pack("<d", value)
        )
        content += raw
        texts.append({"name": name, "shape": [1], "datatype": "BYTES" if text else "FP64",
                      "parameters": {"binary_data_size": len(raw)}})  # fmt: skip
    flight = json.dumps({"inputs": texts}).encode()
    return [
        ("score", plain, None),
        ("score", head + struct.pack("<20f", *[0.5] * 20), len(head)),
        ("delay", flight + content, len(flight)),
    ]


def mutated(content: bytes, chance: random.Random) -> bytes:
    """Bytes flipped, cut out, doubled or put in, as a fuzzer does."""
    made = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(made) + 1)
        match chance.randrange(5):
            case 0:
                made[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                del made[at : at + chance.randint(1, 8)]
            case 2:
                made[at:at] = made[max(at - 8, 0) : at]
            case 3:
                made[at:at] = chance.choice(
                    [b"\xff\xff\xff\xff", b"\0" * 8, b"[[[[", b"1e999", b"NaN", b'"\xff"', b"-1", b"{}"]
                )
            case 4:
                del made[at:]
    return bytes(made)


def test_good_requests_with_bytes_changed(station: ServeStation) -> None:
    chance = random.Random(7)
    statuses = [rest(station, *seed) for seed in seeds()]
    assert statuses == [200, 200, 200]
    for _ in range(1500):
        model, body, head = chance.choice(seeds())
        changed = mutated(body, chance)
        statuses.append(
            rest(station, model, changed, head, chance.choice([b"", b"", b"", b"gzip", b"deflate"]))
        )
        if head is not None:
            rest(
                station,
                model,
                changed,
                chance.choice([head, 0, len(changed), head - 1, chance.randrange(2**33)]),
            )
    assert len(set(statuses)) > 1


def ask(station: ServeStation, raw: bytes) -> bool:
    """Send a message as the gRPC server does; true if it was answered."""
    try:
        message = Message.of(raw)
        path = path_of(message.parsed.model_name[:100], message.parsed.model_version[:100], "infer")
    except Invalid:
        return False
    (result,) = station.plane.results([(path, message)])
    if isinstance(result, bytes):
        pb.ModelInferResponse.FromString(result)
        return True
    assert type(result) is not ModelworksError, result  # an error of ours
    return False


@_QUICK
@given(data=st.data())
def test_messages_that_are_nearly_right(station: ServeStation, data: st.DataObject) -> None:
    message = pb.ModelInferRequest(model_name=data.draw(MODELS), id=data.draw(st.text("ab", max_size=3)))
    contents = st.fixed_dictionaries(
        {},
        optional={
            "int_contents": st.lists(st.integers(-(2**31), 2**31 - 1), max_size=12),
            "uint64_contents": st.lists(st.integers(0, 2**64 - 1), max_size=12),
            "fp32_contents": st.just([0.5] * 10) | st.lists(st.floats(width=32), max_size=12),
            "fp64_contents": st.just([0.5]) | st.lists(st.floats(), max_size=3),
            "bytes_contents": st.lists(st.binary(max_size=4), max_size=2),
        },
    )
    for _ in range(data.draw(st.integers(0, 3))):
        shape = data.draw(st.lists(st.integers(-1, 12) | st.sampled_from([10, 2**62]), max_size=3))
        tensor = message.inputs.add(name=data.draw(NAMES), datatype=data.draw(TYPES), shape=shape)
        for name, values in data.draw(contents).items():
            getattr(tensor.contents, name).extend(values)
    message.raw_input_contents.extend(data.draw(st.lists(st.binary(max_size=90), max_size=3)))
    ask(station, message.SerializeToString())


def test_messages_with_bytes_changed(station: ServeStation) -> None:
    chance = random.Random(8)
    message = pb.ModelInferRequest(model_name="score")
    message.inputs.add(name="input", datatype="FP32", shape=[2, 10])
    message.raw_input_contents.append(struct.pack("<20f", *[0.5] * 20))
    good = message.SerializeToString()
    assert ask(station, good)
    told = [ask(station, mutated(good, chance)) for _ in range(1500)]
    assert True in told
    assert False in told


def test_memory_does_not_grow(station: ServeStation) -> None:
    """What 2,000 wrong requests leave behind is less than what they brought."""
    chance = random.Random(9)

    def work(times: int) -> None:
        for _ in range(times):
            model, body, head = chance.choice(seeds())
            rest(station, model, mutated(body, chance), head)

    work(300)
    tracemalloc.start()
    try:
        work(50)
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        work(2_000)
        peak = tracemalloc.get_traced_memory()[1]
        gc.collect()  # what waits to be collected is not left behind
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 200_000
    assert peak - before < 20_000_000
