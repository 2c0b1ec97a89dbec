"""Messages as rows: each a JSON object; what is none is kept as it came, with the reason."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import polars as pl

from modelworks.core.plain import to_json
from modelworks.core.schema import Field, Kind
from modelworks.data.contract import BAD
from modelworks.data.streams.port import Slice

_AS: Mapping[Kind, pl.DataType] = {
    Kind.NUMBER: pl.Float64(),
    Kind.INTEGER: pl.Int64(),
    # Texts, and what the contract reads from texts.
    Kind.TEXT: pl.String(),
    Kind.BOOL: pl.String(),
    Kind.TIME: pl.String(),
}
_LOOK = 50
"""Messages of a slice in which columns are looked for that the contract does not know."""


def slice_of(
    partition: str,
    since: int,
    payloads: Sequence[bytes],
    numbers: Sequence[int],
    expected: Mapping[str, Field],
) -> Slice:
    """Messages of one partition as rows.

    Args:
        partition: Which.
        since: Position before the first.
        payloads: What came, at least one.
        numbers: Position of each.
        expected: What a contract says of columns.
    """
    at = pl.Series("number", numbers, pl.Int64)
    rows = _at_once(payloads, expected)
    broken = pl.DataFrame(schema=dict(BAD))
    if rows is None:
        objects, places, reasons = _one_by_one(payloads)
        # A column that none of them has is missing in each, which is for the contract to say, row by row.
        rows = columns_of([dict.fromkeys(expected), *objects])[1:]
        if reasons:
            lines = [(_kept(payloads[n]), why, None, None, numbers[n]) for n, why in reasons.items()]
            broken = pl.DataFrame(lines, schema=dict(BAD), orient="row")
            at = at.gather(places)
    return Slice(partition, since, numbers[-1], rows, at, broken)


def _at_once(payloads: Sequence[bytes], expected: Mapping[str, Field]) -> pl.DataFrame | None:
    """All as rows; ``None`` where one is none, or holds what only reading them one by one keeps."""
    text = b"\n".join(payloads)
    if text.count(b"\n") != len(payloads) - 1:
        return None
    schema = {name: _AS[field.kind] for name, field in expected.items()}
    try:
        for some in payloads[:: len(payloads) // _LOOK + 1]:
            schema |= dict.fromkeys(orjson.loads(some).keys() - schema.keys(), pl.String())
        rows = pl.read_ndjson(text, schema=schema)
    except (pl.exceptions.PolarsError, UnicodeError, orjson.JSONDecodeError, AttributeError):
        return None
    return rows if len(rows) == len(payloads) else None


def _one_by_one(payloads: Sequence[bytes]) -> tuple[list[dict[str, Any]], list[int], dict[int, str]]:
    """What are objects, where they stood, and of the others why they are none."""
    objects, places, reasons = [], [], {}
    for place, payload in enumerate(payloads):
        try:
            found = orjson.loads(payload)
        except orjson.JSONDecodeError:
            reasons[place] = "the message is not JSON" if payload else "the message is empty"
            continue
        if isinstance(found, dict) and found:
            objects.append(found)
            places.append(place)
        else:
            reasons[place] = "the message is no JSON object with a row"
    return objects, places, reasons


def _kept(payload: bytes) -> str:
    """A message that is no row, as JSON text, without a loss."""
    try:
        kept = {"message": payload.decode()}
    except UnicodeDecodeError:
        kept = {"message_base64": b64encode(payload).decode()}
    return orjson.dumps(kept).decode()


def columns_of(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Rows as columns, each of the common kind of its values, or else as text, which the contract reads.

    Column by column: a value of another kind than its neighbours spoils its own row, not the others.
    """
    names = dict.fromkeys(str(name) for row in rows for name in row)
    return pl.DataFrame([column_of(name, [row.get(name) for row in rows]) for name in names])


def column_of(name: str, values: Sequence[Any]) -> pl.Series:
    """Values as a column: see `columns_of`."""
    try:
        return pl.Series(name, values, strict=True)
    except (pl.exceptions.PolarsError, TypeError, OverflowError):
        return pl.Series(name, [_as_text(value) for value in values], pl.String)


def _as_text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else to_json(value).decode()
