"""A query as SQL, the same for SQLite and PostgreSQL.

What was logged stands in `run_values`, with an index on the field and the value: an index over JSON would need one
for each name. A condition that few runs fulfil picks their ids out of that index; one that many fulfil would pick
half the table, and is asked of each run in turn instead, until the limit is reached. Which it is, a look at the
index tells. What a run lacks fulfils no condition, and so fulfils its ``not``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Boolean, ColumnElement, Connection, Float, and_, false, func, not_, or_, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction

from modelworks.stores.ledger.tables import run_values, runs
from modelworks.track.query.words import Both, Compare, Condition, Field, Not, Value

_FEW = 2_000
"""Runs up to which picking their ids is the cheaper way."""


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


class matches(GenericFunction[bool]):  # noqa: N801
    """Whether a text is like a pattern, small and capital letters being the same."""

    type = Boolean()
    inherit_cache = True


@compiles(matches, "sqlite")
def _like(element: Any, compiler: Any, **kw: Any) -> str:
    text, pattern = (compiler.process(one, **kw) for one in element.clauses)
    return f"({text} LIKE {pattern})"  # it is so there, and can use an index on the text


@compiles(matches, "postgresql")
def _ilike(element: Any, compiler: Any, **kw: Any) -> str:
    text, pattern = (compiler.process(one, **kw) for one in element.clauses)
    return f"({text} ILIKE {pattern})"


class resembles(GenericFunction[bool]):  # noqa: N801
    """Whether a text is like a pattern, small and capital letters being different: text, pattern, as GLOB."""

    type = Boolean()
    inherit_cache = True


@compiles(resembles, "sqlite")
def _glob(element: Any, compiler: Any, **kw: Any) -> str:
    text, _, pattern = (compiler.process(one, **kw) for one in element.clauses)
    return f"({text} GLOB {pattern})"


@compiles(resembles, "postgresql")
def _exactly(element: Any, compiler: Any, **kw: Any) -> str:
    text, pattern, _ = (compiler.process(one, **kw) for one in element.clauses)
    return f"({text} LIKE {pattern})"


def condition(given: Condition, compare: Callable[[Compare], ColumnElement[bool]]) -> ColumnElement[bool]:
    """What must hold, as SQL; `compare` makes it of a single comparison."""
    match given:
        case Both(by, left, right):
            return (and_ if by == "and" else or_)(condition(left, compare), condition(right, compare))
        case Not(inner):
            return not_(func.coalesce(condition(inner, compare), false()))
        case Compare():
            return compare(given)


def of_rows(where: Callable[[Field], ColumnElement[Any]]) -> Callable[[Compare], ColumnElement[bool]]:
    """Comparisons of what stands in a row itself: `where` gives the column of a field."""
    return lambda given: _compared(where(given.field), given.by, given.values)


def of_runs(db: Connection) -> Callable[[Compare], ColumnElement[bool]]:
    """Comparisons of runs; `db` is looked at to see how many fulfil them."""

    def compare(given: Compare) -> ColumnElement[bool]:
        field, by, values = given.field, given.by, given.values
        if not field.kind:
            return _compared(column(field), by, values)
        query = select(run_values.c.run).where(run_values.c.field == f"{field.kind}.{field.name}")
        if by == "null":
            return not_(query.where(run_values.c.run == runs.c.id).correlate(runs).exists())
        query = query.where(having(by, values))
        few = select(func.count()).select_from(query.limit(_FEW + 1).subquery())
        if (db.scalar(few) or 0) <= _FEW:
            return runs.c.id.in_(query)
        return query.where(run_values.c.run == runs.c.id).correlate(runs).exists()

    return compare


def having(by: str, values: tuple[Value, ...]) -> ColumnElement[bool]:
    """A logged value agrees."""
    v = run_values.c
    numbers = tuple(value for value in values if isinstance(value, float))
    texts = tuple(value for value in values if isinstance(value, str))
    if by == "in":
        return or_(*(left.in_(some) for left, some in ((v.number, numbers), (v.text, texts)) if some))
    if by == "!=" and numbers:  # a parameter that is no number differs from every number
        return or_(v.number != numbers[0], v.number.is_(None))
    if by.startswith("like"):
        return and_(v.text.is_not(None), _compared(v.text, by, values))
    return _compared(v.number if numbers else v.text, by, values)


def _compared(left: ColumnElement[Any], by: str, values: tuple[Value, ...]) -> ColumnElement[bool]:
    if by == "null":
        return left.is_(None)
    if by == "in":
        return left.in_(values)
    if by == "like":
        return matches(left, str(values[0]))
    if by == "like exactly":
        pattern = str(values[0])
        literal = "".join(f"[{one}]" if one in "*?[" else one for one in pattern)
        return resembles(left, pattern, literal.replace("%", "*").replace("_", "?"))
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
