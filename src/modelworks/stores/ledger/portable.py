"""What SQLite and PostgreSQL say differently: insert-or-update, one writer at a time, limits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, Table, func, select
from sqlalchemy.dialects import postgresql, sqlite

T = TypeVar("T")
_CHUNK = 500


def chunks(values: Iterable[T]) -> Iterator[list[T]]:
    """The values in parts that fit into one ``IN``: databases limit the parameters of a statement."""
    every = list(values)
    for start in range(0, len(every), _CHUNK):
        yield every[start : start + _CHUNK]


def upsert(db: Connection, table: Table, rows: Sequence[Mapping[str, Any]], keep: bool = False) -> None:
    """Insert rows; where the primary key is taken, overwrite the other columns given.

    Args:
        db: An open transaction.
        table: Where to.
        rows: Column values; all rows have the same columns.
        keep: Leave a row as it is where the primary key is taken.
    """
    if not rows:
        return
    key = [column.name for column in table.primary_key]
    insert = (sqlite if db.dialect.name == "sqlite" else postgresql).insert
    statement: Any = insert(table)
    others = {name: statement.excluded[name] for name in rows[0] if name not in key}
    if keep or not others:
        statement = statement.on_conflict_do_nothing(index_elements=key)
    else:
        statement = statement.on_conflict_do_update(index_elements=key, set_=others)
    db.execute(statement, [dict(row) for row in rows])


def queue_up(db: Connection, what: str) -> None:
    """Wait until no other transaction is between `queue_up` of the same `what` and its end.

    For numbers without gaps in their meaning: versions, revisions. A write on SQLite is alone already.
    """
    if db.dialect.name == "postgresql":
        db.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"modelworks.{what}", 0))))
