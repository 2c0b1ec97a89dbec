"""From a trained candidate to a champion: register, judge, wait for a person or bring out; and back again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection

from modelworks.core.clock import new_id
from modelworks.core.plain import plain
from modelworks.core.ref import segment_text
from modelworks.data.features.compute import needs
from modelworks.deploy.deployment import Promotion
from modelworks.deploy.strategies.port import Step
from modelworks.lineage import graph
from modelworks.lineage.edge import Edge
from modelworks.models.signature import Signature
from modelworks.pipelines.basis import ARTIFACT
from modelworks.pipelines.context import Stations
from modelworks.pipelines.project import Model
from modelworks.registry.approval import LargeChange
from modelworks.registry.gates import judge_all
from modelworks.registry.gates.evidence import ChampionSignature
from modelworks.registry.gates.port import GateInput, Verdict
from modelworks.registry.model_version import Draft, ModelVersion
from modelworks.stores.ledger.portable import insert_many
from modelworks.stores.ledger.tables import decisions, run_values, runs
from modelworks.track import values
from modelworks.train.candidate import Candidate

WAITING = "candidate"
"""Alias of a version that passed its gates and waits for a person."""

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
    seen = [seen_by_gates(stations, model, one, now) for _, one in made]
    judged = [judge_all(model.gates, one) for one in seen]
    asked = [_asked(model, one) for one in seen]
    stations.registry.record_verdicts(
        db,
        [
            (version, (*verdicts, *([replace(ask, passed=True)] if ask else [])))  # a gate it is not
            for version, (_, verdicts), ask in zip(versions, judged, asked, strict=True)
        ],
    )
    results = [
        _result(model, version, passed, verdicts, ask)
        for version, (passed, verdicts), ask in zip(versions, judged, asked, strict=True)
    ]
    brought = list(zip(versions, results, strict=True))
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


def seen_by_gates(stations: Stations, model: Model, candidate: Candidate, now: datetime) -> GateInput:
    """What gates may look at of a candidate that could be made."""
    assert candidate.package is not None
    theirs = candidate.evidence.get(ChampionSignature())
    asked = ChampionSignature() in candidate.evidence  # it is not worked out for a gate that nobody wants
    return GateInput(
        metrics=candidate.metrics,
        champion_metrics=candidate.champion_metrics,
        paired=candidate.paired,
        rows_held_out=candidate.rows_held_out,
        proof=candidate.package.proof,
        evidence=candidate.evidence,
        signature=_sent(stations, model, candidate.package.signature) if asked else None,
        champion_signature=_sent(stations, model, theirs) if isinstance(theirs, Signature) else None,
        now=now,
    )


def _asked(model: Model, seen: GateInput) -> Verdict | None:
    """Whether a candidate may come out without a person, where that depends on how much it changes."""
    return model.approval.judge(seen) if isinstance(model.approval, LargeChange) else None


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


def _result(
    model: Model, version: ModelVersion, passed: bool, verdicts: Sequence[Verdict], asked: Verdict | None
) -> Result:
    segment = segment_text(version.segment)
    if not passed:
        refusal = next(verdict for verdict in verdicts if not verdict.passed)
        return Result(segment, version.version, "refuse", refusal.gate, refusal.reason)
    reason = because(verdicts)
    if model.approval == "manual":
        return Result(segment, version.version, "wait", "", f"waits for approval: {reason}")
    if asked is not None and not asked.passed:
        return Result(
            segment, version.version, "wait", asked.gate, f"waits for approval: {asked.reason}; {reason}"
        )
    return Result(segment, version.version, "promote", "", reason)


def because(verdicts: Sequence[Verdict]) -> str:
    """Why a version may come out, in a line: what the first gates said; the verdicts have all of it."""
    said = [verdict.reason for verdict in verdicts[:_TOLD]]
    more = len(verdicts) - len(said)
    return "; ".join([*said, *([f"{more} more gates let it pass"] if more else [])]) or "no gate is defined"
