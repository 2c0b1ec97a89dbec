"""A rule over several columns of a row, as a SQL expression."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import polars as pl

from modelworks.core.schema import OnBreach, check_on_breach
from modelworks.data.expression import parsed


@dataclass(frozen=True)
class Rule:
    """What has to hold for every row: ``mw.Rule("arrival > departure")``.

    As with a CHECK of SQL, a row of which it cannot be told (a value is missing) passes.

    Attributes:
        text: A SQL expression over the contract's columns, true on good rows.
        message: What to say of rows that break it; the expression by default.
        on_breach: What becomes of them: they are quarantined, all that came with them is refused, or they are
            kept and counted.

    Raises:
        Invalid: it is no SQL expression, or `on_breach` is unknown.
    """

    text: str
    message: str = ""
    on_breach: OnBreach = "quarantine"

    def __post_init__(self) -> None:
        check_on_breach(self.on_breach, f"mw.Rule({self.text!r})")
        self.expr  # noqa: B018 - whoever declares a rule is told at once

    @cached_property
    def expr(self) -> pl.Expr:
        """As Polars runs it."""
        return parsed(self.text, "rule")

    @property
    def broken(self) -> pl.Expr:
        """See `RowRule.broken`."""
        return ~self.expr

    @property
    def says(self) -> str:
        """See `RowRule.says`."""
        return self.message or f"breaks the rule {self.text}"
