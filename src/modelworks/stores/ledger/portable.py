"""What SQLite and PostgreSQL say differently: insert-or-update, one writer at a time, limits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, TypeVar

from sqlalchemy import Connection, Dialect, Float, Table, func, insert, select
from sqlalchemy.dialects import postgresql, sqlite

T = TypeVar("T")
_CHUNK = 500


def chunks(values: Iterable[T]) -> Iterator[list[T]]:
    """The values in parts that fit into one ``IN``: databases limit the parameters of a statement."""
    every = list(values)
    for start in range(0, len(every), _CHUNK):
        yield every[start : start + _CHUNK]


def upsert(
    db: Connection,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    keep: bool = False,
    by: Sequence[str] = (),
) -> None:
    """Insert rows; where the primary key is taken, overwrite the other columns given.

    Args:
        db: An open transaction.
        table: Where to.
        rows: Column values; all rows have the same columns.
        keep: Leave a row as it is where the primary key is taken.
        by: The columns of another unique key that counts instead.
    """
    if not rows:
        return
    statement = _upserting(db.dialect.name, table, tuple(rows[0]), keep, tuple(by))
    _execute_many(db, statement, table, rows)


@lru_cache(256)
def _upserting(dialect: str, table: Table, names: tuple[str, ...], keep: bool, by: tuple[str, ...]) -> Any:
    """The statement: building one costs more than executing it for a row."""
    key = by or tuple(column.name for column in table.primary_key)
    statement: Any = (sqlite if dialect == "sqlite" else postgresql).insert(table)
    others = {name: statement.excluded[name] for name in names if name not in key}
    if keep or not others:
        return statement.on_conflict_do_nothing(index_elements=key)
    return statement.on_conflict_do_update(index_elements=key, set_=others)


def insert_many(db: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows; all have the same columns."""
    if rows:
        _execute_many(db, _inserting(table), table, rows)


@lru_cache(256)
def _inserting(table: Table) -> Any:
    return insert(table)


def _execute_many(db: Connection, statement: Any, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Execute a statement for each row.

    Where no value has to be made into another one, the driver gets the rows as they are: SQLAlchemy's own way
    costs as much again as SQLite does for a narrow row.
    """
    names = tuple(rows[0])
    compiled = _compiled(db.dialect, statement, table, names)
    if compiled is None:
        db.execute(statement, [dict(row) for row in rows])
        return
    if compiled.positional:
        pick = itemgetter(*compiled.positiontup) if len(names) > 1 else None
        given: Any = [pick(row) if pick else (row[names[0]],) for row in rows]
    else:
        given = [dict(row) for row in rows]
    db.exec_driver_sql(compiled.string, given)


@lru_cache(256)
def _compiled(dialect: Dialect, statement: Any, table: Table, names: tuple[str, ...]) -> Any:
    """The statement as the driver takes it; ``None`` where values have to be made into others."""
    kinds = [table.c[name].type.dialect_impl(dialect) for name in names]
    made = any(kind.bind_processor(dialect) for kind in kinds if not isinstance(kind, Float))
    if made or any(column.default is not None for column in table.c if column.name not in names):
        return None
    return statement.compile(dialect=dialect, column_keys=list(names))


def queue_up(db: Connection, what: str) -> None:
    """Wait until no other transaction is between `queue_up` of the same `what` and its end.

    For numbers without gaps in their meaning: versions, revisions. A write on SQLite is alone already.
    """
    if db.dialect.name == "postgresql":
        db.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"modelworks.{what}", 0))))
