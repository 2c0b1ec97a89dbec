"""The port of checks: rules of a contract over the values of a column, over whole rows, over all that comes in.

All are pure, and look at all rows at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import polars as pl

from modelworks.core.schema import Field, OnBreach


@dataclass(frozen=True)
class Check:
    """A rule over one column.

    Attributes:
        name: Its name in the catalog.
        breaks: For a field, an expression that is true on the rows that break the rule, or ``None`` where
            the rule does not concern the field. It may look at the column ``NAME`` (typed, null where the
            value did not fit the type) and at ``raw(NAME)`` (as it came).
        says: What is wrong, for people: ``"is null"``.
        spares: Whether a row that breaks it can be kept all the same, where the field says ``"warn"``.
    """

    name: str
    breaks: Callable[[Field], pl.Expr | None]
    says: Callable[[Field], str]
    spares: bool = False


def raw(name: str) -> str:
    """The name under which a column stands as it came."""
    return f"\x00raw:{name}"


@runtime_checkable
class RowRule(Protocol):
    """A rule over several columns of a row."""

    @property
    def on_breach(self) -> OnBreach:
        """What becomes of rows that break it."""
        ...

    @property
    def broken(self) -> pl.Expr:
        """True on the typed rows that break it; null counts as false."""
        ...

    @property
    def says(self) -> str:
        """What is wrong, for people."""
        ...


Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Came:
    """What an ingest brings, in few numbers.

    Attributes:
        rows: Good rows.
        newest: The latest event time that is not in the future; ``None`` without one.
        now: The moment.
        before: What the rows are held against: the version, as text, that `reference` is of.
        reference: Column to its rows by bin in that version, shape (bins,); bins are those of its profile.
        counts: Column to the rows that came, in the same bins.
    """

    rows: int
    newest: datetime | None
    now: datetime
    before: str = ""
    reference: Mapping[str, Counts] = field(default_factory=dict)
    counts: Mapping[str, Counts] = field(default_factory=dict)


@runtime_checkable
class BatchRule(Protocol):
    """A rule over all that comes in with one ingest."""

    @property
    def on_breach(self) -> Literal["reject", "warn"]:
        """Whether all of it is refused, or it is only said."""
        ...

    def watches(self, contract: Mapping[str, Field], key: str | None, time: str | None) -> Sequence[str]:
        """The columns whose distribution it wants to know.

        Raises:
            Invalid: the dataset lacks what the rule is about.
        """
        ...

    def judge(self, came: Came) -> str | None:
        """What is wrong, one sentence; ``None`` where nothing is."""
        ...


Rule = RowRule | BatchRule
