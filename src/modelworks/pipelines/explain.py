"""From a prediction back to everything it rests on, and lineage in either direction."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from sqlalchemy import select

from modelworks.core.errors import NotFound
from modelworks.core.plain import plain
from modelworks.core.ref import Ref, parse_segment, segment_text
from modelworks.lineage import graph
from modelworks.lineage.edge import Edge
from modelworks.pipelines import nodes
from modelworks.pipelines.context import Stations
from modelworks.serving.outcomes import UNLOGGED
from modelworks.stores.ledger.tables import campaigns, decisions, deployment_history, runs
from modelworks.track import lock

_PREFIXES = (
    "dataset", "campaign", "run", "model", "verdict", "deployment", "code", "source", "environment", "file", "push",
)  # fmt: skip
_ID = re.compile(r"[0-9a-f]{26}")
_PREDICTION = re.compile(rf"({UNLOGGED})?[0-9a-f]{{26}}-[0-9]+")
_MOST = 10_000
"""Edges that are told at most."""
_TOLD = 2_000
"""Nodes, the nearest, of which more than the name is told."""


def why(stations: Stations, prediction_id: str) -> dict[str, Any]:
    """Walk from a prediction to the version that made it, and from there to data, code, gates and decisions.

    Raises:
        NotFound: no prediction of that id was logged.
    """
    prediction = _prediction(stations, prediction_id)
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
    environment = lock.read(stations.stores.artifacts.get(version.package.environment))
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
            "ref": None if version.dataset is None else f"{version.dataset}@{version.dataset_version}",
            "rows_filter": version.rows_filter,
            "version": plain(dataset),
        },
        "code": version.package.code,
        "environment": {
            "digest": version.package.environment,
            "python": f"python {environment['python']}",
            "packages": len(environment["packages"]),
        },
        "verdicts": stations.registry.verdicts(ref),
        "outcomes": stations.serve.outcomes_of(prediction),
        "deployment": None if history is None else {k: history[k] for k in ("revision", "reason", "created")},
        "decision": None
        if decision is None
        else {k: decision[k] for k in ("action", "trigger", "reason", "evidence", "at")},
    }


def lineage(stations: Stations, ref: str, direction: Literal["up", "down"], depth: int) -> dict[str, Any]:
    """The edges above or below a node, and what is worth saying of the nodes.

    Args:
        stations: The belt.
        ref: A reference to a dataset or a model (version), the id of a run, a campaign or a prediction, or a node
            as it stands in an edge (``deployment:delay[UA,EWR]#17``).
        direction: ``"up"`` to what it was made from, ``"down"`` to what was made from it.
        depth: Most steps to walk.

    Raises:
        NotFound: there is no such thing.
    """
    node, near = _node(stations, ref)
    upward = direction == "up"
    edges = [edge for edge in near if (edge.target if upward else edge.source) == node]
    starts = [node] if not edges else [edge.source if upward else edge.target for edge in edges]
    with stations.stores.ledger.read() as db:
        for start in starts:
            steps = depth - (start != node)
            edges += (graph.up if upward else graph.down)(db, start, steps, _MOST)
        edges = list(dict.fromkeys(edges))[:_MOST]
        told = list(dict.fromkeys(name for edge in edges for name in (edge.source, edge.target)))[:_TOLD]
        details = nodes.details(db, told)
        if not upward:
            counted = nodes.predictions(db, told)
            edges += [Edge(model, "answered", some) for model, (some, _) in counted.items()]
            details |= dict(counted.values())
    return {
        "node": node,
        "direction": direction,
        "edges": edges,
        "details": details,
        "more": len(edges) >= _MOST,
    }


def _node(stations: Stations, text: str) -> tuple[str, list[Edge]]:
    """The node that a reference names; with its edges, where it is one that the ledger knows nothing of."""
    kind, _, rest = text.partition(":")
    if kind in ("prediction", "outcome") or _PREDICTION.fullmatch(text):
        prediction = _prediction(stations, rest if kind in ("prediction", "outcome") else text)
        return f"prediction:{prediction['id']}", _around(stations, prediction)
    if kind in _PREFIXES:
        return text, []
    if _ID.fullmatch(text):
        with stations.stores.ledger.read() as db:
            for name, table in (("run", runs), ("campaign", campaigns)):
                if db.scalar(select(table.c.id).where(table.c.id == text)) is not None:
                    return f"{name}:{text}", []
        raise NotFound(
            f"there is no run {text}", "no campaign has that id either", "'modelworks runs list' shows runs"
        )
    ref = Ref.parse(text)
    if ref.name in stations.project.datasets or stations.data.latest_or_none(ref.name) is not None:
        return f"dataset:{Ref(ref.name, at=stations.data.version_of(ref).version)}", []
    return f"model:{stations.registry.get(ref).ref}", []


def _around(stations: Stations, prediction: Mapping[str, Any]) -> list[Edge]:
    """From the version that answered to a prediction, and on to what happened."""
    ref = Ref(prediction["model"], parse_segment(prediction["segment"]), int(prediction["version"]))
    node = f"prediction:{prediction['id']}"
    came = [
        Edge(node, "turned out", f"outcome:{'-' if value is None else value} at {one['time']:%Y-%m-%d %H:%M}")
        for one in stations.serve.outcomes_of(prediction)
        for value in [one["label"] if one["value"] is None else one["value"]]
    ]
    return [Edge(f"model:{ref}", "answered", node), *came]


def _prediction(stations: Stations, prediction_id: str) -> dict[str, Any]:
    if prediction_id.startswith(UNLOGGED):
        raise NotFound(
            f"{prediction_id[:80]!r} is not in the prediction log",
            "only a sample of this model's answers is: see log= of the model",
            "'modelworks predictions' lists the newest that are",
        )
    found = stations.serve.find(prediction_id)
    if found is None:
        raise NotFound(
            f"there is no prediction {prediction_id[:80]!r}",
            "it is neither in the prediction log nor on its way there",
            "take the 'id' of an answer of POST /predict; 'modelworks predictions' lists the newest",
        )
    return found
