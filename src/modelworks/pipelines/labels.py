"""What people say of models and versions, said where it is known whether there are such."""

from __future__ import annotations

from typing import Any

from modelworks.core.ref import Ref
from modelworks.pipelines.context import Stations
from modelworks.registry import labels, search
from modelworks.registry.missing import no_model, no_segment


def say(stations: Stations, ref: Ref, **what: Any) -> dict[str, Any]:
    """Say something of a model, a segment or a version: see `registry.labels.say`.

    Raises:
        NotFound: there is no such thing.
        Invalid: it is too long to be kept.
    """
    if ref.at is not None:
        ref = stations.registry.get(ref).ref
    with stations.stores.ledger.write() as db:
        if not search.exists(db, ref):
            raise no_segment(db, ref) if search.exists(db, Ref(ref.name)) else no_model(db, ref.name)
        return {"ref": str(ref), **vars(labels.say(db, ref, stations.clock(), **what))}
