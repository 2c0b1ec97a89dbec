"""Ledgers as earlier versions left them, with what is in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Engine, MetaData, Table, inspect, select, text

from modelworks.stores.ledger.migrations.first import schema

TABLES = ("checkpoints", "leases", "truths")
COLUMNS = {
    "campaigns": ("plan", "by", "seconds", "closed"),
    "alerts": ("acknowledged", "acknowledged_by", "snoozed"),
}
"""What the ledgers of 26 November 2026 did not have yet."""


def make_older(
    engine: Engine, tables: Sequence[str] = TABLES, columns: Mapping[str, Sequence[str]] = COLUMNS
) -> None:
    """Give a ledger, which may be empty, the schema of revision 0001 without some tables and columns; keep its rows."""
    with engine.begin() as db:
        there = {name: inspect(db).get_columns(name) for name in inspect(db).get_table_names()}
        for name in there:
            db.execute(text(f'create table "held_{name}" as select * from "{name}"'))
            db.execute(text(f'drop table "{name}"'))
        schema.create_all(db)
        for name in schema.tables:
            both = [f'"{one["name"]}"' for one in there.get(name, ()) if one["name"] in schema.tables[name].c]
            if both:
                these = ", ".join(both)
                db.execute(text(f'insert into "{name}" ({these}) select {these} from "held_{name}"'))
        for name in there:
            db.execute(text(f'drop table "held_{name}"'))
        for table, names in columns.items():
            for column in names:
                db.execute(text(f'alter table "{table}" drop column "{column}"'))
        for table in tables:
            db.execute(text(f'drop table "{table}"'))
        db.execute(text("create table alembic_version (version_num varchar(32) not null primary key)"))
        db.execute(text("insert into alembic_version values ('0001')"))


def content(engine: Engine) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table, whatever the schema."""
    found = {}
    with engine.connect() as db:
        for name in inspect(db).get_table_names():
            table = Table(name, MetaData(), autoload_with=db)
            rows = [dict(row) for row in db.execute(select(table)).mappings()]
            key = [column.name for column in table.primary_key]
            found[name] = sorted(rows, key=lambda row: [str(row[one]) for one in key])
    return found
