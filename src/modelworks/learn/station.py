"""Learn's verbs: put together what is known of every segment, keep what was decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import ColumnElement, Connection, func, insert, select

from modelworks.core.clock import Clock, midnight
from modelworks.core.plain import plain
from modelworks.core.ref import Segment, parse_segment, segment_text
from modelworks.learn.budget import Budget, Limit, Spent
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
        budget: What all models together may spend in a day; anything by default.
    """

    def __init__(self, ledger: Ledger, clock: Clock, budget: Budget | None = None) -> None:
        self.ledger = ledger
        self.clock = clock
        self.budget = budget or Budget()
        self._tried: dict[str, _Tried] = {}

    def attempts(self, model: str) -> dict[Segment, Attempt]:
        """The last training of every segment that was ever trained, and how often in a row nothing came of it."""
        tried = self._tried.setdefault(model, _Tried())
        with self.ledger.read() as db:
            refused = _refused(db, model)
            last = tried.read(db, model)
        return {parse_segment(text): replace(one, refused=refused.get(text, 0)) for text, one in last.items()}

    def whole(self, now: datetime) -> list[Limit]:
        """What may be spent today on all models together; nothing where that is not limited."""
        if self.budget == Budget():
            return []
        since, c = midnight(now), campaigns.c
        # By way of the decisions, which have an index of their times.
        d = decisions.c
        begun = select(d.campaign).where(d.at >= since, d.action == "train", d.campaign.is_not(None))
        today = select(func.sum(c.seconds), func.sum(c.segments)).where(c.id.in_(begun), c.by == "policy")
        with self.ledger.read() as db:
            trainings = _acted(db, since)
            seconds, segments = db.execute(today).one()
        return [
            Limit(
                self.budget,
                Spent(trainings, seconds or 0.0, seconds / segments if segments else None),
                "the factory's",
            )
        ]

    def longest_ago(self) -> dict[str, datetime]:
        """When a training of each model was last begun."""
        query = select(campaigns.c.model, func.max(campaigns.c.created)).group_by(campaigns.c.model)
        with self.ledger.read() as db:
            return {row[0]: row[1] for row in db.execute(query)}

    def spent(self, model: str, now: datetime) -> Spent:
        """What the policy of a model has spent since midnight (UTC), and what a training took of late."""
        since, c = midnight(now), campaigns.c
        today = select(func.sum(c.seconds)).where(c.model == model, c.created >= since, c.by == "policy")
        late = select(c.seconds, c.segments).where(c.model == model, c.segments > 0)
        with self.ledger.read() as db:
            trainings = _acted(db, since, decisions.c.model == model)
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
        inputs: Mapping[str, int] | None = None,
    ) -> list[SegmentState]:
        """What is known of every segment that is live, or could be: see `states_of`."""
        query = select(deployments.c.segment).where(deployments.c.model == definition.name)
        with self.ledger.read() as db:
            live = {parse_segment(text) for text in db.scalars(query)}
        return states_of(
            definition,
            live,
            rows=rows,
            attempts=attempts,
            watches=watches,
            now=now,
            losses=losses,
            inputs=inputs,
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


def _acted(db: Connection, since: datetime, *where: ColumnElement[bool]) -> int:
    """Segments that were decided to be trained since then, and that was not closed before it was done."""
    d, closed = decisions.c, decisions.alias().c
    begun = (*where, d.at >= since, d.action == "train", d.campaign.is_not(None))
    taken_back = select(func.count(d.id.distinct())).where(
        *begun, closed.at >= since, closed.action == "close", closed.id > d.id,
        closed.model == d.model, closed.segment == d.segment, closed.campaign == d.campaign,
    )  # fmt: skip
    decided = db.scalar(select(func.count()).where(*begun)) or 0
    return decided - (db.scalar(taken_back) or 0)


class _Tried:
    """The last trainings of a model's segments, as far as this process has read them.

    Of a campaign that is over nothing comes any more, so it is read once: a look costs by what was trained since.
    """

    def __init__(self) -> None:
        self._last: dict[str, Attempt] = {}
        self._over: set[str] = set()
        self._lock = Lock()

    def read(self, db: Connection, model: str) -> dict[str, Attempt]:
        """By segment, as text."""
        c = campaigns.c
        query = select(c.id, c.created, c.finished).where(c.model == model).order_by(c.created)
        with self._lock:
            for campaign, created, finished in db.execute(query).all():
                if finished is not None and campaign in self._over:
                    continue
                plan = db.scalar(select(c.plan).where(c.id == campaign)) or {}
                told = dict(plan.get("inputs", {})), str(plan.get("code", ""))
                trained = select(runs.c.segment, runs.c.dataset_version).where(runs.c.campaign == campaign)
                for segment, version in db.execute(trained):
                    before = self._last.get(segment)
                    if before is None or before.at <= created:
                        newest = version if before is None else max(before.dataset_version, version)
                        self._last[segment] = Attempt(created, newest, 0, *told)
                (self._over.discard if finished is None else self._over.add)(campaign)
            return dict(self._last)


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
