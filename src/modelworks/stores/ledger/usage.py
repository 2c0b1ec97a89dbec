"""Seconds of processors that the models' work took, by day."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, func, select

from modelworks.core.clock import midnight
from modelworks.stores.ledger.portable import chunks, queue_up, upsert
from modelworks.stores.ledger.tables import usage

Kind = Literal["serve", "watch"]
"""Answering; observing and judging. What training took stands with the campaigns."""


def add(db: Connection, kind: Kind, spent: Mapping[str, tuple[float, int]], now: datetime) -> None:
    """Add to what was spent today.

    Args:
        db: An open transaction.
        kind: On what.
        spent: Seconds and rows, by model; of the name ``""`` what cannot be told apart.
        now: The moment.
    """
    if not spent:
        return
    start = midnight(now)
    queue_up(db, "usage")
    u = usage.c
    so_far: dict[str, tuple[float, int]] = {}
    for some in chunks(spent):
        query = select(u.model, u.seconds, u.rows).where(u.start == start, u.kind == kind, u.model.in_(some))
        so_far |= {row.model: (row.seconds, row.rows) for row in db.execute(query)}
    upsert(
        db,
        usage,
        [
            {
                "model": model,
                "start": start,
                "kind": kind,
                "seconds": seconds + so_far.get(model, (0.0, 0))[0],
                "rows": rows + so_far.get(model, (0.0, 0))[1],
            }
            for model, (seconds, rows) in spent.items()
        ],
    )


def total(db: Connection, start: datetime, end: datetime) -> dict[str, dict[str, tuple[float, int]]]:
    """Seconds and rows of the days from `start` until before `end`, by model and kind."""
    u = usage.c
    query = (
        select(u.model, u.kind, func.sum(u.seconds), func.sum(u.rows))
        .where(u.start >= start, u.start < end)
        .group_by(u.model, u.kind)
    )
    found: dict[str, dict[str, tuple[float, int]]] = {}
    for model, kind, seconds, rows in db.execute(query):
        found.setdefault(model, {})[kind] = (float(seconds), int(rows))
    return found
