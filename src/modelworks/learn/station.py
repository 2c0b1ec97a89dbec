"""Learn's verbs: put together what is known of every segment, keep what was decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, insert, select

from modelworks.core.clock import Clock
from modelworks.core.plain import plain
from modelworks.core.ref import Segment, parse_segment, segment_text
from modelworks.learn.policy import Decision
from modelworks.learn.triggers.port import SegmentState
from modelworks.models.definition import Definition
from modelworks.monitor.watch import Watch
from modelworks.stores.ledger import Ledger
from modelworks.stores.ledger.tables import campaigns, decisions, deployments, runs


@dataclass(frozen=True)
class Attempt:
    """The last training of a segment, whatever came of it.

    Attributes:
        at: When.
        dataset_version: What it learned from.
    """

    at: datetime
    dataset_version: int


class LearnStation:
    """Decisions about retraining, of one ledger."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self.ledger = ledger
        self.clock = clock

    def attempts(self, model: str) -> dict[Segment, Attempt]:
        """The last training of every segment that was ever trained; one query."""
        query = (
            select(runs.c.segment, func.max(campaigns.c.created), func.max(runs.c.dataset_version))
            .join(campaigns, campaigns.c.id == runs.c.campaign)
            .where(runs.c.name == model)
            .group_by(runs.c.segment)
        )
        with self.ledger.read() as db:
            return {parse_segment(text): Attempt(at, version) for text, at, version in db.execute(query)}

    def states(
        self,
        definition: Definition,
        *,
        rows: Mapping[Segment, tuple[int, int]],
        attempts: Mapping[Segment, Attempt],
        watches: Sequence[Watch],
        now: datetime,
    ) -> list[SegmentState]:
        """What is known of every segment that has a model, or rows enough for one.

        Args:
            definition: Of the model.
            rows: Usable rows of each segment, all and new since its last training.
            attempts: From `attempts`.
            watches: From the monitor.
            now: The moment of the decision.
        """
        with self.ledger.read() as db:
            live = set(map(parse_segment, db.scalars(select(deployments.c.segment).where(deployments.c.model == definition.name))))
        seen = {watch.segment: watch for watch in watches}
        found = []
        for segment in sorted(live | {segment for segment, (total, _) in rows.items() if total >= definition.min_rows}):
            total, new = rows.get(segment, (0, 0))
            attempt, watch = attempts.get(segment), seen.get(segment)
            found.append(
                SegmentState(
                    segment=segment, now=now, live=segment in live, tried=attempt.at if attempt else None,
                    rows=total, new_rows=new, min_rows=definition.min_rows,
                    labelled=watch.labelled if watch else 0, loss=watch.loss if watch else None,
                    loss_error=watch.loss_error if watch else None, promised=watch.promised if watch else None,
                    shifted=watch.shifted if watch else (), psi=watch.psi if watch else {},
                )
            )  # fmt: skip
        return found

    def record(self, db: Connection, model: str, decided: Sequence[Decision], campaign: str | None) -> None:
        """Keep the decisions to train, in the caller's transaction.

        What holds back is not written: it would be a row a day for as long as the reason lasts.
        """
        rows = [
            {
                "model": model, "segment": segment_text(one.segment), "action": one.action, "trigger": one.trigger,
                "reason": one.reason, "evidence": plain(one.evidence), "campaign": campaign, "at": self.clock(),
            }
            for one in decided
            if one.action == "train"
        ]  # fmt: skip
        if rows:
            db.execute(insert(decisions), rows)

    def decisions(self, model: str | None = None, limit: int = 50) -> list[dict[str, Any]]:
        """The newest decisions, the newest first."""
        query = select(decisions).order_by(decisions.c.id.desc()).limit(limit)
        if model is not None:
            query = query.where(decisions.c.model == model)
        with self.ledger.read() as db:
            return [dict(row) for row in db.execute(query).mappings()]
