"""Rules over the values of one column."""

from __future__ import annotations

import polars as pl

from modelworks.core.schema import Field, Kind
from modelworks.data.checks.port import Check, raw


def _type(field: Field) -> pl.Expr:
    return pl.col(raw(field.name)).is_not_null() & pl.col(field.name).is_null()


def _null(field: Field) -> pl.Expr | None:
    return None if field.nullable else pl.col(field.name).is_null()


def _finite(field: Field) -> pl.Expr | None:
    return pl.col(field.name).is_infinite().fill_null(value=False) if field.kind is Kind.NUMBER else None


def _range(field: Field) -> pl.Expr | None:
    column, rules = pl.col(field.name), []
    if field.min is not None:
        rules.append(column < field.min)
    if field.max is not None:
        rules.append(column > field.max)
    return pl.any_horizontal(rules).fill_null(value=False) if rules else None


def _allowed(field: Field) -> pl.Expr | None:
    if not field.allowed:
        return None
    column = pl.col(field.name)
    return column.is_not_null() & ~column.is_in(list(field.allowed)).fill_null(value=False)


def _bounds(field: Field) -> str:
    low = "" if field.min is None else f"at least {field.min:g}"
    high = "" if field.max is None else f"at most {field.max:g}"
    return f"is not {' and '.join(bound for bound in (low, high) if bound)}"


def _kind(field: Field) -> str:
    return f"is not {'an' if field.kind is Kind.INTEGER else 'a'} {field.kind}"


TYPE = Check("type", _type, _kind)
NULL = Check("null", _null, lambda field: "is missing")
FINITE = Check("finite", _finite, lambda field: "is infinite")
RANGE = Check("range", _range, _bounds, spares=True)
ALLOWED = Check("allowed", _allowed, lambda field: f"is none of {', '.join(field.allowed[:10])}", spares=True)
