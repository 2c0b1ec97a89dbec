"""Columns and their types: the shared ground of a dataset's contract and a model's signature."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Literal, get_args

from modelworks.core.errors import Invalid

OnBreach = Literal["quarantine", "reject", "warn"]
"""What happens when a rule is broken: the row is kept apart; all that came with it is refused; it is only said."""

Sensitive = Literal["", "drop", "hash"]
"""What becomes of a column's values in the prediction log: they are kept; left out; replaced by a keyed hash."""


class Kind(StrEnum):
    """What a column holds."""

    NUMBER = "number"
    INTEGER = "integer"
    TEXT = "text"
    BOOL = "bool"
    TIME = "time"


def check_on_breach(given: str, what: str, known: tuple[str, ...] = get_args(OnBreach)) -> None:
    """Make sure that it is known what a breach leads to.

    Raises:
        Invalid: it is not.
    """
    if given not in known:
        raise Invalid(f"{what} has on_breach={given!r}", "", f"choose one of {', '.join(known)}")


@dataclass(frozen=True)
class Field:
    """One column: its type and what its values may be.

    Attributes:
        name: Column name.
        kind: Type of the values.
        nullable: Whether a value may be missing.
        min: Smallest value allowed (numbers), inclusive.
        max: Largest value allowed (numbers), inclusive.
        allowed: The only values allowed; empty for any.
        on_breach: What happens when a value is not as it should be. With ``"warn"`` a value outside of its bounds
            is kept; one that cannot be kept (it is missing, or of another type) is quarantined all the same.
        sensitive: What becomes of its values in the prediction log: see `Sensitive`.
    """

    name: str
    kind: Kind
    nullable: bool = False
    min: float | None = None
    max: float | None = None
    allowed: tuple[str, ...] = ()
    on_breach: OnBreach = "quarantine"
    sensitive: Sensitive = ""

    def __post_init__(self) -> None:
        check_on_breach(self.on_breach, f"column {self.name!r}")
        if self.sensitive not in get_args(Sensitive):
            raise Invalid(
                f"column {self.name!r} has sensitive={self.sensitive!r}", "", 'use "drop" or "hash"'
            )

    def to_json(self) -> dict[str, Any]:
        """As plain data, without what is at its default."""
        full = vars(self) | {"kind": str(self.kind), "allowed": list(self.allowed)}
        # Not "in (None, [], False)": a bound of 0 equals False, and must stay.
        return {
            key: value
            for key, value in full.items()
            if not (value is None or value is False or value in ([], "quarantine", ""))
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Field:
        """The inverse of `to_json`."""
        return cls(**{**data, "kind": Kind(data["kind"]), "allowed": tuple(data.get("allowed", ()))})


@dataclass(frozen=True)
class Number:
    """A numeric column of a contract: ``mw.Number(min=0)``."""

    min: float | None = None
    max: float | None = None
    nullable: bool = False
    integer: bool = False
    on_breach: OnBreach = "quarantine"
    sensitive: Sensitive = ""


@dataclass(frozen=True)
class Text:
    """A text column of a contract: ``mw.Text(allowed=["EWR", "JFK", "LGA"])``."""

    allowed: tuple[str, ...] | list[str] = ()
    nullable: bool = False
    on_breach: OnBreach = "quarantine"
    sensitive: Sensitive = ""


@dataclass(frozen=True)
class Bool:
    """A true-or-false column of a contract."""

    nullable: bool = False
    on_breach: OnBreach = "quarantine"
    sensitive: Sensitive = ""


@dataclass(frozen=True)
class Time:
    """A date-and-time column of a contract; a value without a time zone is taken as UTC."""

    nullable: bool = False
    on_breach: OnBreach = "quarantine"
    sensitive: Sensitive = ""


ColumnSpec = type | Number | Text | Bool | Time

_PLAIN = {
    float: Kind.NUMBER,
    int: Kind.INTEGER,
    str: Kind.TEXT,
    bool: Kind.BOOL,
    datetime: Kind.TIME,
    date: Kind.TIME,
}


def as_field(name: str, spec: ColumnSpec) -> Field:
    """The field that a contract's entry stands for: a Python type, or `Number`, `Text`, `Bool`, `Time`.

    Raises:
        Invalid: `spec` is none of these.
    """
    match spec:
        case Number():
            kind = Kind.INTEGER if spec.integer else Kind.NUMBER
            bounds: dict[str, Any] = {"min": spec.min, "max": spec.max}
        case Text():
            kind, bounds = Kind.TEXT, {"allowed": tuple(spec.allowed)}
        case Bool():
            kind, bounds = Kind.BOOL, {}
        case Time():
            kind, bounds = Kind.TIME, {}
        case type() if spec in _PLAIN:
            return Field(name, _PLAIN[spec])
        case _:
            raise Invalid(
                f"column {name!r} of the contract has no known type",
                f"got {spec!r}",
                "use float, int, str, bool, datetime, mw.Number(...), mw.Text(...), mw.Bool() or mw.Time()",
            )
    return Field(name, kind, spec.nullable, **bounds, on_breach=spec.on_breach, sensitive=spec.sensitive)
