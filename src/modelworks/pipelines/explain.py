"""From a prediction back to everything it rests on, and lineage in either direction."""

from __future__ import annotations

from typing import Any, Literal

from sqlalchemy import select

from modelworks.core.errors import NotFound
from modelworks.core.plain import plain
from modelworks.core.ref import Ref, parse_segment, segment_text
from modelworks.lineage import graph
from modelworks.pipelines.context import Stations
from modelworks.stores.ledger.tables import campaigns, decisions, deployment_history, runs

_PREFIXES = ("dataset", "run", "model", "deployment", "code", "environment", "file")


def why(stations: Stations, prediction_id: str) -> dict[str, Any]:
    """Walk from a prediction to the version that made it, and from there to data, code, gates and decisions.

    Raises:
        NotFound: no prediction of that id was logged.
    """
    prediction = stations.serve.find(prediction_id)
    if prediction is None:
        raise NotFound(
            f"there is no prediction {prediction_id[:80]!r}",
            "it is neither in the prediction log nor on its way there",
            "take the 'id' of an answer of POST /predict; 'modelworks predictions' lists the newest",
        )
    segment = parse_segment(prediction["segment"])
    ref = Ref(prediction["model"], segment, int(prediction["version"]))
    version = stations.registry.get(ref)
    text = segment_text(segment)
    here = (ref.name, text)
    with stations.stores.ledger.read() as db:
        run = db.execute(select(runs).where(runs.c.id == version.run)).mappings().one()
        campaign = (
            db.execute(select(campaigns).where(campaigns.c.id == run["campaign"])).mappings().one_or_none()
        )
        history = (
            db.execute(
                select(deployment_history)
                .where(deployment_history.c.model == here[0], deployment_history.c.segment == here[1])
                .where(deployment_history.c.champion == ref.at)
                .order_by(deployment_history.c.revision.desc())
                .limit(1)
            )
            .mappings()
            .one_or_none()
        )
        decision = (
            db.execute(
                select(decisions)
                .where(decisions.c.model == here[0], decisions.c.segment == here[1])
                .where(decisions.c.campaign == run["campaign"], decisions.c.action == "train")
                .limit(1)
            )
            .mappings()
            .one_or_none()
        )
    dataset = (
        stations.data.version_of(Ref(version.dataset, at=version.dataset_version))
        if version.dataset
        else None
    )
    environment = stations.stores.artifacts.get(version.package.environment).decode().splitlines()
    return {
        "prediction": prediction,
        "model_version": {
            "ref": str(ref),
            "metrics": version.metrics,
            "created": version.created,
            "served": version.package.served,
            "proof": version.package.proof,
        },
        "run": {key: run[key] for key in ("id", "status", "params", "started", "ended")},
        "campaign": None if campaign is None else {key: campaign[key] for key in ("id", "reason", "created")},
        "dataset": {
            "ref": f"{version.dataset}@{version.dataset_version}",
            "rows_filter": version.rows_filter,
            "version": plain(dataset),
        },
        "code": version.package.code,
        "environment": {
            "digest": version.package.environment,
            "python": environment[0],
            "packages": len(environment) - 1,
        },
        "verdicts": stations.registry.verdicts(ref),
        "deployment": None if history is None else {k: history[k] for k in ("revision", "reason", "created")},
        "decision": None
        if decision is None
        else {k: decision[k] for k in ("action", "trigger", "reason", "evidence", "at")},
    }


def lineage(stations: Stations, ref: str, direction: Literal["up", "down"], depth: int) -> dict[str, Any]:
    """The edges above or below a node.

    Args:
        stations: The belt.
        ref: A node (``run:...``, ``model:delay@3``), or a reference to a model or dataset.
        direction: ``"up"`` to what it was made from, ``"down"`` to what was made from it.
        depth: Most steps to walk.
    """
    node = ref if ref.split(":", 1)[0] in _PREFIXES else _as_node(stations, Ref.parse(ref))
    with stations.stores.ledger.read() as db:
        edges = (graph.up if direction == "up" else graph.down)(db, node, depth)
    return {"node": node, "direction": direction, "edges": edges}


def _as_node(stations: Stations, ref: Ref) -> str:
    if ref.name in stations.project.datasets:
        return f"dataset:{Ref(ref.name, at=stations.data.version_of(ref).version)}"
    return f"model:{stations.registry.get(ref).ref}"
