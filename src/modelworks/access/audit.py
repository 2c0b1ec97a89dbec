"""The audit trail: who did what, when."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select

from modelworks.core.plain import plain
from modelworks.stores.ledger.tables import audit


def record(db: Connection, at: datetime, who: str, verb: str, what: str, detail: Mapping[str, Any]) -> None:
    """Write one line in the caller's transaction."""
    db.execute(
        insert(audit).values(at=at, who=who[:120], verb=verb[:120], what=what[:1200], detail=plain(detail))
    )


def recent(db: Connection, limit: int = 50) -> list[dict[str, Any]]:
    """The newest lines, the newest first."""
    return [
        dict(row) for row in db.execute(select(audit).order_by(audit.c.id.desc()).limit(limit)).mappings()
    ]
