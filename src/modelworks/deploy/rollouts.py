"""Rollouts in the ledger: begun, moved on, ended. What servers do is what stands here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, delete, func, or_, select, update

from modelworks.core.clock import new_id
from modelworks.core.ref import Segment, parse_segment, segment_text
from modelworks.deploy.deployment import Promotion
from modelworks.deploy.rollout import Status, Underway
from modelworks.deploy.strategies.port import Rollout, Step
from modelworks.registry.model_version import CHALLENGER
from modelworks.registry.rows import Key, near
from modelworks.stores.ledger.portable import chunks, insert_many, queue_up, upsert
from modelworks.stores.ledger.tables import aliases, rollout_steps, rollouts, servers

ALIVE = timedelta(seconds=15)
"""A server that was not seen for so long is gone."""
_FORGOTTEN = timedelta(days=1)
_RUNNING = rollouts.c.status == "running"


def running(db: Connection, model: str | None = None, segment: Segment | None = None) -> list[Underway]:
    """Rollouts that go on: all of them, or of a model or one of its segments."""
    query = select(rollouts).where(_RUNNING).order_by(rollouts.c.id)
    if model is not None:
        query = query.where(rollouts.c.model == model)
    if segment is not None:
        query = query.where(rollouts.c.segment == segment_text(segment))
    return [_underway(row) for row in db.execute(query)]


def recent(db: Connection, model: str | None = None, limit: int = 50) -> list[Underway]:
    """Rollouts, those that go on first, then the newest."""
    query = select(rollouts).order_by(_RUNNING.desc(), rollouts.c.id.desc()).limit(limit)
    if model is not None:
        query = query.where(rollouts.c.model == model)
    return [_underway(row) for row in db.execute(query)]


def steps(db: Connection, ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """What was done in rollouts, the newest first, by id."""
    found: dict[str, list[dict[str, Any]]] = {one: [] for one in ids}
    for some in chunks(ids):
        query = select(rollout_steps).where(rollout_steps.c.rollout.in_(some))
        for row in db.execute(query.order_by(rollout_steps.c.id.desc())).mappings():
            found[row["rollout"]].append(
                {key: row[key] for key in ("at", "action", "share", "reason", "evidence")}
            )
    return found


def begin(db: Connection, wishes: Sequence[tuple[Promotion, int, Step]], now: datetime) -> list[str]:
    """Begin rollouts; one that goes on for the same segment is over, for it was tried against older news.

    Args:
        db: An open transaction.
        wishes: What is to be promoted, the champion that it has to replace, and the first step.
        now: When.

    Returns:
        Their ids.
    """
    if not wishes:
        return []
    queue_up(db, "deploy")
    last = {(one.model, segment_text(one.segment)): (one, champion, step) for one, champion, step in wishes}
    end(db, {key: one.version for key, (one, _, _) in last.items()}, now)
    revision = _revision(db)
    rows: list[dict[str, Any]] = []
    told, names = [], []
    for place, ((model, segment), (one, champion, step)) in enumerate(last.items(), 1):
        identifier = new_id()
        rows.append(
            {
                "id": identifier, "model": model, "segment": segment, "champion": champion,
                "challenger": one.version, "strategy": dict(one.strategy), "share": step.share,
                "silent": step.silent, "rows": 0, "since": now, "status": "running", "reason": step.reason,
                "evidence": {}, "begun": now, "ended": None, "revision": revision + place,
            }
        )  # fmt: skip
        told.append(_told(identifier, "begin", step.share, f"{step.reason}; {one.reason}", {}, now))
        names.append(
            {"model": model, "segment": segment, "alias": CHALLENGER, "version": one.version, "updated": now}
        )
    insert_many(db, rollouts, rows)
    insert_many(db, rollout_steps, told)
    upsert(db, aliases, names)
    return [row["id"] for row in rows]


def go_on(
    db: Connection, one: Underway, step: Step, rows: int, evidence: Mapping[str, Any], now: datetime
) -> bool:
    """Keep what was seen and, where the step changes something, let servers follow it.

    Returns:
        False where the rollout is over, or somebody else has moved it meanwhile: nothing is changed.
    """
    moved = step.share != one.state.share or step.silent != one.silent
    values: dict[str, Any] = {"reason": step.reason, "evidence": dict(evidence)}
    if moved:
        queue_up(db, "deploy")
        values |= {
            "share": step.share,
            "silent": step.silent,
            "since": now,
            "rows": rows,
            "revision": _revision(db) + 1,
        }
    here = (rollouts.c.id == one.id, _RUNNING, rollouts.c.revision == one.revision)
    if not db.execute(update(rollouts).where(*here).values(**values)).rowcount:
        return False
    if moved:
        insert_many(db, rollout_steps, [_told(one.id, "go_on", step.share, step.reason, evidence, now)])
    return True


def finish(
    db: Connection, one: Underway, status: Status, reason: str, evidence: Mapping[str, Any], now: datetime
) -> bool:
    """End a rollout; the champion is promoted by whoever calls. False where it is over already."""
    queue_up(db, "deploy")
    here = (rollouts.c.id == one.id, _RUNNING)
    values = {
        "status": status,
        "reason": reason,
        "evidence": dict(evidence),
        "ended": now,
        "revision": _revision(db) + 1,
    }
    if not db.execute(update(rollouts).where(*here).values(**values)).rowcount:
        return False
    action = {"promoted": "promote", "abandoned": "abandon"}[status]
    share = 1.0 if status == "promoted" else 0.0
    insert_many(db, rollout_steps, [_told(one.id, action, share, reason, evidence, now)])
    _unname(db, [(one.model, segment_text(one.segment))])
    return True


def end(db: Connection, versions: Mapping[Key, int], now: datetime) -> None:
    """End what goes on for segments that get another version, or the challenger itself, by another way.

    Args:
        db: An open transaction, after `queue_up`.
        versions: The version that each segment gets.
        now: When.
    """
    over: list[Row[Any]] = []
    for some in chunks(sorted(versions)):
        over += db.execute(select(rollouts).where(near(rollouts, some), _RUNNING)).all()
    over = [row for row in over if (row.model, row.segment) in versions]
    if not over:
        return
    revision = _revision(db)
    told = []
    for place, row in enumerate(over, 1):
        version = versions[row.model, row.segment]
        won = version == row.challenger
        reason = "promoted by hand" if won else f"version {version} takes its place"
        status = "promoted" if won else "abandoned"
        values = {"status": status, "reason": reason, "ended": now, "revision": revision + place}
        db.execute(update(rollouts).where(rollouts.c.id == row.id).values(**values))
        told.append(_told(row.id, "promote" if won else "abandon", float(won), reason, row.evidence, now))
    insert_many(db, rollout_steps, told)
    _unname(db, [(row.model, row.segment) for row in over])


def heartbeat(db: Connection, server: str, states: Mapping[str, str], now: datetime) -> None:
    """Say that a server is alive, and which challengers it has in memory.

    Args:
        db: An open transaction.
        server: Id of the server.
        states: By rollout: ``""`` where it is in memory, else why it is not.
        now: The machine's time.
    """
    upsert(db, servers, [{"id": server, "seen": now, "rollouts": dict(states)}])
    db.execute(delete(servers).where(servers.c.seen < now - _FORGOTTEN))


def gone(db: Connection, server: str) -> None:
    """Say that a server has ended."""
    db.execute(delete(servers).where(servers.c.id == server))


def alive(db: Connection, now: datetime) -> list[Mapping[str, str]]:
    """What the servers that run say of rollouts, one entry a server."""
    return list(db.scalars(select(servers.c.rollouts).where(servers.c.seen > now - ALIVE)))


# -- inside --------------------------------------------------------------------------------------------------


def _revision(db: Connection) -> int:
    return db.scalar(select(func.max(rollouts.c.revision))) or 0


def _told(
    rollout: str, action: str, share: float, reason: str, evidence: Mapping[str, Any], now: datetime
) -> dict[str, Any]:
    return {
        "rollout": rollout, "action": action, "share": share, "reason": reason,
        "evidence": dict(evidence), "at": now,
    }  # fmt: skip


def _unname(db: Connection, keys: Iterable[Key]) -> None:
    for some in chunks(sorted(keys)):
        each = [(aliases.c.model == model) & (aliases.c.segment == segment) for model, segment in some]
        db.execute(delete(aliases).where(aliases.c.alias == CHALLENGER, or_(*each)))


def _underway(row: Row[Any]) -> Underway:
    state = Rollout(row.champion, row.challenger, row.share, row.since, row.rows, row.begun)
    return Underway(
        row.id, row.model, parse_segment(row.segment), row.strategy, state, row.silent, row.status, row.reason,
        row.begun, row.ended, row.revision, row.evidence,
    )  # fmt: skip
