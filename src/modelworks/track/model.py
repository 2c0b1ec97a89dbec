"""A model that a run has fitted, made into a version of the registry."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from modelworks.core.clock import Clock
from modelworks.registry.model_version import Draft, ModelVersion
from modelworks.registry.station import RegistryStation
from modelworks.stores import Stores

if TYPE_CHECKING:
    import pandas as pd


def register(
    run: str,
    run_name: str,
    metrics: Mapping[str, float],
    stores: Stores,
    clock: Clock,
    model: Any,
    name: str,
    example: pd.DataFrame,
    y: Any,
) -> ModelVersion:
    """Package a fitted model and register it; see `Run.log_model`.

    Raises:
        Invalid: the model cannot be packaged.
    """
    # What packages a model takes a second to import, and most runs have none.
    import numpy as np

    from modelworks.models import packaging
    from modelworks.models.signature_of import signature
    from modelworks.track.lock import environment

    targets = None if y is None else np.asarray(y)
    takes = signature(example, targets, tuple(map(str, example.columns)), model)
    digest, content = environment()
    stores.artifacts.put(content)
    code = stores.artifacts.put(f"logged by run {run_name}\n".encode())
    package = packaging.pack(
        model, takes, example, stores.artifacts, code=code, environment=digest, reference=None
    )
    kept = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
    registry = RegistryStation(stores.ledger, clock)
    with stores.ledger.write() as db:
        return registry.register_many(db, [Draft(name, (), run, package, kept)])[0]
