"""Tensors of the Open Inference Protocol, version 2: their elements as JSON, raw bytes and typed lists.

Sources:
    https://github.com/kserve/open-inference-protocol (tensor data over REST and gRPC);
    https://github.com/triton-inference-server/server, ``docs/protocol/extension_binary_data.md`` (raw bytes).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import prod
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta, Raw, Struct

from modelworks.core.errors import Invalid
from modelworks.core.schema import Kind
from modelworks.serving.columns import MOST, NUMBER
from modelworks.serving.replies import undecodable

FLOATS = ("FP16", "BF16", "FP32", "FP64")
_SIGNED = {f"INT{bits}": bits for bits in (8, 16, 32, 64)}
_UNSIGNED = {f"UINT{bits}": bits for bits in (8, 16, 32, 64)}
NUMERIC = (*FLOATS, *_SIGNED, *_UNSIGNED)
DATATYPES = (*NUMERIC, "BOOL", "BYTES")

_LARGEST_HALF = float(np.finfo(np.float16).max)
_LARGEST_WORD = 2**64 - 1
_ELEMENT: dict[str, Any] = {
    **dict.fromkeys(FLOATS, NUMBER | None),
    "FP16": Annotated[float, Meta(ge=-_LARGEST_HALF, le=_LARGEST_HALF)] | None,
    **{
        name: Annotated[int, Meta(ge=-(2 ** (bits - 1)), le=2 ** (bits - 1) - 1)] | None
        for name, bits in _SIGNED.items()
    },
    **{name: Annotated[int, Meta(ge=0, le=2**bits - 1)] | None for name, bits in _UNSIGNED.items()},
    # A bound of msgspec's has to fit into 64 bits with a sign: see `_checked`.
    "UINT64": Annotated[int, Meta(ge=0)] | None,
    "BOOL": bool | None,
    "BYTES": str | None,
}
_LISTS: dict[str, Any] = {name: list[kind] for name, kind in _ELEMENT.items()}  # type: ignore[valid-type]
_FLAT: dict[str, Any] = {name: msgspec.json.Decoder(kind) for name, kind in _LISTS.items()}
_STORED = {
    "BOOL": "u1",
    "FP16": "<f2",
    "BF16": "<u2",
    "FP32": "<f4",
    "FP64": "<f8",
    **{name: f"<i{bits // 8}" for name, bits in _SIGNED.items()},
    **{name: f"<u{bits // 8}" for name, bits in _UNSIGNED.items()},
}
"""How NumPy names what an element is as raw bytes: little endian."""
_LENGTH = 4
"""Bytes of the length before each element of BYTES."""

DATATYPE = {
    Kind.NUMBER: "FP32",
    Kind.INTEGER: "INT64",
    Kind.BOOL: "BOOL",
    Kind.TEXT: "BYTES",
    Kind.TIME: "BYTES",
}
"""The datatype that metadata gives a kind of column."""
TAKES: dict[Kind, tuple[str, ...]] = {
    Kind.NUMBER: NUMERIC,
    Kind.INTEGER: NUMERIC,
    Kind.BOOL: ("BOOL",),
    Kind.TEXT: ("BYTES",),
    Kind.TIME: ("BYTES",),
}
"""The datatypes that a kind of column takes."""


MATRIX = "input"
"""Name of the one tensor that may stand for all inputs of a model without texts; shape [rows, inputs]."""


class InputTensor(Struct, gc=False):
    """One input, its elements in JSON."""

    name: str
    shape: list[Annotated[int, Meta(ge=0)]]
    datatype: str
    data: Raw = Raw(b"")
    parameters: dict[str, Any] | None = None


class RawTensor(InputTensor, gc=False):
    """One input, its elements as raw bytes."""

    content: bytes = b""


class TypedTensor(InputTensor, gc=False):
    """One input, its elements as values; as gRPC's typed lists bring them."""

    elements: Sequence[Any] = ()


def rows_of(inputs: Sequence[InputTensor], matrix: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Tensors as rows, values by column.

    Args:
        inputs: Checked before.
        matrix: The columns of the one tensor that may stand for all inputs; empty where none may.
    """
    first = inputs[0]
    names: Sequence[str]
    if matrix and len(inputs) == 1 and first.name == MATRIX:
        names, flat = matrix, read_data(first)
        rows: Iterable[tuple[Any, ...]] = zip(*[iter(flat)] * len(names), strict=True)
    else:
        names = [tensor.name for tensor in inputs]
        rows = zip(*(read_data(tensor) for tensor in inputs), strict=True)
    for values in rows:
        yield dict(zip(names, values, strict=True))


def read_data(tensor: InputTensor) -> list[Any]:
    """The elements of a tensor, flat, row-major; their number fits the shape.

    A NaN in raw bytes or a typed list is a missing value, ``None``, as ``null`` is in JSON.

    Raises:
        Invalid: an unknown datatype, an element of another type, a number that does not fit the shape.
    """
    decoder = _FLAT.get(tensor.datatype)
    if decoder is None:
        raise Invalid(
            f"input {tensor.name!r} has the unknown datatype {tensor.datatype[:40]!r}",
            "",
            f"use one of {', '.join(DATATYPES)}",
        )
    if isinstance(tensor, RawTensor):
        return _texts(tensor) if tensor.datatype == "BYTES" else _values(tensor)
    if isinstance(tensor, TypedTensor):
        _counted(tensor, len(tensor.elements))
        return _converted(tensor, [None if value != value else value for value in tensor.elements])
    if not len(tensor.data):
        sized = "binary_data_size" in (tensor.parameters or {})
        why = "raw bytes need the header Inference-Header-Content-Length" if sized else ""
        raise Invalid(f"input {tensor.name!r} has no data", why, "add its data")
    try:
        flat: list[Any] = decoder.decode(tensor.data)
    except (msgspec.DecodeError, RecursionError) as error:
        flat = _nested(tensor, error)
    _counted(tensor, len(flat))
    return _checked(tensor, flat)


def _counted(tensor: InputTensor, elements: int) -> None:
    if elements != prod(tensor.shape):
        raise Invalid(
            f"input {tensor.name!r} has {elements} elements",
            f"its shape {tensor.shape} asks for {prod(tensor.shape)}",
            "correct the shape or the data",
        )


def _checked(tensor: InputTensor, flat: list[Any]) -> list[Any]:
    if tensor.datatype == "UINT64" and any(value is not None and value > _LARGEST_WORD for value in flat):
        raise _unfit(tensor, f"expected `int` <= {_LARGEST_WORD}")
    return flat


def _unfit(tensor: InputTensor, why: str) -> Invalid:
    return Invalid(f"the data of input {tensor.name!r} does not fit {tensor.datatype}", why, "correct it")


def _converted(tensor: InputTensor, values: list[Any]) -> list[Any]:
    try:
        flat: list[Any] = msgspec.convert(values, _LISTS[tensor.datatype])
    except msgspec.ValidationError as wrong:
        raise _unfit(tensor, undecodable(wrong, b"").why) from None
    return _checked(tensor, flat)


def _nested(tensor: InputTensor, error: msgspec.DecodeError | RecursionError) -> list[Any]:
    """The elements where `data` is nested as its shape is."""
    refusal = undecodable(error, bytes(tensor.data))
    if not isinstance(error, msgspec.ValidationError):
        raise Invalid(f"the data of input {tensor.name!r} is not valid JSON", refusal.why, refusal.fix)
    if "got `array`" not in str(error) or len(tensor.shape) < 2:
        raise _unfit(tensor, refusal.why)
    try:
        level = msgspec.json.decode(tensor.data)
    except (msgspec.DecodeError, RecursionError) as wrong:
        refusal = undecodable(wrong, bytes(tensor.data))
        raise Invalid(
            f"the data of input {tensor.name!r} is not valid JSON", refusal.why or refusal.what, refusal.fix
        ) from None
    for size in tensor.shape[1:]:
        if not all(isinstance(part, list) and len(part) == size for part in level):
            raise Invalid(
                f"the data of input {tensor.name!r} is not nested as its shape {tensor.shape}",
                "",
                "send it flat and row-major, or nested as the shape",
            )
        level = [element for part in level for element in part]
    return _converted(tensor, level)


# -- raw bytes -----------------------------------------------------------------------------------------


def numbers_of(tensor: RawTensor) -> npt.NDArray[Any]:
    """The elements of a tensor of numbers or booleans as they are, flat; NaN where one is missing.

    Raises:
        Invalid: a number of bytes that does not fit the shape; a number that float32 cannot hold.
    """
    stored = np.dtype(_STORED[tensor.datatype])
    asked = prod(tensor.shape) * stored.itemsize
    if len(tensor.content) != asked:
        raise Invalid(
            f"input {tensor.name!r} has {len(tensor.content)} bytes",
            f"its shape {tensor.shape} of {tensor.datatype} asks for {asked}",
            "correct the shape or the data",
        )
    array: npt.NDArray[Any] = np.frombuffer(tensor.content, stored)
    if tensor.datatype == "BF16":  # the upper half of a float32
        array = (array.astype("<u4") << 16).view("<f4")
    if array.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            beyond = bool((np.abs(array.astype(np.float64)) > MOST).any())
        if beyond:
            raise _unfit(tensor, "a number is infinite, or larger than float32 can hold")
    elif tensor.datatype == "BOOL":
        if (array > 1).any():
            raise _unfit(tensor, "a boolean is one byte, 0 or 1")
        array = array.astype(bool)
    return array


def _values(tensor: RawTensor) -> list[Any]:
    array = numbers_of(tensor)
    values: list[Any] = array.tolist()
    if array.dtype.kind == "f" and np.isnan(array).any():
        return [None if value != value else value for value in values]
    return values


def _texts(tensor: RawTensor) -> list[Any]:
    content, at = tensor.content, 0
    found: list[Any] = []
    asked = prod(tensor.shape)
    while at < len(content) and len(found) <= asked:
        start = at + _LENGTH
        at = start + int.from_bytes(content[at:start], "little")
        if at > len(content):
            raise Invalid(
                f"input {tensor.name!r} is cut off in element {len(found)}",
                "each text is its length in 4 bytes, little endian, and then itself in UTF-8",
                "send all of it",
            )
        found.append(_text(tensor, content[start:at]))
    _counted(tensor, len(found))
    return found


def _text(tensor: InputTensor, raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise _unfit(tensor, f"a text is not UTF-8: {error}") from None


def texts_of(tensor_name: str, raw: Sequence[bytes]) -> list[str]:
    """The texts of gRPC's typed list of bytes.

    Raises:
        Invalid: one is not UTF-8.
    """
    tensor = InputTensor(tensor_name, [], "BYTES")
    return [_text(tensor, one) for one in raw]


def raw_of(datatype: str, data: Any) -> bytes:
    """The elements of an output as raw bytes.

    Args:
        datatype: Of the output.
        data: Its elements, flat: an array or a list.
    """
    if datatype != "BYTES":
        return np.asarray(data, dtype=_STORED[datatype]).tobytes()
    encoded = [(one if isinstance(one, str) else str(one)).encode() for one in data]
    return b"".join([len(one).to_bytes(_LENGTH, "little") + one for one in encoded])
