"""What the server and its worker processes say to each other: msgpack in frames, never a pickle."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import msgspec
import numpy as np
import orjson

from modelworks.core.batch import Batch
from modelworks.core.plain import NUMPY
from modelworks.models.predictor import plain_column

T = TypeVar("T")

_LENGTH = struct.Struct("<Q")
_MOST = 8 * 1024**3
_LOOK = 0.25
_CHUNK = 64 * 1024

LOAD, DROP, ASK, STREAM = range(4)
"""What a worker is told: have a model, let go of it, answer rows, answer them piece by piece."""
DONE, ERROR, FAILED, PIECE = range(4)
"""What it says: the result; an error of the house, as its parts; an exception, as its name and its text; a piece, as
the position of its row and JSON. Next to the kind stand the seconds of the processor that it took."""


class Gone(Exception):  # noqa: N818 - it is what happened to the other side
    """The other side has gone, or was ended for a reason."""


def send(to: socket.socket, message: Sequence[Any]) -> None:
    """Send one message.

    Raises:
        Gone: nobody reads it.
    """
    content = msgspec.msgpack.encode(message)
    try:
        to.sendall(_LENGTH.pack(len(content)))
        to.sendall(content)
    except OSError as error:
        raise Gone(str(error)) from error


def receive(of: socket.socket, look: Callable[[], None] | None = None) -> list[Any]:
    """The next message.

    Args:
        of: Where it comes from.
        look: Called again and again while nothing comes; what it raises ends the waiting.

    Raises:
        Gone: nothing comes any more.
    """
    of.settimeout(None if look is None else _LOOK)
    (length,) = _LENGTH.unpack(_exactly(of, _LENGTH.size, look))
    message: list[Any] = msgspec.msgpack.decode(_exactly(of, _sound(length), look), type=list)
    return message


def receive_some(of: socket.socket, rest: bytearray, look: Callable[[], None]) -> list[list[Any]]:
    """The messages that have come, one at least.

    Args:
        of: Where they come from.
        rest: What has come of the next message; kept by the caller.
        look: See `receive`.

    Raises:
        Gone: nothing comes any more.
    """
    of.settimeout(_LOOK)
    found: list[list[Any]] = []
    while not found:
        rest += _come(partial(of.recv, _CHUNK), look)
        at = 0
        while len(rest) - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(rest, at)
            end = at + _LENGTH.size + _sound(length)
            if len(rest) < end:
                break
            found.append(msgspec.msgpack.decode(rest[at + _LENGTH.size : end], type=list))
            at = end
        del rest[:at]
    return found


def _exactly(of: socket.socket, count: int, look: Callable[[], None] | None) -> bytearray:
    content = bytearray(count)
    view, at = memoryview(content), 0
    while at < count:
        at += _come(partial(of.recv_into, view[at:]), look)
    return content


def _come(take: Callable[[], T], look: Callable[[], None] | None) -> T:
    """What comes next; waits for it."""
    while True:
        try:
            got = take()
        except TimeoutError:
            if look is not None:
                look()
            continue
        except OSError as error:
            raise Gone(str(error)) from error
        if not got:
            raise Gone("it has ended")
        return got


def _sound(length: int) -> int:
    """The length of a message, if it can be one."""
    if length > _MOST:
        raise Gone(f"a message of {length} bytes")
    return length


def rows(batch: Batch) -> tuple[Any, ...]:
    """A batch, as it goes over: rows, numbers in a row, those as float32, texts by row."""
    texts = batch.texts.tolist() if batch.texts.size else []
    return (
        len(batch),
        batch.numbers.shape[1] if batch.numbers.ndim == 2 else 0,
        batch.numbers.tobytes(),
        texts,
    )


def batch(count: int, width: int, numbers: bytes, texts: list[list[Any]]) -> Batch:
    """The inverse of `rows`."""
    found = np.empty((count, len(texts[0]) if texts else 0), dtype=object)
    for row, values in enumerate(texts):
        found[row, :] = values
    return Batch(np.frombuffer(numbers, dtype=np.float32).reshape(count, width), found)


def answers(outputs: Any) -> tuple[Any, ...]:
    """What a predictor answers, as it goes over.

    Raises:
        TypeError: an answer cannot be JSON.
    """
    if outputs.dtype == object:
        return 0, orjson.dumps(outputs[:, 0].tolist(), option=NUMPY)
    scores = np.ascontiguousarray(outputs, dtype=np.float32)
    return scores.shape[1], scores.tobytes()


def outputs(width: int, content: bytes) -> Any:
    """The inverse of `answers`."""
    if width:
        return np.frombuffer(content, dtype=np.float32).reshape(-1, width)
    return plain_column(orjson.loads(content))
