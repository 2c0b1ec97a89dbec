"""Errors as HTTP replies: which kind has which status, and the two forms in which they are sent."""

from __future__ import annotations

import re

import msgspec
import orjson

from modelworks.core.errors import (
    Conflict,
    Denied,
    Invalid,
    ModelworksError,
    NotFound,
    NotReady,
    TooLarge,
    Unavailable,
)

Reply = tuple[int, bytes]
"""HTTP status and JSON body."""

_STATUS: tuple[tuple[type[ModelworksError], int], ...] = (
    (NotFound, 404),
    (Conflict, 409),
    (TooLarge, 413),
    (Invalid, 400),
    (NotReady, 503),
    (Denied, 403),
    (Unavailable, 503),
)
_AT = re.compile(r"(?P<what>.*) - at `\$(?P<path>.*)`", re.DOTALL)
_ROW = re.compile(r"\.rows\[(?P<row>\d+)\](?:\.(?P<column>.+))?", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<name>.+)`", re.DOTALL)


def http_status(error: ModelworksError) -> int:
    """The HTTP status of a kind of error."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


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
