"""Rows of a request: decoding that is typed by what a model takes, generated once a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from operator import attrgetter
from typing import Annotated, Any, Union, cast

import msgspec
import numpy as np
from msgspec import UNSET, Meta

from modelworks.core.errors import BadValue, Invalid, Unfit
from modelworks.core.schema import Field, Kind
from modelworks.models.signature import Signature
from modelworks.serving.replies import undecodable

MAX_ROWS = 10_000
"""Rows in one request."""

Values = tuple[Any, ...]
Row = Any
"""An instance of a generated struct."""

MOST = float(np.finfo(np.float32).max)
NUMBER = Annotated[float, Meta(ge=-MOST, le=MOST)]
"""A number that float32, in which models calculate, can hold."""
_TYPES: dict[Kind, Any] = {
    Kind.NUMBER: NUMBER,
    Kind.INTEGER: NUMBER,
    Kind.TEXT: str,
    Kind.BOOL: bool,
    Kind.TIME: datetime,
}
_ONE = {Kind.INTEGER: Kind.NUMBER}
_WORDS = {
    Kind.NUMBER: "a number",
    Kind.INTEGER: "a number",
    Kind.TEXT: "text",
    Kind.BOOL: "true or false",
    Kind.TIME: "a time as ISO 8601 text",
}
_ABSENT = "the row does not have it, and the model needs it"
_PYTHON: dict[Kind, tuple[type, ...]] = {
    Kind.NUMBER: (float, int),
    Kind.INTEGER: (float, int),
    Kind.TEXT: (str,),
    Kind.BOOL: (bool,),
    Kind.TIME: (datetime,),
}


@dataclass(frozen=True)
class Column:
    """One column of the rows of a model.

    Attributes:
        name: Name of the column.
        kinds: What it may hold; several where live versions differ.
        nullable: Whether its value may be missing.
        required: Whether every row must have it; if not, a version that needs it checks for itself.
    """

    name: str
    kinds: tuple[Kind, ...]
    nullable: bool
    required: bool

    @property
    def type(self) -> Any:
        """The type of its values in JSON, for msgspec."""
        kinds = [_TYPES[kind] for kind in dict.fromkeys(_ONE.get(kind, kind) for kind in self.kinds)]
        return Union[tuple([*kinds, None] if self.nullable else kinds)]  # noqa: UP007 - the members vary


def merge(
    signatures: Iterable[Signature],
    per: Sequence[str],
    key: str | None,
    time: str | None,
    nullable: frozenset[str],
    per_kinds: dict[str, Kind],
    more: Iterable[str] = (),
) -> tuple[Column, ...]:
    """The columns that rows must have so that any of several versions can answer them.

    A value may be missing where the contract or any live version allows it: a segment whose few training
    rows happened to be complete does not turn down what its siblings accept.

    Args:
        signatures: Of the live versions.
        per: Columns that route.
        key: The dataset's key column; optional in a row.
        time: The dataset's event-time column; optional in a row.
        nullable: Columns that the dataset's contract allows to be missing.
        per_kinds: What the contract says of `per` columns; text where it says nothing.
        more: Further columns that a row may have, text or numbers.
    """
    seen: dict[str, tuple[set[Kind], bool, int]] = {}
    total = 0
    for signature in signatures:
        total += 1
        for field in signature.inputs:
            kinds, missing, times = seen.get(field.name, (set(), field.name in nullable, 0))
            seen[field.name] = (kinds | {field.kind}, missing or field.nullable, times + 1)
    columns = {
        name: Column(name, tuple(sorted(kinds)), missing, times == total)
        for name, (kinds, missing, times) in seen.items()
    }
    for name in per:
        known = columns.get(name)
        kinds_ = known.kinds if known else (per_kinds.get(name, Kind.TEXT),)
        columns[name] = Column(name, kinds_, name in nullable, True)
    for name in more:
        if name not in columns:
            columns[name] = Column(name, (Kind.TEXT, Kind.NUMBER), True, True)
    if key is not None and key not in columns:
        columns[key] = Column(key, (Kind.TEXT, Kind.NUMBER), True, True)
    if time is not None and time not in columns:
        columns[time] = Column(time, (Kind.TIME,), True, True)
    return tuple(columns.values())


class Rows:
    """Decodes ``{"rows": [{...}, ...]}`` into structs, and reads columns out of them.

    Args:
        columns: What a row may have; others are ignored.
    """

    def __init__(self, columns: tuple[Column, ...]) -> None:
        self.columns = {column.name: column for column in columns}
        self._attribute = {column.name: f"c{number}" for number, column in enumerate(columns)}
        struct = msgspec.defstruct(
            "Row",
            [_field(self._attribute[column.name], column) for column in columns],
            rename={attribute: name for name, attribute in self._attribute.items()},
            kw_only=True,
            gc=False,
        )
        self._struct = struct
        limited = Annotated[list[struct], Meta(min_length=1, max_length=MAX_ROWS)]  # type: ignore[valid-type]
        request = msgspec.defstruct("Request", [("rows", limited)], gc=False)
        self._decoder: Callable[[bytes], Any] = msgspec.json.Decoder(request).decode

    def decode(self, body: bytes) -> list[Row]:
        """The rows of a request body.

        Raises:
            Invalid: what is wrong, with row and column.
        """
        try:
            return cast("list[Row]", self._decoder(body).rows)
        except msgspec.ValidationError as error:
            raise self._unfit(body) or undecodable(error, body) from None
        except (msgspec.DecodeError, RecursionError) as error:
            raise undecodable(error, body) from None
        except UnicodeDecodeError as error:
            raise Invalid("the request body is not UTF-8", str(error), "send JSON in UTF-8") from None

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of a request body."""
        (row,) = msgspec.json.schema_components((self._struct,))[1].values()
        rows = {"type": "array", "items": row, "minItems": 1, "maxItems": MAX_ROWS}
        return {"type": "object", "required": ["rows"], "properties": {"rows": rows}}

    def _unfit(self, body: bytes) -> Unfit | None:
        """Every value of a request's rows that cannot be taken; ``None`` where it is the request that cannot."""
        try:
            rows = msgspec.json.decode(body)["rows"]
        except (msgspec.DecodeError, RecursionError, KeyError, TypeError):
            return None
        if not isinstance(rows, list) or not 0 < len(rows) <= MAX_ROWS:
            return None
        found: list[BadValue] = []
        for position, row in enumerate(rows):
            if isinstance(row, dict):
                found += self._bad_values(position, row)
            else:
                found.append(BadValue(position, None, "type", "expected `object`"))
            if len(found) >= Unfit.MOST:
                break
        return Unfit(found[: Unfit.MOST]) if found else None

    def _bad_values(self, position: int, row: dict[str, Any]) -> Iterator[BadValue]:
        for name, column in self.columns.items():
            value = row.get(name, UNSET)
            if value is UNSET:
                if column.required and not column.nullable:
                    yield BadValue(position, name, "missing", _ABSENT)
                continue
            try:
                msgspec.convert(value, column.type)
            except msgspec.ValidationError as error:
                kind = "missing" if value is None else "type"
                yield BadValue(position, name, kind, undecodable(error, b"").why)

    def reader(self, names: Sequence[str], text: bool = False) -> Callable[[Row], Values]:
        """A function from a row to the values of columns, in order.

        Args:
            names: The columns.
            text: Whether a missing value is ``""`` (as text inputs have it) rather than ``None``.
        """
        read = _getter([self._attribute[name] for name in names])
        if text and any(self.columns[name].nullable for name in names):
            return lambda row: tuple(value or "" for value in read(row))
        return read

    def value(self, row: Row, name: str) -> Any:
        """The value of one column; ``UNSET`` where the row has none."""
        return getattr(row, self._attribute[name])

    def checker(self, signature: Signature) -> Callable[[Row, int], None] | None:
        """A function that raises `Unfit` for a row, and its position, that this version cannot take.

        ``None`` if not needed.
        """
        loose = [
            field
            for field in signature.inputs
            if not self.columns[field.name].required or len(self.columns[field.name].kinds) > 1
        ]
        if not loose:
            return None
        read = self.reader([field.name for field in loose])

        def check(row: Row, position: int) -> None:
            for field, value in zip(loose, read(row), strict=True):
                check_value(field, value, position)

        return check


@lru_cache(maxsize=256)
def rows_of(columns: tuple[Column, ...]) -> Rows:
    """The decoder for these columns, made once."""
    return Rows(columns)


def check_value(field: Field, value: Any, row: int) -> None:
    """Refuse a value that one version cannot take, where its siblings take other kinds.

    Raises:
        Unfit: it is not there, or of another kind.
    """
    if value is UNSET:
        raise Unfit([BadValue(row, field.name, "missing", _ABSENT)], "add it to the row")
    if value is None:
        return
    if not isinstance(value, _PYTHON[field.kind]) or isinstance(value, bool) is not (field.kind is Kind.BOOL):
        raise Unfit([BadValue(row, field.name, "type", f"it must be {_WORDS[field.kind]}")])


def as_text(value: Any) -> str:
    """A ``per`` value as the text that segments are known by: as training casts it, ``""`` where missing."""
    if type(value) is str:
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _field(attribute: str, column: Column) -> tuple[Any, ...]:
    if column.nullable:
        return (attribute, column.type, None)
    return (attribute, column.type) if column.required else (attribute, column.type, UNSET)


def _getter(attributes: Sequence[str]) -> Callable[[Row], Values]:
    if not attributes:
        return lambda _row: ()
    read: Callable[[Row], Any] = attrgetter(*attributes)
    return read if len(attributes) > 1 else lambda row: (read(row),)
