"""From a trained candidate to a champion: register, judge, wait for a person or bring out; and back again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, delete, insert, select

from modelworks.core.clock import new_id
from modelworks.core.errors import Conflict, NotFound, NotReady
from modelworks.core.plain import plain
from modelworks.core.ref import Ref, segment_text
from modelworks.data.features.compute import needs
from modelworks.deploy.deployment import Promotion
from modelworks.deploy.strategies.direct import Direct
from modelworks.deploy.strategies.port import Step, Strategy
from modelworks.lineage import graph
from modelworks.lineage.edge import Edge
from modelworks.models.signature import Signature
from modelworks.pipelines import rollout
from modelworks.pipelines.basis import ARTIFACT
from modelworks.pipelines.context import Stations
from modelworks.pipelines.project import Model
from modelworks.registry.gates import judge_all
from modelworks.registry.gates.evidence import ChampionSignature
from modelworks.registry.gates.port import GateInput, Verdict
from modelworks.registry.model_version import Draft, ModelVersion
from modelworks.stores.ledger.portable import insert_many
from modelworks.stores.ledger.tables import aliases, decisions, run_values, runs
from modelworks.track import values
from modelworks.train.candidate import Candidate

WAITING = "candidate"
"""Alias of a version that passed its gates and waits for a person."""

_AT_ONCE = Direct()
_TOLD = 2
"""Gates whose sentences stand in the reason of a promotion."""

Action = Literal["promote", "begin", "refuse", "wait", "fail"]


@dataclass(frozen=True)
class Result:
    """What became of one candidate.

    Attributes:
        segment: Its segment, as text.
        version: The version it became; ``None`` where training failed.
        action: What was done with it.
        gate: The gate that refused it, or ``""``.
        reason: Why, one sentence.
    """

    segment: str
    version: int | None
    action: Action
    gate: str
    reason: str


def record(
    db: Connection,
    stations: Stations,
    model: Model,
    campaign: str | None,
    dataset_version: int,
    candidates: Sequence[Candidate],
    rests_on: str | None,
    kind: str = "training",
) -> list[Result]:
    """Write everything that candidates became: runs, versions, verdicts, deployments, decisions.

    All in the caller's transaction: a kill leaves either nothing of a candidate or all of it.

    Args:
        db: The transaction.
        stations: The belt.
        model: What was trained.
        campaign: In which campaign, if in one.
        dataset_version: On which version of its dataset.
        candidates: What came of it.
        rests_on: Digest of the training's `Basis`; ``None`` where it was not rows of a dataset.
        kind: Of the runs.
    """
    now = stations.clock()
    ids = [new_id() for _ in candidates]
    insert_many(
        db,
        runs,
        [
            {
                "id": run,
                "name": model.name,
                "segment": segment_text(one.segment),
                "campaign": campaign,
                "kind": kind,
                "status": one.status,
                "params": one.params,
                "metrics": one.metrics,
                "tags": _tags(one),
                "artifacts": {**one.artifacts, **({ARTIFACT: rests_on} if rests_on else {})},
                "dataset": model.definition.dataset,
                "dataset_version": dataset_version,
                "error": one.error,
                "started": one.started,
                "ended": one.ended,
                "experiment": "",
            }
            for run, one in zip(ids, candidates, strict=True)
        ],
    )
    said = [
        row
        for run, one in zip(ids, candidates, strict=True)
        for row in values.rows(run, plain(one.params), plain(one.metrics), _tags(one))
    ]
    insert_many(db, run_values, said)
    made = [(run, one) for run, one in zip(ids, candidates, strict=True) if one.package is not None]
    versions = stations.registry.register_many(
        db,
        [
            Draft(
                model=model.name,
                segment=one.segment,
                run=run,
                package=one.package,
                metrics=one.metrics,
                dataset=model.definition.dataset,
                dataset_version=dataset_version,
                rows_filter=one.rows_filter,
            )
            for run, one in made
            if one.package is not None
        ],
    )
    found = [
        (version, *judged(stations, model, one, now))
        for version, (_run, one) in zip(versions, made, strict=True)
    ]
    stations.registry.record_verdicts(db, [(version, verdicts) for version, _, verdicts in found])
    results = [_result(model, version, passed, verdicts) for version, passed, verdicts in found]
    brought = [(version, result) for (version, _, _), result in zip(found, results, strict=True)]
    how = model.strategy.to_json()
    steps = stations.deploy.bring_out(
        db,
        [
            Promotion(v.model, v.segment, v.version, r.reason, how)
            for v, r in brought
            if r.action == "promote"
        ],
    )
    stations.monitor.rollouts_over(db, model.name, [v.segment for v, r in brought if r.action == "promote"])
    results = _begun(results, steps)
    for version, result in brought:
        if result.action == "wait":
            stations.registry.set_alias(db, version.model, version.segment, WAITING, version.version)
    origins = [
        Edge(node, what, f"run:{run}")
        for run, one in zip(ids, candidates, strict=True)
        for node, what in one.origins
    ]
    graph.add(db, origins, now)
    results += [
        Result(segment_text(one.segment), None, "fail", "", one.error or "")
        for one in candidates
        if one.package is None
    ]
    insert_many(
        db,
        decisions,
        [
            {
                "model": model.name,
                "segment": result.segment,
                "action": result.action,
                "trigger": result.gate or "gate",
                "reason": result.reason,
                "evidence": {"version": result.version},
                "campaign": campaign,
                "at": now,
            }
            for result in results
        ],
    )
    return results


def _begun(results: Sequence[Result], steps: Sequence[Step]) -> list[Result]:
    """The results, those that are not champion at once said to begin a rollout."""
    first = iter(steps)
    told = []
    for result in results:
        step = next(first) if result.action == "promote" else None
        if step is not None and step.action == "go_on":
            result = replace(result, action="begin", reason=f"{step.reason}; {result.reason}")
        told.append(result)
    return told


def _tags(candidate: Candidate) -> dict[str, str]:
    return {**candidate.tags, **({"tries": str(candidate.tries)} if candidate.tries > 1 else {})}


def judged(
    stations: Stations, model: Model, candidate: Candidate, now: datetime
) -> tuple[bool, tuple[Verdict, ...]]:
    """What the gates say of a candidate that could be made: whether it passed, and the verdict of each."""
    assert candidate.package is not None
    theirs = candidate.evidence.get(ChampionSignature())
    asked = ChampionSignature() in candidate.evidence  # it is not worked out for a gate that nobody wants
    return judge_all(
        model.gates,
        GateInput(
            metrics=candidate.metrics,
            champion_metrics=candidate.champion_metrics,
            paired=candidate.paired,
            rows_held_out=candidate.rows_held_out,
            proof=candidate.package.proof,
            evidence=candidate.evidence,
            signature=_sent(stations, model, candidate.package.signature) if asked else None,
            champion_signature=_sent(stations, model, theirs) if isinstance(theirs, Signature) else None,
            now=now,
        ),
    )


def _sent(stations: Stations, model: Model, signature: Signature) -> Signature:
    """A signature as its callers know it.

    They do not send what is computed, but what it is computed from; what routes they send in any case; and what
    may be missing by the contract may be missing in a request.
    """
    dataset = stations.project.dataset(model.definition.dataset)
    own = {field.name: field for field in signature.inputs if field.name not in dataset.features}
    computed = [field.name for field in signature.inputs if field.name in dataset.features]
    for name in [*needs(dataset.features, computed, dataset.contract), *model.definition.per]:
        own.setdefault(name, dataset.contract[name])
    inputs = (
        replace(
            field, nullable=field.nullable or (name in dataset.contract and dataset.contract[name].nullable)
        )
        for name, field in own.items()
    )
    return replace(signature, inputs=tuple(inputs))


def _result(model: Model, version: ModelVersion, passed: bool, verdicts: Sequence[Verdict]) -> Result:
    segment = segment_text(version.segment)
    if not passed:
        refusal = next(verdict for verdict in verdicts if not verdict.passed)
        return Result(segment, version.version, "refuse", refusal.gate, refusal.reason)
    reason = because(verdicts)
    if model.approval == "manual":
        return Result(segment, version.version, "wait", "", f"waits for approval: {reason}")
    return Result(segment, version.version, "promote", "", reason)


def because(verdicts: Sequence[Verdict]) -> str:
    """Why a version may come out, in a line: what the first gates said; the verdicts have all of it."""
    said = [verdict.reason for verdict in verdicts[:_TOLD]]
    more = len(verdicts) - len(said)
    return "; ".join([*said, *([f"{more} more gates let it pass"] if more else [])]) or "no gate is defined"


def deploy(stations: Stations, ref: Ref, reason: str, gradually: bool = False) -> dict[str, Any]:
    """Make a version the champion of its segment, whatever the gates said; the reason says why.

    Args:
        stations: The belt.
        ref: The version.
        reason: Why.
        gradually: By the model's rollout strategy instead of at once.

    Raises:
        NotFound: there is no such version.
        NotReady: it was kept as it came, and cannot be served.
    """
    version = stations.registry.get(ref)
    return _bring_out(stations, version, reason, _strategy(stations, version) if gradually else _AT_ONCE)


def _strategy(stations: Stations, version: ModelVersion) -> Strategy:
    model = stations.project.models.get(version.model)
    return _AT_ONCE if model is None else model.strategy


def rollback(stations: Stations, ref: Ref, reason: str) -> dict[str, Any]:
    """Undo the last change of a segment: abandon its rollout, or give it the champion back that it had before.

    Raises:
        NotFound: nothing is deployed there.
        Conflict: there is no earlier champion.
    """
    going = rollout.running(stations, ref)
    if going is not None:
        return rollout.abandon(stations, going, reason)
    deployment = stations.deploy.state_of(ref.name, ref.segment)
    if deployment.previous is None:
        raise Conflict(
            f"{ref} cannot be rolled back",
            f"version {deployment.champion} is its first champion",
            "deploy another version with 'modelworks deploy'",
        )
    version = stations.registry.get(Ref(ref.name, ref.segment, deployment.previous))
    return _bring_out(stations, version, f"rolled back from {deployment.champion}: {reason}", _AT_ONCE)


def approve(stations: Stations, ref: Ref, who: str) -> dict[str, Any]:
    """Bring out a version that waits for a person.

    Raises:
        Conflict: it does not wait.
    """
    version = _waiting(stations, ref)
    return _bring_out(stations, version, f"approved by {who}", _strategy(stations, version))


def reject(stations: Stations, ref: Ref, who: str, reason: str) -> dict[str, Any]:
    """Turn down a version that waits for a person; the champion stays.

    Raises:
        Conflict: it does not wait.
    """
    version = _waiting(stations, ref)
    with stations.stores.ledger.write() as db:
        _settle(db, stations, version, "refuse", f"rejected by {who}" + (f": {reason}" if reason else ""))
    return {"ref": str(version.ref), "action": "reject", "reason": reason}


def _waiting(stations: Stations, ref: Ref) -> ModelVersion:
    try:
        waiting = stations.registry.get(Ref(ref.name, ref.segment, WAITING))
    except NotFound:
        waiting = None
    if waiting is None or ref.at not in (None, WAITING, waiting.version):
        raise Conflict(
            f"{ref} does not wait for approval",
            f"version {waiting.version} does" if waiting else "no version of it does",
            "'modelworks models show NAME' shows what waits; 'modelworks deploy' brings any version out",
        )
    return waiting


def _bring_out(stations: Stations, version: ModelVersion, reason: str, strategy: Strategy) -> dict[str, Any]:
    if version.package.kept:
        raise NotReady(
            f"{version.ref} cannot be served",
            version.package.proof.reason,
            f"if you know who made it: modelworks models trust '{version.ref}'",
        )
    with stations.stores.ledger.write() as db:
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
    segment = segment_text(version.segment)
    found = (aliases.c.model == version.model, aliases.c.segment == segment, aliases.c.alias == WAITING)
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
