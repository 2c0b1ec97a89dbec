"""HTTP replies: which kind of error has which status, the two forms of errors, bodies with raw tensors, compression."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from functools import lru_cache
from math import ceil

import msgspec
import orjson

from modelworks.core.errors import (
    Busy,
    Conflict,
    Denied,
    Invalid,
    ModelworksError,
    NotFound,
    NotReady,
    TooLarge,
    TooMany,
    Unavailable,
    Unfit,
    Unknown,
)


class Later:
    """An answer that is still being made.

    Attributes:
        then: Called with it, in the event loop that it was put aside by.
    """

    __slots__ = ("then",)

    def __init__(self) -> None:
        self.then: Callable[[bytes | ModelworksError], None] = _nobody


def _nobody(_answer: bytes | ModelworksError) -> None:
    """Where nobody waits for it."""


Reply = tuple[int, bytes]
"""HTTP status and JSON body."""

STATUS: tuple[tuple[type[ModelworksError], int], ...] = (
    (NotFound, 404),
    (Conflict, 409),
    (TooLarge, 413),
    (Unfit, 422),
    (Invalid, 400),
    (NotReady, 503),
    (Unknown, 401),
    (Denied, 403),
    (Busy, 503),
    (TooMany, 429),
    (Unavailable, 503),
)
"""The status of a kind of error; of the first that fits."""
LATE = "this request would have waited for more than {:g} s"
"""Why somebody is told to come again."""
WORTH = 1024
"""Bytes from which a body is worth compressing."""
_WBITS = {b"gzip": zlib.MAX_WBITS | 16, b"deflate": zlib.MAX_WBITS}
_AT = re.compile(r"(?P<what>.*) - at `\$(?P<path>.*)`", re.DOTALL)
_ROW = re.compile(r"\.rows\[(?P<row>\d+)\](?:\.(?P<column>.+))?", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<name>.+)`", re.DOTALL)


class Mixed(bytes):
    """A body of JSON followed by raw tensors.

    Source: the extension for binary tensor data of the Open Inference Protocol.

    Attributes:
        head: Bytes of the JSON.
    """

    head: int

    @classmethod
    def of(cls, body: bytes, head: int) -> Mixed:
        """A body, the first `head` bytes of which are JSON."""
        mixed = cls(body)
        mixed.head = head
        return mixed


def media(body: bytes) -> list[tuple[bytes, bytes]]:
    """The headers that say what a body is."""
    if isinstance(body, Mixed):
        return [
            (b"content-type", b"application/octet-stream"),
            (b"inference-header-content-length", b"%d" % body.head),
        ]
    return [(b"content-type", b"application/json")]


@lru_cache(maxsize=1024)
def accepted(header: bytes) -> bytes:
    """The compression that a client accepts, of those that we have: ``gzip``, ``deflate``, or ``b""``.

    Args:
        header: Value of ``Accept-Encoding``.
    """
    told = [one.strip().split(b";") for one in header.lower().split(b",")]
    names = {
        name.strip()
        for name, *rest in told
        if not any(re.fullmatch(rb"\s*q\s*=\s*0(\.0*)?\s*", q) for q in rest)
    }
    return next((name for name in _WBITS if name in names), b"")


def compress(body: bytes, encoding: bytes) -> bytes:
    """A body compressed by one of those that `accepted` gives; quickly rather than as small as can be."""
    packer = zlib.compressobj(1, zlib.DEFLATED, _WBITS[encoding])
    return packer.compress(body) + packer.flush()


def http_status(error: ModelworksError) -> int:
    """The HTTP status of a kind of error."""
    return next((status for kind, status in STATUS if isinstance(error, kind)), 500)


def busy(why: str) -> Busy:
    """The error for whom there is no time or room now."""
    return Busy(
        "the server has more to do than it can",
        why,
        "ask again later; with more processes or more servers more can be answered",
        after=1.0,
    )


def error_headers(error: ModelworksError) -> list[tuple[bytes, bytes]]:
    """What is said of an error beside its body: how to say who asks, or when to ask again, in whole seconds."""
    if isinstance(error, Unknown):
        return [(b"www-authenticate", b"Bearer")]
    return [(b"retry-after", b"%d" % max(ceil(error.after), 1))] if isinstance(error, TooMany) else []


def error_reply(error: ModelworksError, path: bytes = b"") -> Reply:
    """An error as sent: ``{"error": {code, what, why, fix}}``; below ``/v2`` ``{"error": "what; why; fix"}``.

    Source: the error object of the Open Inference Protocol, version 2.
    """
    protocol = path.startswith(b"/v2/") or path == b"/v2"
    return http_status(error), orjson.dumps({"error": str(error) if protocol else error.to_json()})


def undecodable(error: msgspec.DecodeError | RecursionError, body: bytes) -> Invalid:
    """What is wrong with a body, with its row and column where that can be told."""
    if isinstance(error, msgspec.ValidationError):
        return _mismatch(str(error))
    if isinstance(error, RecursionError):
        return Invalid("the request body is nested too deeply", "", "send flat rows")
    if not body.strip():
        return Invalid("the request has no body", "", 'send JSON, for instance {"rows": [{...}]}')
    fix = "send valid JSON"
    if b"NaN" in body or b"Infinity" in body:
        fix = "NaN and Infinity are not JSON: send null where a value is missing and may be missing"
    return Invalid("the request body is not valid JSON", str(error), fix)


def _mismatch(message: str) -> Invalid:
    at = _AT.fullmatch(message)
    what, path = (at["what"], at["path"]) if at else (message, "")
    missing = _MISSING.fullmatch(what)
    where = _ROW.fullmatch(path)
    if where is None:
        subject = f"the request's {path.lstrip('.')!r}" if path else "the request"
        if missing:
            return Invalid(f"{subject} has no {missing['name']!r}", "it is required", "add it")
        if path == ".rows" and "length <=" in what:
            return TooLarge(
                f"{subject} cannot be accepted", _lower(what), "send the rest in further requests"
            )
        return Invalid(f"{subject} cannot be accepted", _lower(what), "correct it")
    row = f"row {where['row']}"
    if missing:
        return Invalid(f"{row} has no column {missing['name']!r}", "the model needs it", "add it to the row")
    column = f"{row}, column {where['column']!r}" if where["column"] else row
    return Invalid(f"{column} cannot be accepted", _lower(what), "correct the value")


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
