"""What a query is made of when it has been read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

COLUMNS = ("id", "name", "experiment", "status", "kind", "segment", "parent", "note", "error", "started", "ended",
           "duration")  # fmt: skip
"""What a run has of itself."""
KINDS = ("params", "metrics", "tags")
"""What is logged, ``params.depth``."""

Value = str | float | datetime


@dataclass(frozen=True)
class Field:
    """Something of a run.

    Attributes:
        kind: ``"params"``, ``"metrics"`` or ``"tags"``; ``""`` for what a run has of itself.
        name: Its name.
    """

    kind: str
    name: str


@dataclass(frozen=True)
class Compare:
    """A comparison by ``=``, ``!=``, ``<``, ``<=``, ``>``, ``>=``, ``like`` or ``in``, ``is null``."""

    field: Field
    by: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Not:
    """What does not hold."""

    inner: Condition


@dataclass(frozen=True)
class Both:
    """``and``, ``or``."""

    by: str
    left: Condition
    right: Condition


Condition = Compare | Not | Both


@dataclass(frozen=True)
class Order:
    """A key to order by."""

    field: Field
    descending: bool


@dataclass(frozen=True)
class Query:
    """A whole query.

    Attributes:
        where: What must hold; ``None`` for all runs.
        order: Keys, the first one first.
        limit: Most runs to return; ``None`` where it is not said.
    """

    where: Condition | None = None
    order: tuple[Order, ...] = ()
    limit: int | None = None
