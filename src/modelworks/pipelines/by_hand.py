"""What people decide of versions: deploy, roll back, approve, reject; each with its audit line in one transaction."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select

from modelworks.core.errors import Conflict, NotFound, NotReady
from modelworks.core.ref import Ref, parse_segment, segment_text
from modelworks.deploy.deployment import Promotion
from modelworks.deploy.strategies.direct import Direct
from modelworks.deploy.strategies.port import Strategy
from modelworks.pipelines import rollout
from modelworks.pipelines.context import Also, Stations, nothing
from modelworks.pipelines.release import WAITING, Action
from modelworks.registry.model_version import ModelVersion
from modelworks.stores.ledger.portable import queue_up
from modelworks.stores.ledger.tables import aliases, decisions, deployments, model_versions

_AT_ONCE = Direct()


def deploy(
    stations: Stations, ref: Ref, reason: str, gradually: bool = False, also: Also = nothing
) -> dict[str, Any]:
    """Make a version the champion of its segment, whatever the gates said; the reason says why.

    Args:
        stations: The belt.
        ref: The version.
        reason: Why.
        gradually: By the model's rollout strategy instead of at once.
        also: What is written in the same transaction.

    Raises:
        NotFound: there is no such version.
        NotReady: it was kept as it came, and cannot be served.
    """
    version = stations.registry.get(ref)
    how = _strategy(stations, version) if gradually else _AT_ONCE
    return _bring_out(stations, version, reason, how, also)


def _strategy(stations: Stations, version: ModelVersion) -> Strategy:
    model = stations.project.models.get(version.model)
    return _AT_ONCE if model is None else model.strategy


def rollback(stations: Stations, ref: Ref, reason: str, also: Also = nothing) -> dict[str, Any]:
    """Undo the last change of a segment: abandon its rollout, or give it the champion back that it had before.

    Raises:
        NotFound: nothing is deployed there.
        Conflict: there is no earlier champion.
    """
    going = rollout.running(stations, ref)
    if going is not None:
        return rollout.abandon(stations, going, reason, also)
    deployment = stations.deploy.state_of(ref.name, ref.segment)
    if deployment.previous is None:
        raise Conflict(
            f"{ref} cannot be rolled back",
            f"version {deployment.champion} is its first champion",
            "deploy another version with 'modelworks deploy'",
        )
    version = stations.registry.get(Ref(ref.name, ref.segment, deployment.previous))
    reason = f"rolled back from {deployment.champion}: {reason}"
    return _bring_out(stations, version, reason, _AT_ONCE, also)


def approve(stations: Stations, ref: Ref, who: str, also: Also = nothing) -> dict[str, Any]:
    """Bring out a version that waits for a person.

    Raises:
        Conflict: it does not wait.
    """
    version = _waiting(stations, ref)
    how = _strategy(stations, version)
    return _bring_out(stations, version, f"approved by {who}", how, also, waiting=True)


def reject(stations: Stations, ref: Ref, who: str, reason: str, also: Also = nothing) -> dict[str, Any]:
    """Turn down a version that waits for a person; the champion stays.

    Raises:
        Conflict: it does not wait.
    """
    version = _waiting(stations, ref)
    with stations.stores.ledger.write() as db:
        _check_waits(db, version)
        also(db)
        _settle(db, stations, version, "refuse", f"rejected by {who}" + (f": {reason}" if reason else ""))
    return {"ref": str(version.ref), "action": "reject", "reason": reason}


def waiting(stations: Stations, model: str | None = None) -> list[dict[str, Any]]:
    """Versions that wait for a person, the newest first, each beside the champion that it would replace."""
    v, d, here = model_versions.c, decisions.c, aliases.c
    last = (
        select(d.model, d.segment, func.max(d.id).label("id"))
        .where(d.action == "wait")
        .group_by(d.model, d.segment)
        .subquery()
    )
    live = deployments.c
    query = (
        select(v.model, v.segment, v.version, v.metrics, v.created, live.champion, d.reason)
        .join(aliases, (here.model == v.model) & (here.segment == v.segment) & (here.version == v.version))
        .outerjoin(deployments, (live.model == v.model) & (live.segment == v.segment))
        .outerjoin(last, (last.c.model == v.model) & (last.c.segment == v.segment))
        .outerjoin(decisions, d.id == last.c.id)
        .where(here.alias == WAITING)
        .order_by(v.created.desc(), v.model, v.segment)
    )
    if model is not None:
        query = query.where(v.model == model)
    with stations.stores.ledger.read() as db:
        rows = db.execute(query).mappings().all()
    return [
        {**row, "ref": str(Ref(row["model"], parse_segment(row["segment"]), row["version"]))} for row in rows
    ]


def _waiting(stations: Stations, ref: Ref) -> ModelVersion:
    try:
        waiting = stations.registry.get(Ref(ref.name, ref.segment, WAITING))
    except NotFound:
        waiting = None
    if waiting is None or ref.at not in (None, WAITING, waiting.version):
        raise Conflict(
            f"{ref} does not wait for approval",
            f"version {waiting.version} does" if waiting else "no version of it does",
            "'modelworks approve' shows all that waits; 'modelworks deploy' brings any version out",
        )
    return waiting


def _check_waits(db: Connection, version: ModelVersion) -> None:
    """Two people may decide at once: the second is told."""
    queue_up(db, "deploy")
    if db.scalar(select(aliases.c.version).where(*_waiting_alias(version))) != version.version:
        raise Conflict(f"{version.ref} does not wait any more", "somebody was faster", "look again")


def _waiting_alias(version: ModelVersion) -> tuple[ColumnElement[bool], ...]:
    segment = segment_text(version.segment)
    return aliases.c.model == version.model, aliases.c.segment == segment, aliases.c.alias == WAITING


def _bring_out(
    stations: Stations,
    version: ModelVersion,
    reason: str,
    strategy: Strategy,
    also: Also,
    waiting: bool = False,
) -> dict[str, Any]:
    if version.package.kept:
        raise NotReady(
            f"{version.ref} cannot be served",
            version.package.proof.reason,
            f"if you know who made it: modelworks models trust '{version.ref}'",
        )
    with stations.stores.ledger.write() as db:
        if waiting:
            _check_waits(db, version)
        also(db)
        how = strategy.to_json()
        promotion = Promotion(version.model, version.segment, version.version, reason, how)
        (step,) = stations.deploy.bring_out(db, [promotion])
        stations.monitor.rollouts_over(db, version.model, [version.segment])
        if step.action == "go_on":
            reason = f"{step.reason}; {reason}"
        _settle(db, stations, version, "begin" if step.action == "go_on" else "promote", reason)
    told: dict[str, Any] = {"ref": str(version.ref), "action": "deploy", "reason": reason}
    if step.action == "go_on":
        return {**told, "action": "begin"}
    return {**told, "revision": stations.deploy.state_of(version.model, version.segment).revision}


def _settle(db: Connection, stations: Stations, version: ModelVersion, action: Action, reason: str) -> None:
    """Note a person's decision; the version no longer waits."""
    segment, found = segment_text(version.segment), _waiting_alias(version)
    if db.scalar(select(aliases.c.version).where(*found)) == version.version:
        db.execute(delete(aliases).where(*found))
    db.execute(
        insert(decisions).values(
            model=version.model,
            segment=segment,
            action=action,
            trigger="person",
            reason=reason,
            evidence={"version": version.version},
            campaign=None,
            at=stations.clock(),
        )
    )
