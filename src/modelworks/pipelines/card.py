"""The facts of a model card: what a version is, on what it rests, how good it is and where it ends.

Source: Mitchell et al., "Model Cards for Model Reporting", FAT* 2019.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from modelworks.core.errors import Invalid, ModelworksError, NotFound
from modelworks.core.plain import plain
from modelworks.core.ref import Ref, segment_text
from modelworks.models.metrics import METRICS
from modelworks.monitor.value import Worth
from modelworks.pipelines import release
from modelworks.pipelines.context import Stations
from modelworks.pipelines.look_back import LookBack, look_back
from modelworks.pipelines.worth import held_out, looked_at
from modelworks.registry import labels
from modelworks.registry.gates import needed
from modelworks.registry.gates.calibrated import expected_error
from modelworks.registry.gates.chance import interval, miscalibrated
from modelworks.registry.gates.evidence import Calibration, Compared, Comparison, Confusion, Confusions
from modelworks.registry.model_version import ModelVersion
from modelworks.stores.ledger.tables import campaigns, decisions, runs
from modelworks.train.evidence import gather

_SLICED = 6
"""Columns that a card slices by at most."""
_SLICES = 8
"""Slices of a column that a card shows at most, those with the most rows."""
_FEW = 30
"""Rows below which a slice, or a version, says little."""


def card(stations: Stations, ref: Ref) -> dict[str, Any]:
    """Everything that a card says of a version, as plain data.

    What the ledger does not hold is looked at again: the rows of the dataset version that it was made of. Where
    these are gone, ``looked`` says why, and what rests on them is left out.

    Args:
        stations: The belt.
        ref: The version; without a number the champion, or else the newest.

    Raises:
        NotFound: there is no such version.
    """
    version = stations.registry.get(ref)
    beside = _beside(stations, version)
    columns = _sliced(stations, version)
    try:
        sent = _sent(stations, version)
        back: LookBack | None = look_back(stations, version, beside, [*columns, *sent])
        looked = ""
    except ModelworksError as error:
        back, looked, sent = None, error.what, []
    told = {
        "ref": str(version.ref),
        "model": version.model,
        "segment": segment_text(version.segment),
        "version": version.version,
        "created": version.created,
        "looked": looked,
        "labels": _labels(stations, version),
        "about": _about(stations, version),
        "data": _data(stations, version, back),
        "inputs": _inputs(stations, version, back),
        "beside": None if beside is None else str(beside.ref),
        "metrics": {
            name: {"recorded": value, **compared(name, Compared(0))}
            for name, value in version.metrics.items()
        },
        "slices": [],
        "calibration": None,
        "value": None,
        "unvalued": "",
        "proof": version.package.proof,
        "served": "compiled" if version.package.compiled else "native",
        "environment": _environment(stations, version),
        "code": _code(stations, version),
        "verdicts": stations.registry.verdicts(version.ref),
    }
    if back is not None:
        told |= _judged(stations, version, back, columns, sent)
    told["deployment"] = _deployment(stations, version)
    told["limits"] = _limits(told, back)
    return dict(plain(told))


def _beside(stations: Stations, version: ModelVersion) -> ModelVersion | None:
    """What a version is compared with: the champion; for the champion itself, the one before it."""
    try:
        state = stations.deploy.state_of(version.model, version.segment)
    except NotFound:
        return None
    number = state.champion if state.champion != version.version else state.previous
    if number is None or number == version.version:
        return None
    return stations.registry.get(Ref(version.model, version.segment, number))


def _labels(stations: Stations, version: ModelVersion) -> dict[str, Any]:
    """Owner, tags, notes: what people have said of the model, its segment and this version; a line each on the card."""
    whole = Ref(version.model)
    about = dict.fromkeys([whole, Ref(version.model, version.segment), version.ref])
    with stations.stores.ledger.read() as db:
        said = labels.of_many(db, about)
    told: dict[str, Any] = {}
    for ref in (ref for ref in about if ref in said):
        of = "" if ref == whole else f" of {ref}"
        one = said[ref]
        lines = {
            "owner": one.owner,
            "note": one.note,
            "tags": ", ".join(f"{k}={v}" for k, v in one.tags.items()),
        }
        told |= {f"{name}{of}": text for name, text in lines.items() if text}
    return told


def _about(stations: Stations, version: ModelVersion) -> dict[str, Any]:
    model = stations.project.models.get(version.model)
    takes = version.package.signature
    with stations.stores.ledger.read() as db:
        run = db.execute(select(runs).where(runs.c.id == version.run)).mappings().one_or_none()
        why = None
        if run is not None and run["campaign"]:
            why = db.scalar(select(campaigns.c.reason).where(campaigns.c.id == run["campaign"]))
    return {
        "target": None if model is None else model.definition.target,
        "per": [] if model is None else list(model.definition.per),
        "description": "" if model is None else (model.definition.fit.__doc__ or "").strip().split("\n\n")[0],
        "task": takes.task,
        "classes": [str(label) for label in takes.classes],
        "flavor": version.package.flavor,
        "run": version.run,
        "params": {} if run is None else run["params"],
        "started": None if run is None else run["started"],
        "ended": None if run is None else run["ended"],
        "reason": why,
        "segments": _segments(stations, version),
    }


def _segments(stations: Stations, version: ModelVersion) -> dict[str, int]:
    """Of the whole model: segments with a version, and with a champion."""
    found = [one for one in stations.registry.models() if one.name == version.model]
    return {"all": found[0].segments, "live": found[0].champions} if found else {"all": 0, "live": 0}


def _data(stations: Stations, version: ModelVersion, back: LookBack | None) -> dict[str, Any]:
    if version.dataset is None:
        return {}
    source = stations.data.version_of(Ref(version.dataset, at=version.dataset_version))
    return {
        "ref": f"{version.dataset}@{version.dataset_version}",
        "rows": source.rows,
        "created": source.created,
        "newest": source.newest,
        "quarantined": source.quarantined,
        "sources": len(source.sources),
        "filter": version.rows_filter,
        "trained": None if back is None else back.trained,
        "held_out": None if back is None else len(back.held_out),
        "first": None if back is None else back.first,
        "until": None if back is None else back.until,
        "last": None if back is None else back.held_out.newest,
        "contract": list(source.columns.values()),
    }


def _inputs(stations: Stations, version: ModelVersion, back: LookBack | None) -> list[dict[str, Any]]:
    declared = stations.project.datasets.get(version.dataset or "")
    return [
        {
            "name": field.name,
            "kind": str(field.kind),
            "nullable": field.nullable,
            "computed": declared is not None and field.name in declared.features,
            "seen": None if back is None else back.inputs[field.name],
            "outside": None if back is None else back.outside[field.name],
        }
        for field in version.package.signature.inputs
    ]


def _sliced(stations: Stations, version: ModelVersion) -> list[str]:
    """Columns to slice by: those that split the model further, those that its gates look at, its texts."""
    model = stations.project.models.get(version.model)
    if model is None:
        return []
    asked = [name for need in needed(model.gates) for name in need.columns]
    further = model.definition.per[len(version.segment) :]
    return list(dict.fromkeys([*further, *asked, *version.package.signature.texts]))[:_SLICED]


def _sent(stations: Stations, version: ModelVersion) -> list[str]:
    """Columns that say what a row is worth; see `worth.looked_at`."""
    model = stations.project.models.get(version.model)
    return [] if model is None else looked_at(stations, model, version.dataset_version)


def _judged(
    stations: Stations, version: ModelVersion, back: LookBack, columns: list[str], sent: list[str]
) -> dict[str, Any]:
    """What was found on the held-out rows."""
    model = stations.project.models[version.model]
    names = [name for name in version.metrics if name in METRICS]
    threshold = 0.5 if model.payoff is None else model.payoff.threshold
    wanted = [*(Comparison(name) for name in names), Calibration(), Confusions("", threshold)]
    parts = [Comparison(names[0], column, 10) for column in columns] if names else []
    found = gather([*wanted, *parts], back.held_out)
    told: dict[str, Any] = {"metrics": {}, "slices": []}
    for name in version.metrics:
        one = found.get(Comparison(name))
        seen = one[""] if isinstance(one, Mapping) else Compared(len(back.held_out))
        told["metrics"][name] = {"recorded": version.metrics[name], **compared(name, seen)}
    for need in parts:
        if not isinstance(found[need], str) and len(found[need]) > 1:
            told["slices"].append(_slices(need, found[need]))
    bins = found[Calibration()]
    if not isinstance(bins, str):
        statistic, chance = miscalibrated(bins.bins)
        told["calibration"] = {
            "rows": bins.rows, "bins": bins.bins, "spread": bins.spread, "error": expected_error(bins),
            "statistic": statistic, "p": chance, "z": bins.z,
        }  # fmt: skip
    counts = found[Confusions("", threshold)]
    if model.payoff is not None and not isinstance(counts, str):
        told["value"] = _value(model.payoff, counts[""])
    if isinstance(model.value, Worth):
        try:
            told["value"] = held_out(model.value, back, sent)
        except Invalid as error:
            told["unvalued"] = error.why
    return told


def _slices(need: Comparison, found: Mapping[str, Compared]) -> dict[str, Any]:
    large = {name: one for name, one in found.items() if one.value is not None}
    return {
        "column": need.by,
        "metric": need.metric,
        "rows": [
            {"name": name or "missing", **compared(need.metric, one)}
            for name, one in list(large.items())[:_SLICES]
        ],
        "more": max(0, len(large) - _SLICES),
        "few": [name or "missing" for name, one in found.items() if one.rows < _FEW],
    }


def compared(name: str, one: Compared) -> dict[str, Any]:
    """A metric with its interval, and beside the other version."""
    told: dict[str, Any] = {
        "rows": one.rows,
        "value": one.value,
        "beside": one.champion,
        "difference": one.difference,
        "greater_is_better": METRICS[name].greater_is_better if name in METRICS else True,
        "interval": None,
        "difference_interval": None,
    }
    if one.value is not None and one.error is not None:
        low, high = interval(one.value, one.error, one.rows)
        least, most = METRICS[name].bounds
        told["interval"] = max(low, least), min(high, most)
    if one.difference is not None and one.difference_error is not None:
        told["difference_interval"] = interval(one.difference, one.difference_error, one.rows)
    return told


def _value(payoff: Any, one: Confusion) -> dict[str, Any]:
    """What acting on the version would have brought on the held-out rows, beside acting never and always."""
    event, other = one.tp + one.fn, one.fp + one.tn
    acted = payoff.tp * one.tp + payoff.fp * one.fp + payoff.fn * one.fn + payoff.tn * one.tn
    return {
        "unit": payoff.unit,
        "threshold": payoff.threshold,
        "payoff": {"tp": payoff.tp, "fp": payoff.fp, "fn": payoff.fn, "tn": payoff.tn},
        "counts": vars(one),
        "rows": one.rows,
        "model": acted,
        "never": payoff.fn * event + payoff.tn * other,
        "always": payoff.tp * event + payoff.fp * other,
    }


def _environment(stations: Stations, version: ModelVersion) -> dict[str, Any]:
    digest = version.package.environment
    try:
        lines = stations.stores.artifacts.get(digest).decode().splitlines()
    except ModelworksError:
        lines = []
    packages = dict(line.split("==", 1) for line in lines if "==" in line)
    return {"digest": digest, "packages": packages}


def _code(stations: Stations, version: ModelVersion) -> dict[str, Any]:
    digest = version.package.code
    try:
        text = stations.stores.artifacts.get(digest).decode(errors="replace")
    except ModelworksError:
        text = ""
    return {"digest": digest, "text": text}


def _deployment(stations: Stations, version: ModelVersion) -> dict[str, Any]:
    """Whether it answers, since when and because of what, and who decided."""
    said = release.because(stations.registry.verdicts(version.ref))

    def because(reason: str) -> str:
        return reason.replace(said, "it passed its gates")

    history = stations.deploy.history(version.model, version.segment)
    mine = [change for change in history if change.champion == version.version]
    d = decisions.c
    query = select(d.at, d.action, d.trigger, d.reason, d.evidence).where(
        d.model == version.model, d.segment == segment_text(version.segment), d.action != "train"
    )
    with stations.stores.ledger.read() as db:
        decided = [dict(row) for row in db.execute(query.order_by(d.at)).mappings()]
    aliases = stations.registry.aliases(version.model, version.segment)
    return {
        "champion": aliases.get("champion") == version.version,
        "aliases": sorted(name for name, number in aliases.items() if number == version.version),
        "history": [
            {"revision": change.revision, "at": change.created, "reason": because(change.reason)}
            for change in mine
        ],
        "decisions": [
            one | {"reason": because(one["reason"])}
            for one in decided
            if one.pop("evidence").get("version") == version.version
            and (one["action"], one["trigger"]) != ("promote", "gate")  # the history has it
        ],
    }


def _limits(told: Mapping[str, Any], back: LookBack | None) -> list[str]:
    """Where it ends, a sentence each."""
    limits = []
    if told["proof"].reason:
        limits.append(f"It is served natively: {told['proof'].reason}.")
    if back is None:
        return [*limits, f"Its rows could not be looked at again: {told['looked']}."]
    held = len(back.held_out)
    limits.append(
        f"It learned from {back.trained:,} rows between {back.first:%Y-%m-%d} and {back.until:%Y-%m-%d}; "
        "of what is different at other times it knows nothing."
    )
    if held < 4 * _FEW:
        limits.append(
            f"Only {held} rows judged it: the intervals are wide, and small differences are chance."
        )
    outside = sorted(((n, name) for name, n in back.outside.items() if n), reverse=True)
    if outside:
        named = ", ".join(f"{name} ({n:,})" for n, name in outside[:6])
        limits.append(
            f"Of the {held:,} held-out rows some have values that no row had that it learned from: {named}."
        )
    missing = [(one["seen"]["missing"] / max(one["seen"]["rows"], 1), one["name"]) for one in told["inputs"]]
    holes = [f"{name} ({share:.0%})" for share, name in sorted(missing, reverse=True) if share >= 0.05]
    if holes:
        limits.append(f"Often missing where it learned: {', '.join(holes[:6])}.")
    for part in told["slices"]:
        if part["few"]:
            more = f" and {len(part['few']) - 8} more" if len(part["few"]) > 8 else ""
            limits.append(
                f"Fewer than {_FEW} held-out rows: {part['column']} {', '.join(part['few'][:8])}{more}."
            )
    calibration = told["calibration"]
    if calibration and calibration["p"] < 0.05:
        limits.append(
            f"Its probabilities are off by {calibration['error']:.1%} on average, which is not chance "
            f"(p = {calibration['p']:.2g})."
        )
    if told["unvalued"]:
        limits.append(f"What its answers are worth cannot be told: {told['unvalued']}.")
    moved = [
        name
        for name, one in told["metrics"].items()
        if None not in (one["recorded"], one.get("value")) and abs(one["recorded"] - one["value"]) > 1e-4
    ]
    if moved:
        limits.append(
            f"{', '.join(moved)} came out differently now than when it was trained: rows were erased or "
            "corrected since, or it is served in another form."
        )
    return limits
