"""The Open Inference Protocol, version 2: health, metadata and the repository index.

Source: https://github.com/kserve/open-inference-protocol (REST).
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from modelworks.core.errors import NotFound, NotReady
from modelworks.core.ref import Ref
from modelworks.serving import paths
from modelworks.serving.fleet import Fleet, Served
from modelworks.serving.target import Route
from modelworks.serving.tensors import DATATYPE, outputs_of

Described = tuple[int, Any]
"""HTTP status and plain data."""


def describe(fleet: Fleet, path: bytes) -> Described:
    """What the protocol tells at a path without inference.

    Raises:
        NotFound: there is no such path, model, segment or version.
        NotReady: a model's metadata are asked for and nothing of it is live.
    """
    if path == b"/v2":
        return 200, {"name": "modelworks", "version": version("modelworks"), "extensions": []}
    if path == b"/v2/health/live":
        return 200, {"live": True}
    if path == b"/v2/health/ready":
        return (200 if fleet.ready else 503), {"ready": fleet.ready}
    if path == b"/v2/repository/index":
        return 200, _index(fleet)
    if not path.startswith(paths.MODELS):
        raise NotFound(
            f"there is no {path.decode('latin-1')[:120]!r}",
            "",
            "see GET /v2 and the protocol's documentation",
        )
    parsed = paths.parse(path)
    name = str(Ref(parsed.ref.name, parsed.ref.segment))
    served = fleet.snapshot.served(parsed.ref.name)
    at = parsed.ref.at if isinstance(parsed.ref.at, int) else None
    try:
        route = served.route(parsed.ref.segment or None, at, fleet.pinned)
    except NotReady:
        if parsed.verb == "ready":
            return 503, {"name": name, "ready": False}
        raise
    if parsed.verb == "ready":
        return 200, {"name": name, "ready": True}
    return 200, _metadata(name, served, route)


def _metadata(name: str, served: Served, route: Route) -> dict[str, Any]:
    replicas = [bound.replica for bound in route.bound.values()]
    declared = served.declared
    extra = {declared.key, declared.time}
    features = {one.name for replica in replicas for one in replica.signature.inputs} | set(route.per)
    return {
        "name": name,
        "versions": sorted({str(replica.version) for replica in replicas}, key=int),
        "platform": replicas[0].platform,
        "inputs": [
            {"name": column.name, "datatype": DATATYPE[column.kinds[0]], "shape": [-1]}
            for column in route.rows.columns.values()
            if column.name in features or column.name not in extra
        ],
        "outputs": outputs_of(replicas),
    }


def _index(fleet: Fleet) -> list[dict[str, str]]:
    """Every model, and every segment with a replica of its own; failed ones with the reason."""
    entries = []
    for name, served in sorted(fleet.snapshot.models.items()):
        live = served.replicas
        if served.declared.per or not live:
            state = ("READY", "") if live else ("UNAVAILABLE", "no champion")
            entries.append({"name": name, "version": "", "state": state[0], "reason": state[1]})
        for segment, replica in sorted(live.items()):
            if segment or not served.declared.per:
                ref = str(Ref(name, segment))
                entries.append({"name": ref, "version": str(replica.version), "state": "READY", "reason": ""})
    for (model, text), reason in sorted(fleet.failures.items()):
        name = f"{model}[{text}]" if text else model
        entries.append({"name": name, "version": "", "state": "UNAVAILABLE", "reason": reason})
    return entries
