"""The Open Inference Protocol, version 2: health, metadata and the model repository.

Sources:
    https://github.com/kserve/open-inference-protocol (REST);
    https://github.com/triton-inference-server/server, ``docs/protocol/extension_model_repository.md``.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import msgspec
from msgspec import Struct

from modelworks.core.errors import Conflict, Invalid, NotFound, NotReady
from modelworks.core.ref import Ref
from modelworks.serving import paths
from modelworks.serving.fleet import Fleet, Served
from modelworks.serving.replies import undecodable
from modelworks.serving.target import Route
from modelworks.serving.tensor_target import outputs_of
from modelworks.serving.tensors import DATATYPE

Described = tuple[int, Any]
"""HTTP status and plain data."""
EXTENSIONS = ("binary_tensor_data", "model_repository")
"""Of the protocol, as the server's metadata name them."""
_LOAD = ("load", "unload")


class _Asked(Struct):
    """What a call of the repository may say; all else is for other servers."""

    ready: bool = False


_ASKED = msgspec.json.Decoder(_Asked)


def describe(fleet: Fleet, path: bytes) -> Described:
    """What the protocol tells at a path without inference.

    Raises:
        NotFound: there is no such path, model, segment or version.
        NotReady: a model's metadata are asked for and nothing of it is live.
    """
    if path == b"/v2":
        return 200, {"name": "modelworks", "version": version("modelworks"), "extensions": list(EXTENSIONS)}
    if path == b"/v2/health/live":
        return 200, {"live": True}
    if path == b"/v2/health/ready":
        return (200 if fleet.ready else 503), {"ready": fleet.ready}
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


def manage(fleet: Fleet, path: bytes, body: bytes = b"") -> Any:
    """Answer a call of the model repository, as plain data.

    The server follows the deployments: to load is to look for news of the ledger now, and what is deployed is not
    unloaded.

    Raises:
        Invalid: the body is none of such a call.
        NotFound: there is no such path, model, segment or version.
        NotReady: what is to be loaded has no champion.
        Conflict: what is to be unloaded is deployed.
    """
    if body.strip():
        try:
            asked = _ASKED.decode(body)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            if isinstance(error, UnicodeDecodeError):
                raise Invalid("the request body is not UTF-8", str(error), "send JSON in UTF-8") from None
            raise undecodable(error, body) from None
    else:
        asked = _Asked()
    if path == paths.REPOSITORY + b"index":
        return [one for one in _index(fleet) if not asked.ready or one["state"] == "READY"]
    kind, _, rest = path.removeprefix(paths.REPOSITORY).partition(b"/")
    model, _, verb = rest.rpartition(b"/")
    if kind != b"models" or not model or verb.decode("latin-1") not in _LOAD:
        raise NotFound(f"there is no {path.decode('latin-1')[:120]!r}", "", "see GET /v2")
    name, live = _look(fleet, paths.MODELS + model)
    if verb == b"load":
        fleet.refresh()
        name, live = _look(fleet, paths.MODELS + model)
        if not live:
            raise NotReady(f"{name} is not live", "it has no champion", "deploy it: 'modelworks deploy'")
        return {"name": name, "load": True}
    if live:
        raise Conflict(
            f"{name} is deployed",
            "the server answers for what is deployed",
            "deploy another version, or go back: 'modelworks deploy', 'modelworks rollback'",
        )
    return {"name": name, "unload": True}


def _look(fleet: Fleet, path: bytes) -> tuple[str, bool]:
    """The name of what stands at a path, and whether it answers."""
    ref = paths.parse(path).ref
    name = str(Ref(ref.name, ref.segment))
    try:
        fleet.snapshot.served(ref.name).route(ref.segment or None, None, fleet.pinned)
    except NotReady:
        return name, False
    return name, True


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
