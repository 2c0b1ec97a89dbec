"""Two model versions side by side: how good on the same rows, and in what they differ."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import unified_diff
from typing import Any

from sqlalchemy import func, select

from modelworks.core.errors import ModelworksError
from modelworks.core.plain import plain
from modelworks.core.ref import Ref
from modelworks.models.metrics import METRICS
from modelworks.models.signature import Signature
from modelworks.pipelines.card import compared
from modelworks.pipelines.context import Stations
from modelworks.pipelines.look_back import look_back
from modelworks.registry.gates.evidence import Comparison
from modelworks.registry.model_version import ModelVersion
from modelworks.stores.ledger.tables import dataset_versions, runs
from modelworks.train.evidence import gather


def compare(stations: Stations, before: Ref, after: Ref) -> dict[str, Any]:
    """Two versions, of one model or of two: ``after`` beside ``before``.

    Metrics that were recorded are each of its own held-out rows. Where the rows of `after` are still there, both
    are asked about these, and the differences have intervals.

    Args:
        stations: The belt.
        before: The one version.
        after: The other.

    Raises:
        NotFound: there is no such version.
    """
    one, other = stations.registry.get(before), stations.registry.get(after)
    names = list(dict.fromkeys([*one.metrics, *other.metrics]))
    told = {
        "before": _told(one),
        "after": _told(other),
        "metrics": {
            name: {
                "before": one.metrics.get(name),
                "after": other.metrics.get(name),
                "greater_is_better": METRICS[name].greater_is_better if name in METRICS else None,
            }
            for name in names
        },
        "same_rows": _same_rows(stations, one, other),
        "params": _changes(_params(stations, one), _params(stations, other)),
        "inputs": _inputs(one.package.signature, other.package.signature),
        "data": _data(stations, one, other),
        "environment": _changes(_packages(stations, one), _packages(stations, other)),
        "code": _code(stations, one, other),
        "verdicts": {
            "before": stations.registry.verdicts(one.ref),
            "after": stations.registry.verdicts(other.ref),
        },
    }
    return dict(plain(told))


def _told(version: ModelVersion) -> dict[str, Any]:
    package = version.package
    return {
        "ref": str(version.ref),
        "created": version.created,
        "flavor": package.flavor,
        "served": "compiled" if package.compiled else "native",
        "task": package.signature.task,
        "classes": [str(label) for label in package.signature.classes],
        "run": version.run,
    }


def _same_rows(stations: Stations, one: ModelVersion, other: ModelVersion) -> dict[str, Any]:
    names = [name for name in other.metrics if name in METRICS]
    try:
        seen = look_back(stations, other, one).held_out
    except ModelworksError as error:
        return {"rows": 0, "why": error.what, "metrics": {}}
    if seen.champion is None:
        return {"rows": 0, "why": f"{one.ref} takes inputs that these rows do not have", "metrics": {}}
    found = gather([Comparison(name) for name in names], seen)
    metrics = {name: found[Comparison(name)] for name in names}
    return {
        "rows": len(seen),
        "why": "",
        "metrics": {
            name: compared(name, all_[""]) for name, all_ in metrics.items() if isinstance(all_, Mapping)
        },
    }


def _params(stations: Stations, version: ModelVersion) -> dict[str, Any]:
    with stations.stores.ledger.read() as db:
        return dict(db.scalar(select(runs.c.params).where(runs.c.id == version.run)) or {})


def _packages(stations: Stations, version: ModelVersion) -> dict[str, str]:
    lines = _artifact(stations, version.package.environment).splitlines()
    return dict(line.split("==", 1) for line in lines if "==" in line)


def _artifact(stations: Stations, digest: str) -> str:
    try:
        return stations.stores.artifacts.get(digest).decode(errors="replace")
    except ModelworksError:
        return ""


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What is not the same: name to its value before and after, ``None`` where there is none."""
    names = sorted({*before, *after})
    return {
        name: {"before": before.get(name), "after": after.get(name)}
        for name in names
        if before.get(name) != after.get(name)
    }


def _inputs(before: Signature, after: Signature) -> dict[str, dict[str, Any]]:
    one, other = (
        {field.name: f"{field.kind}{' or missing' if field.nullable else ''}" for field in takes.inputs}
        for takes in (before, after)
    )
    return _changes(one, other)


def _data(stations: Stations, one: ModelVersion, other: ModelVersion) -> dict[str, Any]:
    """The dataset versions, and what came in between."""
    told: dict[str, Any] = {}
    for key, version in (("before", one), ("after", other)):
        if version.dataset is None:
            told[key] = None
            continue
        source = stations.data.version_of(Ref(version.dataset, at=version.dataset_version))
        told[key] = {
            "ref": f"{version.dataset}@{version.dataset_version}",
            "rows": source.rows,
            "newest": source.newest,
            "filter": version.rows_filter,
        }
    if one.dataset is None or one.dataset != other.dataset:
        return told | {"between": None}
    low, high = sorted([one.dataset_version or 0, other.dataset_version or 0])
    v = dataset_versions.c
    query = select(
        func.count(),
        func.coalesce(func.sum(v.added), 0),
        func.coalesce(func.sum(v.replaced), 0),
        func.coalesce(func.sum(v.quarantined), 0),
    ).where(v.dataset == one.dataset, v.version > low, v.version <= high)
    with stations.stores.ledger.read() as db:
        count, added, replaced, quarantined = db.execute(query).one()
    between = {"versions": count, "added": added, "replaced": replaced, "quarantined": quarantined}
    return told | {"between": between}


def _code(stations: Stations, one: ModelVersion, other: ModelVersion) -> dict[str, Any]:
    same = one.package.code == other.package.code
    before, after = (_artifact(stations, version.package.code).splitlines() for version in (one, other))
    lines = [] if same else [*unified_diff(before, after, str(one.ref), str(other.ref), lineterm="")]
    return {"same": same, "diff": "\n".join(lines)}
