"""Learn's verbs: put together what is known of every segment, keep what was decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, exists, func, insert, select

from modelworks.core.clock import Clock
from modelworks.core.plain import plain
from modelworks.core.ref import Segment, parse_segment, segment_text
from modelworks.learn.budget import Spent
from modelworks.learn.policy import Decision
from modelworks.learn.states import Attempt, states_of
from modelworks.learn.triggers.port import SegmentState
from modelworks.models.definition import Definition
from modelworks.monitor.watch import Watch
from modelworks.stores.ledger import Ledger
from modelworks.stores.ledger.portable import chunks
from modelworks.stores.ledger.tables import campaigns, decisions, deployments, runs

_LATE = 20
"""Campaigns, the newest, by which the cost of a training is told."""
_NOTHING = ("refuse", "fail", "abandon")
_SOMETHING = ("promote", "wait")


class LearnStation:
    """Decisions about retraining, of one ledger.

    Args:
        ledger: Where they stand.
        clock: Gives the time.
    """

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self.ledger = ledger
        self.clock = clock

    def attempts(self, model: str) -> dict[Segment, Attempt]:
        """The last training of every segment that was ever trained, and how often in a row nothing came of it."""
        query = (
            select(runs.c.segment, func.max(campaigns.c.created), func.max(runs.c.dataset_version))
            .join(campaigns, campaigns.c.id == runs.c.campaign)
            .where(runs.c.name == model)
            .group_by(runs.c.segment)
        )
        with self.ledger.read() as db:
            refused = _refused(db, model)
            return {
                parse_segment(text): Attempt(at, version, refused.get(text, 0))
                for text, at, version in db.execute(query)
            }

    def spent(self, model: str, now: datetime) -> Spent:
        """What the policy of a model has spent since midnight (UTC), and what a training took of late."""
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        d, c = decisions.c, campaigns.c
        closed = decisions.alias()
        taken_back = exists().where(
            closed.c.model == model, closed.c.segment == d.segment, closed.c.at >= midnight,
            closed.c.action == "close", closed.c.campaign == d.campaign,
        )  # fmt: skip
        decided = select(func.count()).where(
            d.model == model, d.at >= midnight, d.action == "train", d.campaign.is_not(None), ~taken_back
        )
        today = select(func.sum(c.seconds)).where(c.model == model, c.created >= midnight, c.by == "policy")
        late = select(c.seconds, c.segments).where(c.model == model, c.segments > 0)
        with self.ledger.read() as db:
            trainings = db.scalar(decided) or 0
            seconds = db.scalar(today) or 0.0
            last = db.execute(late.order_by(c.created.desc()).limit(_LATE)).all()
        trained = sum(row.segments for row in last)
        each = sum(row.seconds for row in last) / trained if trained else None
        return Spent(trainings, seconds, each)

    def states(
        self,
        definition: Definition,
        *,
        rows: Mapping[Segment, tuple[int, int]],
        attempts: Mapping[Segment, Attempt],
        watches: Sequence[Watch],
        now: datetime,
        losses: Mapping[Segment, npt.NDArray[np.float64]] | None = None,
    ) -> list[SegmentState]:
        """What is known of every segment that is live, or could be: see `states_of`."""
        query = select(deployments.c.segment).where(deployments.c.model == definition.name)
        with self.ledger.read() as db:
            live = {parse_segment(text) for text in db.scalars(query)}
        return states_of(
            definition, live, rows=rows, attempts=attempts, watches=watches, now=now, losses=losses
        )

    def record(self, db: Connection, model: str, decided: Sequence[Decision], campaign: str | None) -> None:
        """Keep decisions, in the caller's transaction.

        That a segment has to wait is written once, not every time until it is trained: the decisions of a
        fleet grow with what happens to it, not with how often it is looked at.
        """
        waiting = self._waiting(db, model, [one.segment for one in decided if one.action == "hold"])
        rows = [
            {
                "model": model,
                "segment": segment_text(one.segment),
                "action": one.action,
                "trigger": one.trigger,
                "reason": one.reason,
                "evidence": plain(one.evidence),
                "campaign": campaign if one.action == "train" else None,
                "at": self.clock(),
            }
            for one in decided
            if one.action == "train" or segment_text(one.segment) not in waiting
        ]
        if rows:
            db.execute(insert(decisions), rows)

    def _waiting(self, db: Connection, model: str, segments: Sequence[Segment]) -> set[str]:
        """Those of `segments`, as text, of which the last that was written is that they have to wait."""
        found: set[str] = set()
        for texts in chunks(map(segment_text, segments)):
            last = (
                select(func.max(decisions.c.id))
                .where(decisions.c.model == model, decisions.c.segment.in_(texts))
                .group_by(decisions.c.segment)
            )
            query = select(decisions.c.segment).where(decisions.c.id.in_(last), decisions.c.action == "hold")
            found.update(db.scalars(query))
        return found

    def decisions(self, model: str | None = None, limit: int = 50) -> list[dict[str, Any]]:
        """The newest decisions, the newest first."""
        query = select(decisions).order_by(decisions.c.id.desc()).limit(limit)
        if model is not None:
            query = query.where(decisions.c.model == model)
        with self.ledger.read() as db:
            return [dict(row) for row in db.execute(query).mappings()]


def _refused(db: Connection, model: str) -> dict[str, int]:
    """By segment, as text: how many trainings brought nothing since one brought something."""
    d = decisions.c
    mine = (d.model == model, d.trigger != "person")
    last = select(d.segment, func.max(d.id).label("last")).where(*mine, d.action.in_(_SOMETHING))
    good = last.group_by(d.segment).subquery()
    query = (
        select(d.segment, func.count())
        .outerjoin(good, good.c.segment == d.segment)
        .where(*mine, d.action.in_(_NOTHING), d.id > func.coalesce(good.c.last, 0))
        .group_by(d.segment)
    )
    return {row[0]: row[1] for row in db.execute(query)}
