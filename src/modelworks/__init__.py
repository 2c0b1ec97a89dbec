"""Modelworks: a model factory in one package.

Everything a user needs hangs here and is loaded when it is first used, so that ``import modelworks`` costs
next to nothing::

    import modelworks as mw

    flights = mw.Dataset("flights", source=mw.Files("data/*.parquet"), ...)

    @mw.model(dataset=flights, target="late", features=[...], per=["carrier", "origin"])
    def delay(X, y, params): ...
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_DOORS = {
    "Dataset": "modelworks.data.dataset",
    "AsOf": "modelworks.data.features.definition",
    "Rolling": "modelworks.data.features.definition",
    "Rule": "modelworks.data.checks.row",
    "Fresh": "modelworks.data.checks.batch",
    "Rows": "modelworks.data.checks.batch",
    "Steady": "modelworks.data.checks.batch",
    "Files": "modelworks.data.sources.files",
    "Sql": "modelworks.data.sources.sql",
    "Nats": "modelworks.data.streams.nats",
    "Kafka": "modelworks.data.streams.kafka",
    "Number": "modelworks.core.schema",
    "Text": "modelworks.core.schema",
    "Bool": "modelworks.core.schema",
    "Time": "modelworks.core.schema",
    "model": "modelworks.pipelines.project",
    "Tune": "modelworks.train.tune",
    "AtLeast": "modelworks.registry.gates.at_least",
    "AtMost": "modelworks.registry.gates.at_most",
    "BeatsChampion": "modelworks.registry.gates.beats_champion",
    "Calibrated": "modelworks.registry.gates.calibrated",
    "Compatible": "modelworks.registry.gates.compatible",
    "Compiled": "modelworks.registry.gates.compiled",
    "Fair": "modelworks.registry.gates.fair",
    "Fast": "modelworks.registry.gates.fast",
    "FreshData": "modelworks.registry.gates.fresh_data",
    "Robust": "modelworks.registry.gates.robust",
    "Slices": "modelworks.registry.gates.slices",
    "Small": "modelworks.registry.gates.small",
    "Direct": "modelworks.deploy.strategies.direct",
    "BlueGreen": "modelworks.deploy.strategies.blue_green",
    "Canary": "modelworks.deploy.strategies.canary",
    "Shadow": "modelworks.deploy.strategies.shadow",
    "AB": "modelworks.deploy.strategies.ab",
    "Bandit": "modelworks.deploy.strategies.bandit",
    "Guard": "modelworks.deploy.strategies.guard",
    "Holdout": "modelworks.deploy.holdout",
    "Inputs": "modelworks.deploy.inputs",
    "Log": "modelworks.deploy.log",
    "Every": "modelworks.learn.triggers.every",
    "OnCode": "modelworks.learn.triggers.on_code",
    "OnData": "modelworks.learn.triggers.on_data",
    "OnDetector": "modelworks.learn.triggers.on_detector",
    "OnDrift": "modelworks.learn.triggers.on_drift",
    "OnDecay": "modelworks.learn.triggers.on_decay",
    "OnGain": "modelworks.learn.triggers.on_gain",
    "OnOutcomes": "modelworks.learn.triggers.on_outcomes",
    "OnRows": "modelworks.learn.triggers.on_rows",
    "Budget": "modelworks.learn.budget",
    "LargeChange": "modelworks.registry.approval",
    "Alarm": "modelworks.monitor.alarm",
    "Drift": "modelworks.monitor.drift.rule",
    "Payoff": "modelworks.monitor.value",
    "Worth": "modelworks.monitor.value",
    "Factory": "modelworks.factory",
    "run": "modelworks.sdk.standalone",
    "runs": "modelworks.sdk.standalone",
    "autolog": "modelworks.sdk.standalone",
    "serve": "modelworks.sdk.standalone",
    "connect": "modelworks.sdk.client",
    "ModelworksError": "modelworks.core.errors",
}

__all__ = [*_DOORS, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _DOORS:
        raise AttributeError(
            f"module 'modelworks' has no attribute {name!r}; it has {', '.join(sorted(_DOORS))}"
        )
    return getattr(import_module(_DOORS[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
