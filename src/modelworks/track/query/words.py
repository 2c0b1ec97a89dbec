"""What a query is made of when it has been read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

COLUMNS = ("id", "name", "experiment", "status", "kind", "segment", "parent", "note", "error", "started", "ended",
           "duration")  # fmt: skip
"""What a run has of itself."""
KINDS = ("params", "metrics", "tags")
"""What is logged, ``params.depth``."""

Value = str | float | datetime


@dataclass(frozen=True)
class Dialect:
    """The words of a language of this form.

    Attributes:
        kinds: What may stand before a dot, and the kind that it means; ``""`` for what a thing has of itself.
        columns: What a thing has of itself.
        moments: Those of them that are moments, written as texts.
        strict: Those of them, and the kinds, that are compared with one type only.
        likes: The words for likeness, and how they compare.
    """

    kinds: Mapping[str, str]
    columns: Sequence[str]
    moments: Sequence[str] = ()
    strict: Mapping[str, type] = field(default_factory=dict)
    likes: Mapping[str, str] = field(default_factory=lambda: {"like": "like"})


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
    """A comparison by ``=``, ``!=``, ``<``, ``<=``, ``>``, ``>=``, ``in`` or ``null``.

    By ``like`` capitals do not matter, by ``like exactly`` they do.
    """

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


RUNS = Dialect(
    kinds={kind: kind for kind in KINDS},
    columns=COLUMNS,
    moments=("started", "ended"),
    strict={
        **{name: str for name in COLUMNS if name not in ("started", "ended", "duration")},
        "started": datetime, "ended": datetime, "duration": float, "metrics": float, "tags": str,
    },
)  # fmt: skip
"""The search language of runs."""
