"""A campaign: what one decision to train makes, how far it is, and what of it is left after a kill.

Its row holds the whole plan, resolved, and is written with the decisions that want it; so whoever finds it later,
after a kill or after the code was changed, knows what is to be done. Its key is the digest of what is trained on
what: asking for the same work twice is asking for one campaign. One process at a time works at it, under a lease.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any, Literal

from sqlalchemy import Connection, Row, insert, select, update

from modelworks.core.clock import new_id
from modelworks.core.plain import to_json
from modelworks.core.ref import Segment, parse_segment, segment_text
from modelworks.models.definition import Definition
from modelworks.pipelines.context import Stations
from modelworks.stores.ledger.engine import Ledger
from modelworks.stores.ledger.tables import campaigns, decisions, runs
from modelworks.train.tuning import Tuned

ATTEMPTS = 5
"""Attempts in a row that may end with the death of their process before anything was written down."""
_GOING = campaigns.c.finished.is_(None)


@dataclass(frozen=True)
class Plan:
    """What is to be trained, so that it comes out the same whenever it is done.

    Attributes:
        code: Digest of the definition.
        inputs: The datasets with their versions.
        segments: Which, as text; ``None`` for every one with enough rows and all parents.
        scratch: Begin anew, also where the model goes on from its champion.
        tuned: Parameters that were searched, and the run that found them, by segment.
    """

    code: str
    inputs: Mapping[str, int]
    segments: Sequence[str] | None = None
    scratch: bool = False
    tuned: Mapping[Segment, Tuned] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As it stands in the ledger."""
        return {
            "code": self.code,
            "inputs": dict(self.inputs),
            "segments": None if self.segments is None else sorted(self.segments),
            "scratch": self.scratch,
            "tuned": {
                segment_text(one): [dict(found.params), found.run] for one, found in self.tuned.items()
            },
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Plan:
        """The inverse of `to_json`."""
        tuned = {parse_segment(text): Tuned(params, run) for text, (params, run) in told["tuned"].items()}
        return cls(told["code"], told["inputs"], told["segments"], told["scratch"], tuned)


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
        running: Whether a process is at it; if none is, the next turn of the loop, or the next training of the same,
            goes on with it.
        stopped: Whether a person has stopped it; then only a training of the same goes on with it.
        segments: Those that it trains, as text; ``None`` for all.
        code: Digest of the definition that it was decided for; ``""`` where its plan was not kept.
        attempts: How many attempts have ended with the death of their process, and nothing written down; the one
            that runs is counted with them.
    """

    model: str
    campaign: str
    reason: str
    done: int
    total: int
    left: float | None
    created: datetime
    running: bool
    stopped: bool
    segments: tuple[str, ...] | None
    code: str
    attempts: int


def begin(
    db: Connection,
    stations: Stations,
    definition: Definition,
    plan: Plan,
    *,
    force: bool = False,
    reason: str,
    by: Literal["policy", "person"] = "person",
) -> tuple[str, bool]:
    """The campaign of this work, or a new one, in the caller's transaction; and whether it is finished."""
    version = plan.inputs[definition.dataset]
    params = {segment_text(segment): one.params for segment, one in plan.tuned.items()}
    what: list[Any] = [
        definition.name,
        plan.code,
        definition.dataset,
        version,
        None if plan.segments is None else sorted(plan.segments),
        *([params] if params else []),
    ]
    key = sha256(to_json([*what, new_id()] if force or plan.scratch else what)).hexdigest()
    kept = select(campaigns.c.id, campaigns.c.status, campaigns.c.plan).where(campaigns.c.key == key)
    found = db.execute(kept).one_or_none()
    if found is not None:
        if found.status in ("stopped", "closed"):  # it is wanted again
            keep(db, found.id, status="running", finished=None, closed=None, attempts=0)
        if not found.plan:  # it was begun when plans were not kept
            keep(db, found.id, plan=plan.to_json())
        return found.id, found.status == "finished"
    identifier = new_id()
    db.execute(
        insert(campaigns).values(
            id=identifier,
            model=definition.name,
            key=key,
            reason=reason,
            dataset=definition.dataset,
            dataset_version=version,
            plan=plan.to_json(),
            by=by,
            segments=0,
            total=0,
            artifacts=[],
            status="running",
            created=stations.clock(),
        )
    )
    return identifier, False


def lease(campaign: str) -> str:
    """What the lease is called under which a process works at a campaign."""
    return f"train {campaign}"


def stands(db: Connection, campaign: str) -> Row[Any]:
    """A campaign as it is written down."""
    return db.execute(select(campaigns).where(campaigns.c.id == campaign)).one()


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


def close(db: Connection, stations: Stations, one: Going, reason: str) -> None:
    """End a campaign that will not be finished, and say so of every segment that it was decided for."""
    wanted = select(decisions.c.segment).where(
        decisions.c.campaign == one.campaign, decisions.c.action == "train"
    )
    left = Counter(db.scalars(wanted)).keys() - {segment_text(done) for done in finished(db, one.campaign)}
    keep(db, one.campaign, status="closed", closed=reason, finished=stations.clock())
    rows = [
        {
            "model": one.model,
            "segment": segment,
            "action": "close",
            "trigger": "code",
            "reason": f"its training was not begun: {reason}",
            "evidence": {},
            "campaign": one.campaign,
            "at": stations.clock(),
        }
        for segment in sorted(left)
    ]
    if rows:
        db.execute(insert(decisions), rows)


def going(ledger: Ledger, model: str | None = None) -> list[Going]:
    """The campaigns that are not finished, of one model or all, the newest first."""
    query = select(campaigns).where(_GOING).order_by(campaigns.c.created.desc())
    if model is not None:
        query = query.where(campaigns.c.model == model)
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
            ledger.leases.held(lease(row.id)),
            row.status == "stopped",
            None if row.plan.get("segments") is None else tuple(row.plan["segments"]),
            row.plan.get("code", ""),
            row.attempts,
        )
        for row in rows
    ]
