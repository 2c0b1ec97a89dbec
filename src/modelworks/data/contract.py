"""Holding rows against a contract: what fits is typed, what does not gets its reason. All vectorised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from modelworks.core.errors import Invalid
from modelworks.core.schema import Field, Kind
from modelworks.data.checks import CHECKS, ORDER
from modelworks.data.checks.port import raw

REASON = "\x00reason"
ROW = "\x00row"

TYPES: Mapping[Kind, pl.DataType] = {
    Kind.NUMBER: pl.Float64(),
    Kind.INTEGER: pl.Int64(),
    Kind.TEXT: pl.String(),
    Kind.BOOL: pl.Boolean(),
    Kind.TIME: pl.Datetime("us", "UTC"),
}


@dataclass(frozen=True)
class Held:
    """Rows held against a contract.

    Attributes:
        good: Those that fit, typed, with the contract's columns in order.
        bad: Those that do not: the columns ``row`` (JSON text), ``reason`` and ``number`` (within the frame).
        extra: Columns that the contract does not know; they were left out.
    """

    good: pl.DataFrame
    bad: pl.DataFrame
    extra: tuple[str, ...]


def hold(frame: pl.DataFrame, contract: Mapping[str, Field], key: str | None) -> Held:
    """Hold the rows of one frame against a contract.

    Raises:
        Invalid: a column that must not be null is not there at all.
    """
    missing = [name for name, field in contract.items() if name not in frame.columns and not field.nullable]
    if missing:
        raise Invalid(
            f"the column{'s' if len(missing) > 1 else ''} {', '.join(missing)} of the contract "
            f"{'are' if len(missing) > 1 else 'is'} missing",
            f"the rows have {', '.join(frame.columns[:50])}",
            "mend the source, or declare the column nullable",
        )
    absent = [pl.lit(None, pl.String).alias(name) for name in contract if name not in frame.columns]
    extra = tuple(name for name in frame.columns if name not in contract)
    rows = frame.with_columns(absent) if absent else frame
    schema = rows.schema
    typed = rows.select(
        *(_typed(field, schema[name]).alias(name) for name, field in contract.items()),
        *(pl.col(name).alias(raw(name)) for name in contract),
    )
    rules = [
        pl.when(broken).then(pl.lit(f"{field.name} {CHECKS[check].says(field)}"))
        for check in ORDER
        for field in contract.values()
        if (broken := CHECKS[check].breaks(field)) is not None
    ]
    if key is not None:
        rules.append(pl.when(pl.col(key).is_null()).then(pl.lit(f"the key {key} is missing")))
        rules.append(
            pl.when(~pl.col(key).is_first_distinct()).then(pl.lit(f"the key {key} came before in the same file"))
        )
    judged = typed.with_columns(pl.coalesce(rules).alias(REASON)).with_row_index(ROW)
    good = judged.filter(pl.col(REASON).is_null()).select(list(contract))
    broken_rows = judged.filter(pl.col(REASON).is_not_null())
    bad = pl.DataFrame(
        {
            "row": frame[broken_rows[ROW]].select(pl.struct(pl.all()).struct.json_encode()).to_series()
            if len(broken_rows)
            else pl.Series([], dtype=pl.String),
            "reason": broken_rows[REASON],
            "number": broken_rows[ROW].cast(pl.Int64),
        }
    )
    return Held(good, bad, extra)


def _typed(field: Field, kind: pl.DataType) -> pl.Expr:
    """A column as the contract's type; null where a value does not fit."""
    column, wanted = pl.col(field.name), TYPES[field.kind]
    match field.kind:
        case Kind.TEXT:
            typed = column if kind == pl.String else column.cast(pl.String)
        case Kind.NUMBER | Kind.INTEGER:
            typed = _number(column, kind, whole=field.kind is Kind.INTEGER)
        case Kind.BOOL:
            typed = _bool(column, kind)
        case Kind.TIME:
            typed = _time(column, kind)
    return typed.cast(wanted, strict=False)


def _number(column: pl.Expr, kind: pl.DataType, *, whole: bool) -> pl.Expr:
    if kind == pl.String:
        column = column.str.strip_chars().cast(pl.Float64, strict=False)
    elif not (kind.is_numeric() or kind == pl.Boolean or kind == pl.Null):
        return pl.lit(None, pl.Float64)
    if kind.is_float() or kind == pl.String:
        column = column.fill_nan(None)
        if whole:
            return pl.when(column == column.round()).then(column)
    return column


def _bool(column: pl.Expr, kind: pl.DataType) -> pl.Expr:
    if kind in (pl.Boolean, pl.Null):
        return column
    if kind == pl.String:
        text = column.str.strip_chars().str.to_lowercase()
        return text.replace_strict({"true": True, "1": True, "false": False, "0": False}, default=None, return_dtype=pl.Boolean)
    if kind.is_numeric():
        return pl.when(column == 1).then(True).when(column == 0).then(False)
    return pl.lit(None, pl.Boolean)


def _time(column: pl.Expr, kind: pl.DataType) -> pl.Expr:
    if isinstance(kind, pl.Datetime):
        return column.dt.convert_time_zone("UTC") if kind.time_zone else column.dt.replace_time_zone("UTC")
    if kind == pl.Date:
        return column.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    if kind == pl.String:
        text = column.str.strip_chars()
        # With a zone, without one (taken as UTC), or only a day.
        return pl.coalesce(
            text.str.to_datetime("%+", time_unit="us", time_zone="UTC", strict=False),
            text.str.replace("T", " ").str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us", time_zone="UTC", strict=False),
            text.str.replace("T", " ").str.to_datetime("%Y-%m-%d %H:%M", time_unit="us", time_zone="UTC", strict=False),
            text.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
        )
    return pl.lit(None, pl.Datetime("us", "UTC"))
