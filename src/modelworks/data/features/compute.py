"""Computing features: the same code for a million rows of a training and for the row of a request."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import polars as pl

from modelworks.core.duration import duration
from modelworks.core.errors import Invalid
from modelworks.core.schema import Field, Kind
from modelworks.data.contract import TYPES
from modelworks.data.features.definition import AsOf, Expression, Feature, Rolling, source_of
from modelworks.data.features.history import History

Past = Callable[[str, tuple[str, ...]], History]
"""A dataset's name and the columns that part its past, to its past."""

_KINDS = {pl.String: Kind.TEXT, pl.Boolean: Kind.BOOL}


def needs(features: Mapping[str, Feature], names: list[str], columns: Mapping[str, object]) -> list[str]:
    """The columns of a row that some of the features are computed from.

    Args:
        features: All of them.
        names: Which.
        columns: The row's own columns.
    """
    found: dict[str, None] = {}
    for name in names:
        feature = features[name]
        wanted = feature.expr.meta.root_names() if isinstance(feature, Expression) else list(feature.by)
        for one in wanted:
            if one in columns:
                found[one] = None
            elif one in features and one != name:
                found.update(dict.fromkeys(needs(features, [one], columns)))
    return list(found)


def compute(
    rows: pl.DataFrame,
    features: Mapping[str, Feature],
    names: list[str],
    own: str,
    time: str | None,
    past: Past,
) -> pl.DataFrame:
    """Rows with some of their features.

    Args:
        rows: The columns that the features are computed from, and the time.
        features: All that the dataset declares.
        names: Which to compute; those that they are computed from are computed as well.
        own: Name of the dataset.
        time: Column of the event time: the moment as of which the past is looked at.
        past: Gives the past of datasets.
    """
    for name in names:
        if name in rows.columns:
            continue
        feature = features[name]
        if isinstance(feature, Expression):
            others = [
                one for one in feature.expr.meta.root_names() if one in features and one not in rows.columns
            ]
            rows = compute(rows, features, others, own, time, past)
            value = rows.select(feature.expr.alias(name))[name]
            if value.dtype.is_float():
                value = value.set(~value.is_finite(), None)  # what was divided by zero is not known
            rows = rows.with_columns(value.cast(pl.Float64) if value.dtype.is_numeric() else value)
            continue
        assert time is not None  # whoever declares such a feature has one
        there = past(source_of(feature, own), tuple(feature.by.values()))
        moments = rows[time].dt.epoch("us").to_numpy().astype(np.int64, copy=False)
        keys = rows.select(list(feature.by))
        found = (
            _as_of(feature, there, keys, moments)
            if isinstance(feature, AsOf)
            else _rolling(feature, there, keys, moments)
        )
        rows = rows.with_columns(found.alias(name))
    return rows


def _as_of(feature: AsOf, past: History, keys: pl.DataFrame, moments: npt.NDArray[np.int64]) -> pl.Series:
    places = past.places(keys, moments)
    if feature.within is not None and len(past.times):
        oldest = moments - _microseconds(feature.within)
        places = np.where((places >= 0) & (past.times[places] >= oldest), places, -1)
    return _gathered(past, feature.column, places)


def _rolling(
    feature: Rolling, past: History, keys: pl.DataFrame, moments: npt.NDArray[np.int64]
) -> pl.Series:
    # Times are whole microseconds: before a moment is up to the one before it.
    end = moments - (_microseconds(feature.lag) if feature.lag else 0) - 1
    last, before = past.places(keys, end), past.places(keys, end - _microseconds(feature.over))
    some = last > before
    if feature.statistic == "last":
        assert feature.column is not None
        return _gathered(past, feature.column, np.where(some, last, -1))
    sums, counts = past.sums(feature.column) if len(past.times) else (np.zeros(1), np.zeros(1, np.int64))
    count = np.where(some, counts[last] - np.where(before >= 0, counts[before], 0), 0)
    if feature.column is None:
        return pl.Series(count.astype(np.float64))
    total = np.where(count > 0, sums[last] - np.where(before >= 0, sums[before], 0.0), 0.0)
    if feature.statistic == "sum":
        return pl.Series(total)
    mean = np.divide(total, count, out=np.zeros(len(total)), where=count > 0)
    return pl.Series(mean).set(pl.Series(count == 0), None)


def _gathered(past: History, column: str, places: npt.NDArray[np.int64]) -> pl.Series:
    """Values at places of the past, null at -1; numbers as floats."""
    at = pl.Series(places)
    values = past.frame[column].gather(at.set(at < 0, None))
    return values.cast(pl.Float64) if values.dtype.is_numeric() else values


def _microseconds(text: str) -> int:
    return round(duration(text).total_seconds() * 1_000_000)


def fields(
    features: Mapping[str, Feature],
    own: str,
    contracts: Mapping[str, Mapping[str, Field]],
    times: Mapping[str, str | None],
) -> dict[str, Field]:
    """What each feature holds; finds out whether it can be computed at all.

    Args:
        features: By name.
        own: Name of their dataset.
        contracts: Of all datasets.
        times: Their time columns.

    Raises:
        Invalid: one names something that there is not.
    """
    known = dict(contracts[own])
    empty = pl.DataFrame(schema={name: TYPES[one.kind] for name, one in known.items()})
    found: dict[str, Field] = {}
    for name, feature in features.items():
        label = f"feature {name!r} of dataset {own!r}"
        if name in contracts[own]:
            raise Invalid(f"{label} is a column already", "", "give it another name")
        if isinstance(feature, Expression):
            try:
                kind = empty.select(feature.expr.alias(name)).schema[name]
            except Exception as error:  # Polars raises several kinds
                says, known_ = str(error).split("\n")[0], ", ".join(empty.columns)
                raise Invalid(f"{label} cannot be computed", says, f"it may use {known_}") from error
            holds = _KINDS.get(type(kind), Kind.NUMBER)
        else:
            holds = _looks_into(feature, label, own, contracts, times, empty.columns)
        found[name] = Field(name, holds, nullable=True)
        empty = empty.with_columns(pl.lit(None, TYPES[holds]).alias(name))
    return found


def _looks_into(
    feature: AsOf | Rolling,
    label: str,
    own: str,
    contracts: Mapping[str, Mapping[str, Field]],
    times: Mapping[str, str | None],
    columns: list[str],
) -> Kind:
    source = source_of(feature, own)
    if source not in contracts:
        raise Invalid(
            f"{label} looks into {source!r}", "there is no such dataset", f"there are {', '.join(contracts)}"
        )
    for name in (own, source):
        if times.get(name) is None:
            raise Invalid(
                f"{label} looks into the past",
                f"dataset {name!r} has no time column",
                "name the column of the event time with time= in mw.Dataset",
            )
    for ours, theirs in feature.by.items():
        if ours not in columns or theirs not in contracts[source]:
            raise Invalid(
                f"{label} goes by {ours!r}",
                f"{own!r} has {', '.join(columns)}; {source!r} has {', '.join(contracts[source])}",
                "name columns of both",
            )
    if feature.column is None:
        return Kind.NUMBER
    if feature.column not in contracts[source]:
        raise Invalid(
            f"{label} takes the column {feature.column!r}",
            f"{source!r} has {', '.join(contracts[source])}",
            "correct the name",
        )
    kind = contracts[source][feature.column].kind
    if (
        isinstance(feature, Rolling)
        and feature.statistic in ("mean", "sum")
        and kind not in (Kind.NUMBER, Kind.INTEGER, Kind.BOOL)
    ):
        raise Invalid(
            f"{label} is the {feature.statistic} of {feature.column!r}",
            f"it holds {kind}",
            "name a column of numbers",
        )
    return Kind.NUMBER if kind is Kind.INTEGER else kind
