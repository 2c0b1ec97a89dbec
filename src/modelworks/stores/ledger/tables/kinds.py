"""The kinds of columns that tables share, and what they are all entered in."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    DateTime,
    Dialect,
    Integer,
    MetaData,
    String,
    TypeDecorator,
    text,
)


class Utc(TypeDecorator[datetime]):
    """A moment in UTC; SQLite keeps no time zones, so it is dropped on the way in and put back on the way out."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To naive UTC."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """To aware UTC."""
        return None if value is None else value.replace(tzinfo=UTC)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
Serial = BigInteger().with_variant(Integer, "sqlite")
Name = String(120)
Segment = String(1000)
Digest = String(64)
Id = String(32)
Field = String(250)


def where(condition: str) -> dict[str, Any]:
    """An index of only some rows, on either database."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}
