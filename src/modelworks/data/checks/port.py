"""The port of checks: one rule of a contract over all rows at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from modelworks.core.schema import Field


@dataclass(frozen=True)
class Check:
    """A rule over one column.

    Attributes:
        name: Its name in the catalog.
        breaks: For a field, an expression that is true on the rows that break the rule, or ``None`` where
            the rule does not concern the field. It may look at the column ``NAME`` (typed, null where the
            value did not fit the type) and at ``raw(NAME)`` (as it came).
        says: What is wrong, for people: ``"is null"``.
    """

    name: str
    breaks: Callable[[Field], pl.Expr | None]
    says: Callable[[Field], str]


def raw(name: str) -> str:
    """The name under which a column stands as it came."""
    return f"\x00raw:{name}"
