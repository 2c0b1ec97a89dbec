"""Rollouts move on: what the log says of both sides is put to the strategy, and what it says is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert

from modelworks.core.clock import system_clock
from modelworks.core.errors import Conflict, ModelworksError
from modelworks.core.ref import Ref, segment_text
from modelworks.deploy import rollouts
from modelworks.deploy.deployment import Promotion
from modelworks.deploy.rollout import Status, Underway
from modelworks.deploy.strategies import strategy_of
from modelworks.deploy.strategies.port import Observation, Step
from modelworks.monitor.trials import Gathered
from modelworks.pipelines.context import Also, Stations, nothing
from modelworks.stores.ledger.tables import decisions


@dataclass(frozen=True)
class Moved:
    """What was done with one rollout.

    Attributes:
        ref: The challenger.
        action: ``"promote"``, ``"abandon"``, or ``"go_on"`` where its share was changed.
        share: Of the requests, from now on.
        reason: Why.
    """

    ref: str
    action: str
    share: float
    reason: str


def turn(stations: Stations) -> list[Moved]:
    """Look at every rollout that goes on, and move those on that may; the log must have been drained."""
    with stations.stores.ledger.read() as db:
        going = rollouts.running(db)
        if not going:
            return []
        alive = rollouts.alive(db, system_clock())
    gathered = stations.monitor.trials(going)
    now = stations.clock()
    steps: list[tuple[Underway, Step, Gathered]] = []
    for one in going:
        seen = gathered[one.id].seen
        said = [server[one.id] for server in alive if one.id in server]
        observed = Observation(
            now,
            seen.champion,
            seen.challenger,
            seen.pairs,
            servers=len(alive),
            loaded=said.count(""),
            broken=next((error for error in said if error), ""),
        )
        try:
            step = strategy_of(one.strategy).next(one.state, observed)
        except (
            ModelworksError,
            TypeError,
        ) as error:  # its plug is not here any more, or takes other settings
            step = Step("go_on", f"cannot be judged: {error}", one.state.share, one.silent)
        steps.append((one, step, gathered[one.id]))
    changed = [(one, step, found) for one, step, found in steps if _news(one, step, found)]
    if not changed:
        return []
    moved: list[Moved] = []
    with stations.stores.ledger.write() as db:
        for one, step, found in changed:
            if _take(db, stations, one, step, found):
                moved.append(Moved(str(one.ref), step.action, step.share, step.reason))
    return moved


def _news(one: Underway, step: Step, found: Gathered) -> bool:
    return (
        step.action != "go_on"
        or step.share != one.state.share
        or step.reason != one.reason
        or found.to_json() != one.evidence
    )


def _take(db: Connection, stations: Stations, one: Underway, step: Step, found: Gathered) -> bool:
    """Do what was decided; true where that changed who answers."""
    now, evidence = stations.clock(), found.to_json()
    if step.action == "go_on":
        rows = found.seen.challenger.rows
        kept = rollouts.go_on(db, one, step, rows, evidence, now)
        return kept and step.share != one.state.share
    status: Status = "promoted" if step.action == "promote" else "abandoned"
    if not rollouts.finish(db, one, status, step.reason, evidence, now):
        return False
    if step.action == "promote":
        promotion = Promotion(one.model, one.segment, one.state.challenger, step.reason, one.strategy)
        stations.deploy.promote_many(db, [promotion])
        stations.monitor.rollouts_over(db, one.model, [one.segment])
    else:
        told = f"{one.ref} was rolled back: {step.reason}"
        stations.monitor.tell_rollout(db, one.model, one.segment, told, found.seen.told())
    note(db, stations, one, step.action, str(one.strategy["kind"]), step.reason, found.seen.told())
    return True


def note(
    db: Connection,
    stations: Stations,
    one: Underway,
    action: str,
    trigger: str,
    reason: str,
    evidence: Mapping[str, Any],
) -> None:
    """Write down what was decided."""
    row = {
        "model": one.model, "segment": segment_text(one.segment), "action": action, "trigger": trigger,
        "reason": reason, "evidence": {"version": one.state.challenger, **evidence}, "campaign": None,
        "at": stations.clock(),
    }  # fmt: skip
    db.execute(insert(decisions).values(**row))


def running(stations: Stations, ref: Ref) -> Underway | None:
    """The rollout that goes on for a segment, if any."""
    with stations.stores.ledger.read() as db:
        found = rollouts.running(db, ref.name, ref.segment)
    return found[0] if found else None


def abandon(stations: Stations, one: Underway, reason: str, also: Also = nothing) -> dict[str, Any]:
    """Take a challenger out by hand; the champion stays, and all requests are its own again."""
    return _by_hand(stations, one, "abandoned", _said("abandoned", reason), also)


def promote(stations: Stations, ref: Ref, reason: str, also: Also = nothing) -> dict[str, Any]:
    """Make the challenger of a running rollout the champion now.

    Raises:
        Conflict: no rollout goes on there.
    """
    one = running(stations, ref)
    if one is None or ref.at not in (None, one.state.challenger):
        raise Conflict(
            f"{ref} is not being rolled out",
            f"{one.ref} is" if one else "no rollout goes on for it",
            "'modelworks rollouts' shows those that do; 'modelworks deploy' brings any version out",
        )
    return _by_hand(stations, one, "promoted", _said("promoted", reason), also)


def _said(what: str, reason: str) -> str:
    return f"{what} by hand" + ("" if reason in ("", "by hand") else f": {reason}")


def _by_hand(stations: Stations, one: Underway, status: Status, reason: str, also: Also) -> dict[str, Any]:
    action = "promote" if status == "promoted" else "abandon"
    with stations.stores.ledger.write() as db:
        if not rollouts.finish(db, one, status, reason, one.evidence, stations.clock()):
            raise Conflict(f"the rollout of {one.ref} is over", "somebody was faster", "look again")
        also(db)
        if status == "promoted":
            promotion = Promotion(one.model, one.segment, one.state.challenger, reason, one.strategy)
            stations.deploy.promote_many(db, [promotion])
        note(db, stations, one, action, "person", reason, {})
    return {"ref": str(one.ref), "action": action, "reason": reason}


def shown(stations: Stations, model: str | None, limit: int) -> list[dict[str, Any]]:
    """Rollouts for people: those that go on first, each with its evidence and its last steps."""
    with stations.stores.ledger.read() as db:
        found = rollouts.recent(db, model, limit)
        steps = rollouts.steps(db, [one.id for one in found])
    return [{**_shown(one), "steps": _without_sums(steps[one.id])} for one in found]


def _shown(one: Underway) -> dict[str, Any]:
    return {
        "id": one.id,
        "model": one.model,
        "segment": segment_text(one.segment),
        "champion": one.state.champion,
        "challenger": one.state.challenger,
        "ref": str(one.ref),
        "strategy": dict(one.strategy),
        "share": one.state.share if one.status == "running" else float(one.status == "promoted"),
        "silent": one.silent,
        "status": one.status,
        "reason": one.reason,
        "begun": one.begun,
        "since": one.state.since,
        "ended": one.ended,
        "evidence": {name: value for name, value in one.evidence.items() if name != "kept"},
    }


def _without_sums(steps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Steps without the sums that only the next look needs."""
    return [
        {**step, "evidence": {name: value for name, value in step["evidence"].items() if name != "kept"}}
        for step in steps
    ]
