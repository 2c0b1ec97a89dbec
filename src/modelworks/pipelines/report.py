"""What there is, for people to look at: status, runs, models, deployments, monitoring."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any, cast, get_args

from sqlalchemy import func, select

from modelworks.core.duration import days_back
from modelworks.core.errors import Invalid, NotFound
from modelworks.core.ref import Ref, parse_segment, segment_text
from modelworks.monitor.history import By
from modelworks.pipelines import campaign, online
from modelworks.pipelines.context import Stations
from modelworks.pipelines.release import WAITING
from modelworks.registry import labels
from modelworks.registry.model_version import ModelVersion
from modelworks.stores.ledger.tables import (
    alerts,
    aliases,
    decisions,
    model_versions,
)
from modelworks.stores.ledger.tables import (
    deployments as deployed,
)
from modelworks.stores.ledger.tables import (
    experiments as named,
)
from modelworks.stores.ledger.tables import (
    runs as trials,
)
from modelworks.track import experiments as groups
from modelworks.track.station import TrackStation

_MOST_DAYS = 36_500
_USUAL = {"day": 28, "month": 366}
"""Days that are shown where nobody says how many."""


def status(stations: Stations) -> dict[str, Any]:
    """The factory at a glance."""
    with stations.stores.ledger.read() as db:
        counted = {
            "live": db.scalar(select(func.count()).select_from(deployed)),
            "versions": db.scalar(select(func.count()).select_from(model_versions)),
            "alerts": db.scalar(select(func.count()).select_from(alerts).where(alerts.c.closed.is_(None))),
            "waiting": db.scalar(select(func.count()).select_from(aliases).where(aliases.c.alias == WAITING)),
            "revision": db.scalar(select(func.max(deployed.c.revision))) or 0,
        }
        by_action = select(decisions.c.action, func.count()).group_by(decisions.c.action)
        actions = {row[0]: row[1] for row in db.execute(by_action)}
    return {
        "root": str(stations.project.root),
        "now": stations.clock(),
        **counted,
        "training": campaign.going(stations.stores.ledger),
        "decisions": actions,
        "datasets": stations.data.overview(),
        "models": models(stations),
        "last_decisions": stations.learn.decisions(None, 10),
    }


def runs(
    tracking: TrackStation, query: str, model: str | None, limit: int, deleted: bool
) -> list[dict[str, Any]]:
    """The runs that a query asks for, only those of a model where one is named."""
    if model is not None:
        quoted = model.replace("'", "''")
        given = f"name = '{quoted}'"
        head = re.match(r"\s*(order\s+by|limit)\b", query, re.IGNORECASE)
        query = f"{given} {query}" if head or not query.strip() else f"{given} and ({query})"
    return tracking.find(query, limit, deleted)


def experiments(tracking: TrackStation, limit: int, deleted: bool) -> list[dict[str, Any]]:
    """Experiments, the newest first, with the number of their runs in sight."""
    tracking.settle()
    column = named.c.deleted
    with tracking.stores.ledger.read() as db:
        found = groups.find(db, column.is_not(None) if deleted else column.is_(None), (), 0, limit)
        some = [row["name"] for row in found]
        counted = select(trials.c.experiment, func.count()).where(trials.c.experiment.in_(some))
        if not deleted:
            counted = counted.where(trials.c.deleted.is_(None))
        counts = {row[0]: row[1] for row in db.execute(counted.group_by(trials.c.experiment))}
    return [{**row, "name": row["name"] or "(none)", "runs": counts.get(row["name"], 0)} for row in found]


def run(tracking: TrackStation, identifier: str) -> dict[str, Any]:
    """One run, and the version it made.

    Raises:
        NotFound: there is none of that id.
    """
    told = tracking.run(identifier)
    with tracking.stores.ledger.read() as db:
        made = db.execute(
            select(model_versions.c.model, model_versions.c.segment, model_versions.c.version).where(
                model_versions.c.run == told["id"]
            )
        ).one_or_none()
    ref = None if made is None else str(Ref(made.model, parse_segment(made.segment), made.version))
    return {**told, "made": ref}


def course(
    tracking: TrackStation, identifier: str, metric: str | None, points: int
) -> dict[str, list[dict[str, Any]]]:
    """The points of a run's metrics: metric to points."""
    found = tracking.course(identifier, metric, points)
    return {
        name: part.drop("metric").to_dicts()
        for (name,), part in found.partition_by("metric", as_dict=True, maintain_order=True).items()
    }


def models(stations: Stations) -> list[dict[str, Any]]:
    """Every model with its number of segments, versions and champions."""
    return [
        {
            "name": one.name,
            "dataset": one.dataset,
            "target": one.target,
            "per": one.per,
            "segments": one.segments,
            "versions": one.versions,
            "champions": one.champions,
            "updated": one.updated,
        }
        for one in stations.registry.models()
    ]


def model(stations: Stations, ref: Ref) -> dict[str, Any]:
    """One model as a whole, or one segment of it, or one version.

    Raises:
        NotFound: there is no such model, segment or version.
    """
    summary = next((one for one in stations.registry.models() if one.name == ref.name), None)
    if summary is None:
        known = ", ".join(one.name for one in stations.registry.models()) or "none"
        raise NotFound(f"there is no model {ref.name!r}", f"there are: {known}", "check the name")
    told: dict[str, Any] = {"model": summary, "ref": str(ref)}
    with stations.stores.ledger.read() as db:
        told["labels"] = labels.of(db, Ref(ref.name, ref.segment))
    if ref.segment or ref.at is not None or not summary.per:
        shown = versions(stations, ref.name, segment_text(ref.segment), 20)
        told["versions"] = shown
        told["aliases"] = stations.registry.aliases(ref.name, ref.segment)
        told["history"] = stations.deploy.history(ref.name, ref.segment, 20)
        if shown:
            one = stations.registry.get(ref if ref.at is not None else Ref(ref.name, ref.segment, "latest"))
            told["version"] = _version(one) | {
                "rows_filter": one.rows_filter,
                "signature": one.package.signature.to_json(),
            }
            told["verdicts"] = stations.registry.verdicts(one.ref)
            with stations.stores.ledger.read() as db:
                told["version"]["labels"] = labels.of(db, one.ref)
    return told


def versions(stations: Stations, name: str, segment: str | None, limit: int) -> list[dict[str, Any]]:
    """The newest versions of a model, or of one segment of it."""
    found = stations.registry.versions(name, None if segment is None else parse_segment(segment), limit)
    return [_version(one) | {"rows_filter": one.rows_filter} for one in found]


def _version(one: ModelVersion) -> dict[str, Any]:
    return {
        "ref": str(one.ref),
        "model": one.model,
        "segment": segment_text(one.segment),
        "version": one.version,
        "metrics": one.metrics,
        "dataset": f"{one.dataset}@{one.dataset_version}" if one.dataset else None,
        "served": one.package.served,
        "proof": one.package.proof,
        "run": one.run,
        "created": one.created,
        "archived": one.archived,
    }


def deployments(stations: Stations, name: str | None, limit: int) -> list[dict[str, Any]]:
    """Which version answers for which segment, with its metrics at validation; the newest change first."""
    query = (
        select(
            deployed.c.model,
            deployed.c.segment,
            deployed.c.champion.label("version"),
            deployed.c.previous,
            deployed.c.reason,
            deployed.c.revision,
            deployed.c.updated,
            model_versions.c.metrics,
            model_versions.c.dataset_version,
        )
        .join(
            model_versions,
            (model_versions.c.model == deployed.c.model)
            & (model_versions.c.segment == deployed.c.segment)
            & (model_versions.c.version == deployed.c.champion),
        )
        .order_by(deployed.c.revision.desc())
        .limit(limit)
    )
    if name is not None:
        query = query.where(deployed.c.model == name)
    with stations.stores.ledger.read() as db:
        return [dict(row) for row in db.execute(query).mappings()]


def monitor(
    stations: Stations, name: str, segment: str | None, days: int | None, by: str = "day"
) -> dict[str, Any]:
    """A model by day or month, and its champions over the last days.

    Raises:
        NotFound: the project has no such model.
        Invalid: it is more days than a calendar has; there is no such span.
    """
    model = stations.project.model(name)
    if by not in get_args(By):
        raise Invalid(f"it cannot be told by {by!r}", "", f"use one of {', '.join(get_args(By))}")
    days = days_back(days, _USUAL[by], 0, _MOST_DAYS)
    # The last days that were observed: after a replay, or a pause, these are not the last days.
    end = stations.monitor.looked_until(name)
    watches = stations.monitor.summary(name, end=end, days=days)
    if segment is not None:
        watches = [watch for watch in watches if segment_text(watch.segment) == segment]
    spans, honesty = stations.monitor.history(name, segment, end=end, days=days, by=cast("By", by))
    return {
        "model": name,
        "segment": segment,
        "reference": model.drift.reference,
        "days": spans,
        "expected": asdict(honesty),
        "outcomes": stations.monitor.truths(name, end=end, days=days),
        "champions": [
            {
                "segment": segment_text(watch.segment),
                "version": watch.version,
                "rows": watch.rows,
                "labelled": watch.labelled,
                "output_mean": watch.output_mean,
                "loss": watch.loss,
                "promised": watch.promised,
                "auc": watch.auc,
                "expected_loss": watch.expected_loss,
                "expected_loss_error": watch.expected_loss_error,
                "expected_auc": watch.expected_auc,
                "psi": watch.psi,
                "output_psi": watch.output_psi,
                "drift_test": watch.drift_test,
                "reference": watch.reference,
                "drift": watch.drift,
                "output_drift": watch.output_drift,
                "shifted": watch.shifted,
                "effects": watch.effects,
                "effect_errors": watch.effect_errors,
                "decayed": watch.decayed,
            }
            for watch in sorted(watches, key=lambda watch: -watch.rows)
        ],
        "checkpoints": online.history(stations, name, segment),
    }
