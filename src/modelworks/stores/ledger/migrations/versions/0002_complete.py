"""What ledgers of revision 0001 lack that are older than its freezing.

Until then 0001 made the tables as the code of the day had them, so a ledger that is stamped with it may have any of
some forty schemas. No fixed sequence of steps fits them all. This one looks at what is there, compares it with what
0001 has come to be, and brings every table that differs to that; where nothing differs it does nothing.

A table that differs is made anew and its rows are copied, on both databases: SQLite can change little of a table in
place, and one way that is always the same is one way to test. A column that is in no use any more is kept and may
be empty from now on; a new one that may not be empty gets `FILL`, or what is empty of its kind.
"""

from __future__ import annotations

from typing import Any

from alembic import op
from alembic.autogenerate import produce_migrations
from alembic.operations.ops import DropTableOp
from alembic.runtime.migration import MigrationContext
from sqlalchemy import (
    JSON,
    Column,
    Connection,
    MetaData,
    Table,
    column,
    func,
    insert,
    inspect,
    literal,
    select,
    table,
    text,
)

from modelworks.stores.ledger.migrations.first import schema
from modelworks.stores.ledger.migrations.first.kinds import Serial

revision = "0002"
down_revision = "0001"

FILL: dict[tuple[str, str], Any] = {
    # A version of those days was the whole table at its own table version: an epoch of its own.
    ("dataset_versions", "epoch"): column("version"),
    # Then the same content was known by name, size and time alone.
    ("ingested", "content"): column("fingerprint"),
    ("campaigns", "artifacts"): [],
    ("campaigns", "by"): "person",
    ("tokens", "models"): [],
    ("truths", "served"): [0, 0.0, 0.0],
    ("truths", "control"): [0, 0.0, 0.0],
    ("truths", "foretold"): [0, 0.0, 0.0],
}
"""What old rows have in a new column: a value, or another column of theirs."""
_HELD = "held_by_0002"


def upgrade() -> None:
    """Make every table that is missing or differs into the one of `first`."""
    db = op.get_bind()
    found = produce_migrations(MigrationContext.configure(db), schema).upgrade_ops
    assert found is not None  # only of a script that was edited
    differ = {one.table_name for one in found.ops if not isinstance(one, DropTableOp)}  # type: ignore[attr-defined]
    there = set(inspect(db).get_table_names())
    for wanted in schema.sorted_tables:
        if wanted.name not in there:
            wanted.create(db)
        elif wanted.name in differ:
            _make_anew(db, wanted)


def _make_anew(db: Connection, wanted: Table) -> None:
    """Make a table anew and copy its rows."""
    old = {one["name"]: one["type"] for one in inspect(db).get_columns(wanted.name)}
    name = db.dialect.identifier_preparer.quote(wanted.name)
    db.execute(text(f"create table {_HELD} as select * from {name}"))  # noqa: S608 - both names are of the house
    db.execute(text(f"drop table {name}"))
    new = wanted.to_metadata(MetaData(naming_convention=schema.naming_convention))
    for unused in old.keys() - set(wanted.columns.keys()):
        new.append_column(Column(unused, old[unused]))
    new.create(db)
    given = {one.name: column(one.name) if one.name in old else _filled(one) for one in new.columns}
    given = {name: value for name, value in given.items() if value is not None}
    db.execute(insert(new).from_select(list(given), select(*given.values()).select_from(table(_HELD))))
    db.execute(text(f"drop table {_HELD}"))
    if db.dialect.name == "postgresql" and any(one.type is Serial for one in wanted.primary_key):
        newest = select(func.max(new.c.id)).scalar_subquery()
        db.execute(select(func.setval(func.pg_get_serial_sequence(wanted.name, "id"), newest)))


def _filled(new: Column[Any]) -> Any:
    """What stands in a new column of an old row; ``None`` for nothing."""
    if new.nullable:
        return None
    empty = {} if isinstance(new.type, JSON) else new.type.python_type()
    value = FILL.get((new.table.name, new.name), empty)
    return value if isinstance(value, column("").__class__) else literal(value, new.type)
