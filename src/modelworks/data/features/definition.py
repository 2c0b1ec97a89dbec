"""What features are: text that computes, values of another dataset as of a time, windows of what came before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal, Protocol, get_args

import polars as pl

from modelworks.core.duration import duration
from modelworks.core.errors import Invalid
from modelworks.data.expression import parsed

Statistic = Literal["count", "mean", "sum", "last"]


class Named(Protocol):
    """A dataset, as far as a feature has to know it."""

    @property
    def name(self) -> str:
        """Its name."""
        ...


@dataclass(frozen=True)
class Expression:
    """A value computed from the other columns of the row.

    Attributes:
        text: A SQL expression, for instance ``"distance / nullif(seats, 0)"``.
    """

    text: str

    @cached_property
    def expr(self) -> pl.Expr:
        """As Polars runs it.

        Raises:
            Invalid: it is no SQL expression.
        """
        return parsed(self.text, "expression")


@dataclass(frozen=True, init=False)
class AsOf:
    """The value that a reference dataset had at the time of the row: its newest row that is not later.

    Attributes:
        dataset: Name of the reference dataset, which has a time column.
        column: Which of its columns.
        by: Column of the row to column of the reference dataset: what must be equal; may be empty.
        within: How old the value may be, for instance ``"3h"``; ``None`` for any age.
    """

    dataset: str
    column: str
    by: Mapping[str, str]
    within: str | None

    def __init__(
        self,
        dataset: Named | str,
        column: str,
        by: str | Sequence[str] | Mapping[str, str] = (),
        within: str | None = None,
    ) -> None:
        """Declare it.

        Args:
            dataset: The reference dataset, or its name.
            column: Which of its columns.
            by: Columns that must be equal, as names, or as own name to name there.
            within: How old the value may be; any age by default.

        Raises:
            Invalid: `within` is no duration.
        """
        if within is not None:
            duration(within)
        name = dataset if isinstance(dataset, str) else dataset.name
        for attribute, value in (("dataset", name), ("column", column), ("by", _by(by)), ("within", within)):
            object.__setattr__(self, attribute, value)


@dataclass(frozen=True, init=False)
class Rolling:
    """A statistic of what came before the row's time, within a window: ``[time - lag - over, time - lag)``.

    Attributes:
        statistic: ``"count"`` of rows, or ``"mean"``, ``"sum"``, ``"last"`` of a column's values; null where the
            window has none (``"count"`` and ``"sum"`` are 0 then).
        column: Which column; ``None`` for ``"count"``.
        by: Own column to column there: what must be equal; may be empty.
        over: Length of the window.
        lag: How long it takes until a value is known: what is younger is not looked at.
        dataset: Name of the dataset whose rows are counted; ``None`` for the feature's own.
    """

    statistic: Statistic
    column: str | None
    by: Mapping[str, str]
    over: str
    lag: str | None
    dataset: str | None

    def __init__(
        self,
        statistic: Statistic,
        column: str | None = None,
        *,
        by: str | Sequence[str] | Mapping[str, str] = (),
        over: str,
        lag: str | None = None,
        dataset: Named | str | None = None,
    ) -> None:
        """Declare it.

        Args:
            statistic: Which.
            column: Of which column.
            by: Columns that must be equal, as names, or as own name to name there.
            over: Length of the window, for instance ``"7d"``.
            lag: How long it takes until a value is known, for instance ``"6h"``; nothing by default.
            dataset: Whose rows; the feature's own dataset by default.

        Raises:
            Invalid: an unknown statistic, a missing column, a length that is no duration.
        """
        if statistic not in get_args(Statistic):
            raise Invalid(
                f"{statistic!r} is no statistic of a window", "", f"use {', '.join(get_args(Statistic))}"
            )
        if (column is None) != (statistic == "count"):
            says = "counts rows, not a column" if statistic == "count" else "needs a column"
            raise Invalid(f"mw.Rolling({statistic!r}) {says}", "", "see its documentation")
        duration(over)
        if lag is not None:
            duration(lag)
        name = dataset if dataset is None or isinstance(dataset, str) else dataset.name
        for attribute, value in (
            ("statistic", statistic),
            ("column", column),
            ("by", _by(by)),
            ("over", over),
            ("lag", lag),
            ("dataset", name),
        ):
            object.__setattr__(self, attribute, value)


Feature = Expression | AsOf | Rolling
_KINDS: Mapping[str, type[Expression | AsOf | Rolling]] = {
    "expression": Expression,
    "as_of": AsOf,
    "rolling": Rolling,
}


def _by(by: str | Sequence[str] | Mapping[str, str]) -> dict[str, str]:
    if isinstance(by, str):
        return {by: by}
    return dict(by) if isinstance(by, Mapping) else {name: name for name in by}


def source_of(feature: AsOf | Rolling, own: str) -> str:
    """The dataset that a feature looks into."""
    return feature.dataset or own


def to_json(feature: Feature) -> dict[str, Any]:
    """As plain data."""
    kind = next(name for name, one in _KINDS.items() if isinstance(feature, one))
    return {"feature": kind, **asdict(feature)}


def from_json(data: Mapping[str, Any]) -> Feature:
    """The inverse of `to_json`."""
    values = {key: value for key, value in data.items() if key != "feature"}
    return _KINDS[data["feature"]](**values)
