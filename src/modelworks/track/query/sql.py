"""A query as SQL, the same for SQLite and PostgreSQL.

A condition on what was logged picks ids out of `run_values`, by its index on the field and the value: an index
over JSON would need one for each name. What a run lacks fulfils no condition, and so fulfils its ``not``.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Float, and_, false, func, not_, or_, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction

from modelworks.stores.ledger.tables import run_values, runs
from modelworks.track.query.words import Both, Compare, Condition, Field, Not, Value


class seconds_between(GenericFunction[float]):  # noqa: N801 - it is a function of SQL
    """The seconds from one moment to another."""

    type = Float()
    inherit_cache = True


@compiles(seconds_between, "sqlite")
def _sqlite(element: Any, compiler: Any, **kw: Any) -> str:
    begin, end = (compiler.process(one, **kw) for one in element.clauses)
    return f"((julianday({end}) - julianday({begin})) * 86400.0)"


@compiles(seconds_between, "postgresql")
def _postgresql(element: Any, compiler: Any, **kw: Any) -> str:
    begin, end = (compiler.process(one, **kw) for one in element.clauses)
    return f"extract(epoch from ({end} - {begin}))::float8"


def condition(given: Condition) -> ColumnElement[bool]:
    """What must hold, as SQL."""
    match given:
        case Both(by, left, right):
            return (and_ if by == "and" else or_)(condition(left), condition(right))
        case Not(inner):
            return not_(func.coalesce(condition(inner), false()))
        case Compare(field, by, values):
            if not field.kind:
                return _compared(column(field), by, values)
            return runs.c.id.in_(_having(field, by, values))


def _having(field: Field, by: str, values: tuple[Value, ...]) -> Any:
    """The ids of the runs whose logged value agrees."""
    v = run_values.c
    query = select(v.run).where(v.field == f"{field.kind}.{field.name}")
    if by == "null":
        everybody = select(runs.c.id)
        return everybody.where(runs.c.id.not_in(query))
    numbers = tuple(value for value in values if isinstance(value, float))
    texts = tuple(value for value in values if isinstance(value, str))
    if by == "in":
        return query.where(
            or_(*(left.in_(some) for left, some in ((v.number, numbers), (v.text, texts)) if some))
        )
    if by == "!=" and numbers:  # a parameter that is no number differs from every number
        return query.where(or_(v.number != numbers[0], v.number.is_(None)))
    return query.where(_compared(v.number if numbers else v.text, by, values))


def _compared(left: ColumnElement[Any], by: str, values: tuple[Value, ...]) -> ColumnElement[bool]:
    if by == "null":
        return left.is_(None)
    if by == "in":
        return left.in_(values)
    if by == "like":
        return left.ilike(str(values[0]))
    signs: dict[str, Any] = {
        "=": left == values[0],
        "!=": left != values[0],
        "<": left < values[0],
        "<=": left <= values[0],
        ">": left > values[0],
        ">=": left >= values[0],
    }
    return signs[by]  # type: ignore[no-any-return]


def column(field: Field) -> ColumnElement[Any]:
    """What a run has of itself."""
    if field.name == "duration":
        return seconds_between(runs.c.started, runs.c.ended)
    return runs.c[field.name]
