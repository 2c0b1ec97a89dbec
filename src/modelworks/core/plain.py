"""Plain data: results as JSON-able values, the one form that the terminal, HTTP and files share."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson

NUMPY = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
"""What models answer may hold arrays, and labels that are no text."""


def to_json(value: Any, indent: bool = False) -> bytes:
    """Encode dataclasses, datetimes, NumPy scalars, tuples and sets; NaN becomes null."""
    option = NUMPY | (orjson.OPT_INDENT_2 if indent else 0)
    return orjson.dumps(value, default=_other, option=option)


def plain(value: Any) -> Any:
    """`value` as dicts, lists, text, numbers, booleans and null."""
    return orjson.loads(to_json(value))


def _other(value: Any) -> Any:
    if hasattr(value, "to_json"):
        return value.to_json()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    return str(value)


def has_value(row: str, column: str, text: str) -> bool:
    """Whether a row, as JSON text, has a value in a column; numbers may be written in different ways."""
    value = orjson.loads(row).get(column)
    if value is None or str(value).strip() == text:
        return value is not None
    try:
        return float(value) == float(text)
    except (TypeError, ValueError):
        return False
