"""Deploy's verbs: promote, roll back, show what should be running and what was. Desired state only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, func, select

from modelworks.core.clock import Clock
from modelworks.core.errors import Conflict, NotFound
from modelworks.core.ref import Ref, Segment, parse_segment, segment_text
from modelworks.deploy import rollouts
from modelworks.deploy.deployment import Change, Deployment, Promotion
from modelworks.deploy.strategies import strategy_of
from modelworks.deploy.strategies.port import Observation, Rollout, Step
from modelworks.registry.missing import archived
from modelworks.registry.model_version import CHAMPION
from modelworks.registry.rows import Key, near
from modelworks.stores.ledger import Ledger
from modelworks.stores.ledger.portable import chunks, insert_many, queue_up, upsert
from modelworks.stores.ledger.tables import aliases, deployment_history, deployments, model_versions


class DeployStation:
    """The deployments of one ledger.

    Args:
        ledger: Where they stand; servers watch its revision and follow.
        clock: Gives the time.
    """

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self.ledger = ledger
        self.clock = clock

    def promote_many(self, db: Connection, promotions: Sequence[Promotion]) -> list[Deployment]:
        """Make versions the champions of their segments, together.

        Each gets a revision of its own, above all that were given before; the alias ``champion`` moves with
        it. Promoting what is champion already changes nothing. A rollout that goes on for a segment that gets
        another champion is over.

        Args:
            db: An open transaction; nobody else deploys until it ends, so revisions are seen in order.
            promotions: What to promote; of several for one segment the last one stays.

        Returns:
            The deployments, in the order of the promotions.

        Raises:
            NotFound: a version that is not registered; nothing is promoted then.
            Conflict: one that is archived.
        """
        if not promotions:
            return []
        queue_up(db, "deploy")
        keys = [(one.model, segment_text(one.segment)) for one in promotions]
        self._check(db, keys, promotions)
        revision = db.scalar(select(func.max(deployment_history.c.revision))) or 0
        current = self._current(db, set(keys))
        now = self.clock()
        changed: list[tuple[Key, Deployment]] = []
        result: list[Deployment] = []
        for key, one in zip(keys, promotions, strict=True):
            before = current.get(key)
            if before is None or before.champion != one.version:
                revision += 1
                previous = None if before is None else before.champion
                current[key] = Deployment(
                    one.model,
                    one.segment,
                    one.version,
                    previous,
                    dict(one.strategy),
                    one.reason,
                    revision,
                    now,
                )
                changed.append((key, current[key]))
            result.append(current[key])
        rollouts.end(db, {key: one.champion for key, one in changed}, now)
        self._write(db, changed)
        return result

    def bring_out(self, db: Connection, promotions: Sequence[Promotion]) -> list[Step]:
        """Let each promotion's strategy say how it begins: promote at once, or begin a rollout.

        Args:
            db: An open transaction.
            promotions: What is to be champion in the end.

        Returns:
            The first steps, in the order of the promotions.
        """
        if not promotions:
            return []
        queue_up(db, "deploy")
        keys = [(one.model, segment_text(one.segment)) for one in promotions]
        current = self._current(db, set(keys))
        now = self.clock()
        steps = []
        for key, one in zip(keys, promotions, strict=True):
            champion = current[key].champion if key in current else None
            if champion == one.version:
                steps.append(Step("promote", f"version {champion} is the champion already"))
            else:
                state = Rollout(champion, one.version)
                steps.append(strategy_of(one.strategy).next(state, Observation(now)))
        chosen = list(zip(keys, promotions, steps, strict=True))
        self.promote_many(db, [one for _, one, step in chosen if step.action == "promote"])
        going = [(key, one, step) for key, one, step in chosen if step.action == "go_on"]
        self._check(db, [key for key, _, _ in going], [one for _, one, _ in going])
        rollouts.begin(db, [(one, current[key].champion, step) for key, one, step in going], now)
        return steps

    def rollback(self, db: Connection, model: str, segment: Segment, reason: str) -> Deployment:
        """Give a segment the champion back that it had before; done twice, it is where it was.

        Raises:
            NotFound: nothing is deployed there.
            Conflict: there is no earlier champion.
        """
        queue_up(db, "deploy")
        now = self._one(db, model, segment)
        if now.previous is None:
            raise Conflict(
                f"{Ref(model, segment)} cannot be rolled back",
                f"version {now.champion} is its first champion",
                "deploy another version instead",
            )
        told = f"rolled back from version {now.champion} to {now.previous}: {reason}"
        return self.promote_many(db, [Promotion(model, segment, now.previous, told, now.strategy)])[0]

    def state(self, model: str | None = None, segment: Segment | None = None) -> list[Deployment]:
        """What should be running, by model and segment; all of it, or of one model or segment."""
        query = select(deployments).order_by(deployments.c.model, deployments.c.segment)
        if model is not None:
            query = query.where(deployments.c.model == model)
        if segment is not None:
            query = query.where(deployments.c.segment == segment_text(segment))
        with self.ledger.read() as db:
            return [_deployment(row) for row in db.execute(query)]

    def state_of(self, model: str, segment: Segment) -> Deployment:
        """What should be running for one segment.

        Raises:
            NotFound: nothing; the message says what there is.
        """
        with self.ledger.read() as db:
            return self._one(db, model, segment)

    def history(self, model: str, segment: Segment | None = None, limit: int = 100) -> list[Change]:
        """Who was champion when and why, the newest first."""
        query = select(deployment_history).where(deployment_history.c.model == model)
        if segment is not None:
            query = query.where(deployment_history.c.segment == segment_text(segment))
        query = query.order_by(deployment_history.c.revision.desc()).limit(limit)
        with self.ledger.read() as db:
            rows = db.execute(query).all()
        return [
            Change(row.revision, row.model, parse_segment(row.segment), row.champion, row.reason, row.created)
            for row in rows
        ]

    # -- inside ----------------------------------------------------------------------------------------

    def _check(self, db: Connection, keys: Sequence[Key], promotions: Sequence[Promotion]) -> None:
        """Refuse versions that do not exist, or are archived: a server would have nothing to load."""
        exact = (model_versions.c.model, model_versions.c.segment, model_versions.c.version)
        wanted = {(*key, one.version): one for key, one in zip(keys, promotions, strict=True)}
        for some in chunks(sorted(wanted)):
            numbers = model_versions.c.version.in_({version for _, _, version in some})
            close = near(model_versions, [(model, segment) for model, segment, _ in some])
            rows = db.execute(select(*exact, model_versions.c.archived).where(close, numbers))
            there = {tuple(row[:3]): row.archived for row in rows}
            for key in some:
                ref = Ref(wanted[key].model, wanted[key].segment, wanted[key].version)
                if key not in there:
                    raise NotFound(f"{ref} cannot be deployed", "it is not registered", "register it first")
                if there[key] is not None:
                    raise archived(ref, "deployed")

    def _current(self, db: Connection, keys: set[Key]) -> dict[Key, Deployment]:
        found: dict[Key, Deployment] = {}
        for some in chunks(sorted(keys)):
            rows = db.execute(select(deployments).where(near(deployments, some)))
            found.update({(row.model, row.segment): _deployment(row) for row in rows})
        return found

    def _one(self, db: Connection, model: str, segment: Segment) -> Deployment:
        text = segment_text(segment)
        found = self._current(db, {(model, text)})
        if not found:
            where = select(func.count()).select_from(deployments).where(deployments.c.model == model)
            others = db.scalar(where)
            raise NotFound(
                f"nothing is deployed for {Ref(model, segment)}",
                f"model {model!r} has {others or 'no'} other deployment{'' if others == 1 else 's'}",
                "deploy a version first, or name another segment",
            )
        return found[model, text]

    def _write(self, db: Connection, changed: Sequence[tuple[Key, Deployment]]) -> None:
        """The new state, the history and the alias, each in one statement."""
        if not changed:
            return
        rows = [
            {
                "model": model, "segment": segment, "champion": one.champion,
                "previous": one.previous, "strategy": dict(one.strategy), "reason": one.reason,
                "revision": one.revision, "updated": one.updated,
            }
            for (model, segment), one in changed
        ]  # fmt: skip
        upsert(db, deployments, rows)
        insert_many(
            db,
            deployment_history,
            [
                {
                    "revision": row["revision"], "model": row["model"], "segment": row["segment"],
                    "champion": row["champion"], "reason": row["reason"], "created": row["updated"],
                }
                for row in rows
            ],
        )  # fmt: skip
        upsert(
            db,
            aliases,
            [
                {
                    "model": row["model"], "segment": row["segment"], "alias": CHAMPION,
                    "version": row["champion"], "updated": row["updated"],
                }
                for row in rows
            ],
        )  # fmt: skip


def _deployment(row: Row[Any]) -> Deployment:
    return Deployment(
        row.model, parse_segment(row.segment), row.champion, row.previous, row.strategy, row.reason,
        row.revision, row.updated,
    )  # fmt: skip
