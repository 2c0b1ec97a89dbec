"""A campaign: what one decision to train makes, how far it is, and what of it is left after a kill.

Its key is the digest of what would be trained on what. A campaign that was killed is found again by its key, and
only the segments that it had not finished are run. One process works at a campaign at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, insert, select, update

from modelworks.core.clock import new_id
from modelworks.core.plain import to_json
from modelworks.core.ref import Segment, parse_segment
from modelworks.models.definition import Definition
from modelworks.pipelines.context import Stations
from modelworks.stores.ledger.engine import Ledger
from modelworks.stores.ledger.tables import campaigns, runs


@dataclass(frozen=True)
class Going:
    """A campaign that is not finished.

    Attributes:
        model: What it trains.
        campaign: Its id.
        reason: Why.
        done: Segments that are written down, failed ones included.
        total: Segments in all; 0 while that is not known.
        left: Seconds until all will be done, as it looked when something was last written down.
        created: When it was begun.
        running: Whether a process is at it; if none is, the next training of the same goes on with it.
    """

    model: str
    campaign: str
    reason: str
    done: int
    total: int
    left: float | None
    created: datetime
    running: bool


def begin(
    db: Connection,
    stations: Stations,
    definition: Definition,
    version: int,
    *,
    segments: Sequence[str] | None,
    params: Mapping[str, Any],
    force: bool,
    reason: str,
    campaign: str | None,
) -> tuple[str, bool]:
    """The campaign of this work, or a new one; and whether it is finished."""
    what: list[Any] = [
        definition.name,
        definition.code,
        definition.dataset,
        version,
        None if segments is None else sorted(segments),
        *([params] if params else []),
    ]
    key = sha256(to_json([*what, new_id()] if force else what)).hexdigest()
    found = db.execute(select(campaigns.c.id, campaigns.c.status).where(campaigns.c.key == key)).one_or_none()
    if found is not None:
        return found.id, found.status == "finished"
    identifier = campaign or new_id()
    db.execute(
        insert(campaigns).values(
            id=identifier,
            model=definition.name,
            key=key,
            reason=reason,
            dataset=definition.dataset,
            dataset_version=version,
            segments=0,
            total=0,
            artifacts=[],
            status="running",
            created=stations.clock(),
        )
    )
    return identifier, False


@contextmanager
def alone(stations: Stations, campaign: str) -> Iterator[None]:
    """Wait until nobody else works at a campaign, then be the only one who does."""
    with stations.stores.ledger.alone(_lock(campaign)):
        yield


def finished(db: Connection, campaign: str) -> set[Segment]:
    """The segments that are done with, whether they got a model or not."""
    rows = db.scalars(select(runs.c.segment).where(runs.c.campaign == campaign))
    return {parse_segment(text) for text in rows}


def keep(db: Connection, campaign: str, **values: Any) -> None:
    """Write down how far it is."""
    db.execute(update(campaigns).where(campaigns.c.id == campaign).values(values))


def claim(db: Connection, campaign: str, digests: Sequence[str]) -> None:
    """Note artifacts that its runs will refer to, so that they are kept until then."""
    before = db.scalar(select(campaigns.c.artifacts).where(campaigns.c.id == campaign)) or []
    keep(db, campaign, artifacts=sorted({*before, *digests}))


def going(ledger: Ledger) -> list[Going]:
    """The campaigns that are not finished, the newest first."""
    query = select(campaigns).where(campaigns.c.status == "running").order_by(campaigns.c.created.desc())
    with ledger.read() as db:
        rows = db.execute(query).all()
    return [
        Going(
            row.model,
            row.id,
            row.reason,
            row.segments,
            row.total,
            row.left,
            row.created,
            ledger.held(_lock(row.id)),
        )
        for row in rows
    ]


def _lock(campaign: str) -> str:
    return f"train {campaign}"
