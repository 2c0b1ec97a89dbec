"""What SQLite and PostgreSQL say differently: insert-or-update, one writer at a time, limits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, TypeVar

from sqlalchemy import Connection, Dialect, Float, Table, func, insert, select
from sqlalchemy.dialects import postgresql, sqlite

T = TypeVar("T")
Taken = Literal["", "keep", "overwrite"]
"""What becomes of a row whose key is taken; ``""``: it must not be."""
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
    _write_many(db, table, rows, "keep" if keep else "overwrite", tuple(by))


def insert_many(db: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows; all have the same columns."""
    _write_many(db, table, rows, "")


def _write_many(
    db: Connection,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    taken: Taken,
    by: tuple[str, ...] = (),
) -> None:
    """Give the rows to the driver, values made into what it takes.

    SQLAlchemy's own way of doing it costs as much again as SQLite does for a narrow row, and the making of a
    statement as much as the writing of ten rows.
    """
    if not rows:
        return
    names = tuple(rows[0])
    if any(column.default is not None for column in table.c if column.name not in names):
        statement = _statement(db.dialect.name, table, names, taken, by)
        db.execute(statement, [dict(row) for row in rows])
        return
    text, order, makers = _compiled(db.dialect, table, names, taken, by)
    values: list[Any] = [[make(row[name]) if make else row[name] for name, make in makers] for row in rows]
    if order is None:
        db.exec_driver_sql(text, [dict(zip(names, row, strict=True)) for row in values])
    else:
        db.exec_driver_sql(text, [tuple(row[place] for place in order) for row in values])


@lru_cache(maxsize=256)
def _compiled(
    dialect: Dialect, table: Table, names: tuple[str, ...], taken: Taken, by: tuple[str, ...]
) -> tuple[str, tuple[int, ...] | None, list[tuple[str, Any]]]:
    """The text of a statement, where its values stand, and what makes a column's values into the driver's."""
    kinds = [(name, table.c[name].type.dialect_impl(dialect)) for name in names]
    makers = [
        (name, None if isinstance(kind, Float) else kind.bind_processor(dialect)) for name, kind in kinds
    ]
    statement = _statement(dialect.name, table, names, taken, by)
    compiled: Any = statement.compile(dialect=dialect, column_keys=list(names))
    order = tuple(names.index(name) for name in compiled.positiontup) if compiled.positional else None
    return compiled.string, order, makers


def _statement(dialect: str, table: Table, names: tuple[str, ...], taken: Taken, by: tuple[str, ...]) -> Any:
    if not taken:
        return insert(table)
    key = by or tuple(column.name for column in table.primary_key)
    statement = (sqlite if dialect == "sqlite" else postgresql).insert(table)
    others = {name: statement.excluded[name] for name in names if name not in key}
    if taken == "keep" or not others:
        return statement.on_conflict_do_nothing(index_elements=key)
    return statement.on_conflict_do_update(index_elements=key, set_=others)


def queue_up(db: Connection, what: str) -> None:
    """Wait until no other transaction is between `queue_up` of the same `what` and its end.

    For numbers without gaps in their meaning: versions, revisions. A write on SQLite is alone already.
    """
    if db.dialect.name == "postgresql":
        db.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"modelworks.{what}", 0))))
