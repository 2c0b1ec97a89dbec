"""What a training rests on, in one document: enough to do it again somewhere else, later."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from modelworks.core.plain import to_json
from modelworks.core.ref import Ref
from modelworks.lineage import graph
from modelworks.lineage.edge import Edge
from modelworks.models.definition import Definition
from modelworks.pipelines import sources
from modelworks.pipelines.context import Stations
from modelworks.stores.artifacts import Artifacts
from modelworks.track.lock import distributed, environment
from modelworks.train.trainer import Begun

ARTIFACT = "basis.json"
"""Name of the document among the artifacts of a run."""


@dataclass(frozen=True)
class Basis:
    """What a training rests on.

    Attributes:
        dataset: What it learned from.
        time: Column of its event time.
        inputs: Datasets to their versions: that one, and those that its features look into.
        digests: Datasets to the digests of these versions.
        source: Digest of the document with the code of the project.
        environment: Digest of the environment's document.
        strange: Modules that the code imports and that are neither the project's nor of any distribution.
        since: Rows before this time (microseconds) were left out; ``None`` without a window.
        kinds: Column to its type, as the fits saw it.
    """

    dataset: str
    time: str
    inputs: Mapping[str, int]
    digests: Mapping[str, str]
    source: str
    environment: str
    strange: tuple[str, ...] = ()
    since: int | None = None
    kinds: Mapping[str, str] = field(default_factory=dict)

    def stored(self, artifacts: Artifacts) -> str:
        """Store it; returns its digest."""
        return artifacts.put(to_json(asdict(self), indent=True))

    @classmethod
    def read(cls, content: bytes) -> Basis:
        """The inverse of `stored`."""
        told = json.loads(content)
        return cls(**{**told, "strange": tuple(told["strange"])})


def basis_of(
    stations: Stations, definition: Definition, time: str, begun: Begun, inputs: Mapping[str, int]
) -> Basis:
    """What a training that begins now rests on; what it refers to is stored."""
    artifacts, code = stations.stores.artifacts, stations.project.sources
    return Basis(
        dataset=definition.dataset,
        time=time,
        inputs=inputs,
        digests={name: stations.data.version_of(Ref(name, at=at)).digest for name, at in inputs.items()},
        source=artifacts.put(sources.document(code)),
        environment=made_with(stations),
        strange=tuple(sorted(distributed(sources.foreign(code))[1])),
        since=begun.since,
        kinds=begun.kinds,
    )


def record_basis(stations: Stations, definition: Definition, basis: Basis, campaign: str) -> str:
    """Store what a campaign rests on, and write its lineage: an edge for each input, none for each run.

    Returns:
        Digest of the document.
    """
    target = f"campaign:{campaign}"
    edges = [
        *(Edge(f"dataset:{name}@{at}", "trained", target) for name, at in basis.inputs.items()),
        Edge(f"code:{definition.code}", "ran", target),
        Edge(f"source:{basis.source}", "defined", target),
        Edge(f"environment:{basis.environment}", "hosted", target),
    ]
    with stations.stores.ledger.write() as db:
        graph.add(db, edges, stations.clock())
    return basis.stored(stations.stores.artifacts)


def made_with(stations: Stations) -> str:
    """Digest of the environment that the project's code needs, stored."""
    needed, _ = distributed(sources.foreign(stations.project.sources))
    return stations.stores.artifacts.put(environment(needed)[1])
