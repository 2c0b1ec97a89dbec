"""The three forms in which an inference request comes and is answered: JSON, JSON with raw tensors, protobuf.

All three are read into one `InferRequest` and answered from one plain answer, so that what is checked, logged and
told does not depend on what carried it.

Sources:
    https://github.com/kserve/open-inference-protocol (REST and gRPC);
    https://github.com/triton-inference-server/server, ``docs/protocol/extension_binary_data.md``.
"""

from __future__ import annotations

import struct
from typing import Annotated, Any

import msgspec
import orjson
from google.protobuf.message import DecodeError
from msgspec import Meta, Struct

from modelworks.core.errors import Invalid
from modelworks.serving import inference_pb2 as pb
from modelworks.serving.replies import Mixed, undecodable
from modelworks.serving.spool import MESSAGE, MIXED, TENSORS
from modelworks.serving.tensors import InputTensor, RawTensor, TypedTensor, raw_of, texts_of

_HEAD = struct.Struct("<I")
_CONTENTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""Where gRPC's typed contents are; those that are not here can only be raw."""
_ELSEWHERE = ("classification", "shared_memory_region")
"""What an output can be asked for by extensions that this server does not have."""


class WantedOutput(Struct, gc=False):
    """One output that the client asks for."""

    name: str
    parameters: dict[str, Any] | None = None


class InferRequest(Struct, gc=False):
    """An inference request, as REST brings it."""

    inputs: Annotated[list[InputTensor], Meta(min_length=1)]
    id: str | None = None
    outputs: list[WantedOutput] | None = None
    parameters: dict[str, Any] | None = None


class GrpcRequest(InferRequest, gc=False):
    """An inference request, as gRPC brings it."""


class Message(bytes):
    """A serialized ``ModelInferRequest``.

    Attributes:
        parsed: What it says.
        origin: Where it came from, see `serving.about`.
    """

    parsed: pb.ModelInferRequest
    origin: bytes = b""

    @classmethod
    def of(cls, raw: bytes) -> Message:
        """Read it.

        Raises:
            Invalid: it is none.
        """
        message = cls(raw)
        try:
            message.parsed = pb.ModelInferRequest.FromString(raw)
        except DecodeError as error:
            raise Invalid(
                "this is not a ModelInferRequest", str(error), "use the protocol's .proto file"
            ) from None
        return message


# -- in ------------------------------------------------------------------------------------------------

_REQUEST = msgspec.json.Decoder(InferRequest)


def read(body: bytes) -> InferRequest:
    """Read a request of any form.

    Raises:
        Invalid: it is not an inference request.
    """
    if type(body) is bytes:
        return _read_json(body)
    return _read_message(body.parsed) if isinstance(body, Message) else _read_mixed(body)


def _read_json(body: bytes) -> InferRequest:
    try:
        return _REQUEST.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise undecodable(error, body) from None
    except UnicodeDecodeError as error:
        raise Invalid("the request body is not UTF-8", str(error), "send JSON in UTF-8") from None


def _read_mixed(body: bytes) -> InferRequest:
    head = body.head if isinstance(body, Mixed) else len(body)
    request = _read_json(body[:head])
    tensors: list[InputTensor] = []
    for tensor in request.inputs:
        size = (tensor.parameters or {}).get("binary_data_size")
        if size is None:
            tensors.append(tensor)
            continue
        if type(size) is not int or not 0 <= size <= len(body) - head:
            raise Invalid(
                f"input {tensor.name!r} cannot have binary_data_size {str(size)[:40]}",
                f"{len(body) - head} bytes are there for it",
                "give the number of its bytes",
            )
        if len(tensor.data):
            raise Invalid(f"input {tensor.name!r} has data and raw bytes", "", "send one of them")
        content = body[head : head + size]
        head += size
        tensors.append(
            RawTensor(
                tensor.name, tensor.shape, tensor.datatype, content=content, parameters=tensor.parameters
            )
        )
    if head != len(body):
        raise Invalid(
            f"{len(body) - head} bytes after the JSON belong to no input",
            "each input with raw bytes says how many by its parameter binary_data_size",
            "correct these, or the header Inference-Header-Content-Length",
        )
    request.inputs = tensors
    return request


def _read_message(message: pb.ModelInferRequest) -> InferRequest:
    raw = message.raw_input_contents
    if not message.inputs:
        raise Invalid("the request has no inputs", "", "send at least one")
    if raw and len(raw) != len(message.inputs):
        raise Invalid(
            f"raw_input_contents has {len(raw)} entries",
            f"the request has {len(message.inputs)} inputs",
            "send one for each input, or none",
        )
    inputs: list[InputTensor] = []
    for place, tensor in enumerate(message.inputs):
        shape = list(tensor.shape)
        if any(size < 0 for size in shape):
            raise Invalid(f"input {tensor.name!r} has the shape {shape}", "", "sizes are 0 or more")
        name, datatype = tensor.name, tensor.datatype
        if raw:
            if tensor.HasField("contents"):
                raise Invalid(f"input {name!r} has contents and raw contents", "", "send one of them")
            inputs.append(RawTensor(name, shape, datatype, content=raw[place]))
            continue
        field = _CONTENTS.get(datatype)
        if field is None:
            raise Invalid(
                f"input {name!r} of {datatype[:40]!r} has no contents",
                f"typed contents are there for {', '.join(_CONTENTS)}",
                "send raw_input_contents",
            )
        elements = getattr(tensor.contents, field)
        if datatype == "BYTES":
            elements = texts_of(name, elements)
        inputs.append(TypedTensor(name, shape, datatype, elements=elements))
    wanted = [
        WantedOutput(one.name, {name: True for name in _ELSEWHERE if name in one.parameters})
        for one in message.outputs
    ]
    return GrpcRequest(inputs, message.id or None, wanted or None)


def check_wanted(output: WantedOutput) -> None:
    """Refuse what other servers' extensions would give.

    Raises:
        Invalid: one of them is asked for, or a flag is none.
    """
    for name in _ELSEWHERE:
        if output.parameters and output.parameters.get(name):
            raise Invalid(f"output {output.name!r} cannot be given by {name}", "", "ask for it without")


# -- out -----------------------------------------------------------------------------------------------


def write(answer: dict[str, Any], asked: InferRequest) -> bytes:
    """The plain answer in the form that was asked for.

    Args:
        answer: As the protocol's JSON has it, with flat ``data`` in each output.
        asked: What it answers.
    """
    if isinstance(asked, GrpcRequest):
        return _write_message(answer)
    raw = _raw_outputs(answer, asked)
    if not raw:
        return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
    parts = []
    for output in answer["outputs"]:
        if output["name"] in raw:
            parts.append(raw_of(output["datatype"], output.pop("data")))
            output["parameters"] = {"binary_data_size": len(parts[-1])}
    head = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
    return Mixed.of(b"".join([head, *parts]), len(head))


def _raw_outputs(answer: dict[str, Any], asked: InferRequest) -> set[str]:
    """The outputs that are wanted as raw bytes: each by its own word, else by that for all."""
    usual = (asked.parameters or {}).get("binary_data_output", False)
    said = {one.name: (one.parameters or {}).get("binary_data", usual) for one in asked.outputs or ()}
    return {name for output in answer["outputs"] if said.get(name := output["name"], usual) is True}


def _write_message(answer: dict[str, Any]) -> bytes:
    message = pb.ModelInferResponse(
        model_name=answer["model_name"],
        model_version=answer.get("model_version", ""),
        id=answer.get("id", ""),
        raw_output_contents=[raw_of(output["datatype"], output["data"]) for output in answer["outputs"]],
    )
    for name, text in answer["parameters"].items():
        message.parameters[name].string_param = text
    for output in answer["outputs"]:
        message.outputs.add(name=output["name"], datatype=output["datatype"], shape=output["shape"])
    serialized: bytes = message.SerializeToString()
    return serialized


# -- logged --------------------------------------------------------------------------------------------


def to_log(body: bytes) -> tuple[int, bytes]:
    """The kind of entry that a request is in the spool, and its bytes there; the inverse of `from_log`."""
    if type(body) is bytes:
        return TENSORS, body
    if isinstance(body, Mixed):
        return MIXED, _HEAD.pack(body.head) + body
    return MESSAGE, bytes(body)


def from_log(kind: int, logged: bytes) -> InferRequest:
    """Read a request from the spool."""
    if kind == MIXED:
        return read(Mixed.of(logged[_HEAD.size :], _HEAD.unpack_from(logged)[0]))
    return read(Message.of(logged) if kind == MESSAGE else logged)
