"""A model that a run has fitted, made into a version of the registry."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from modelworks.core.clock import Clock
from modelworks.registry.model_version import Draft, ModelVersion
from modelworks.registry.station import RegistryStation
from modelworks.stores import Stores

if TYPE_CHECKING:
    import pandas as pd

    from modelworks.models.signature import Signature

_MEASURED = {
    "binary": ("log_loss", "roc_auc"),
    "multiclass": ("log_loss", "accuracy"),
    "regression": ("rmse", "mae"),
}
"""What is measured of a model whose example comes with targets, by its task."""


@dataclass(frozen=True)
class Logged:
    """A model as `Run.log_model` was given it.

    Attributes:
        run: Id of the run.
        origin: Where it came from, one line; stands where a definition's code would.
        model: The fitted model.
        name: Name of the model.
        example: Rows as the model takes them.
        y: Their targets, if they are at hand.
        metrics: What the run has recorded so far.
    """

    run: str
    origin: str
    model: Any
    name: str
    example: pd.DataFrame
    y: Any = None
    metrics: Mapping[str, float] = field(default_factory=dict)

    def signature(self) -> Signature:
        """What the model takes and gives.

        Raises:
            Invalid: it cannot be packaged.
        """
        import numpy as np

        from modelworks.models.signature_of import signature

        targets = None if self.y is None else np.asarray(self.y)
        return signature(self.example, targets, tuple(map(str, self.example.columns)), self.model)


def register(
    stores: Stores,
    clock: Clock,
    logged: Logged,
    takes: Signature | None = None,
    environment: str | None = None,
) -> ModelVersion:
    """Package a fitted model, measure it where its targets are known, and register it; see `Run.log_model`.

    Args:
        stores: Where to.
        clock: Gives the time.
        logged: The model.
        takes: What it takes and gives, where that is known.
        environment: Digest of the environment that it was made in; this process's own by default.

    Raises:
        Invalid: the model cannot be packaged.
    """
    # What packages a model takes a second to import, and most runs have none.
    from modelworks.models import packaging
    from modelworks.models.layout import to_batch
    from modelworks.track.lock import environment as here

    takes = takes or logged.signature()
    if environment is None:
        environment, content = here()
        stores.artifacts.put(content)
    asked = packaging.answered(logged.model, takes, to_batch(logged.example, takes))
    graph, proof = packaging.proven(logged.model, takes, asked)
    code = stores.artifacts.put(f"{logged.origin}\n".encode())
    package = packaging.stored(
        logged.model,
        takes,
        graph,
        proof,
        stores.artifacts,
        code=code,
        environment=environment,
        reference=None,
    )
    kept = {name: value if math.isfinite(value) else None for name, value in logged.metrics.items()}
    draft = Draft(logged.name, (), logged.run, package, _measured(logged.y, takes, asked.scores) | kept)
    with stores.ledger.write() as db:
        return RegistryStation(stores.ledger, clock).register_many(db, [draft])[0]


def _measured(y: Any, takes: Signature, scores: Any) -> dict[str, float | None]:
    if y is None:
        return {}
    import numpy as np

    from modelworks.models.metrics.measured import metrics

    return dict(metrics(_MEASURED.get(takes.task, ()), takes, np.asarray(y), scores))
