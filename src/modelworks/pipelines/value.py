"""The value ledger: what each model brings, shown by its holdout, less what its computing cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, get_args

import polars as pl
from sqlalchemy import Connection, func, select

from modelworks.core.errors import Invalid
from modelworks.monitor import earnings, returns
from modelworks.monitor.earnings import Earned
from modelworks.monitor.history import By
from modelworks.monitor.returns import Effect
from modelworks.pipelines.context import Stations
from modelworks.pipelines.project import Model
from modelworks.stores.ledger import usage
from modelworks.stores.ledger.tables import alerts, campaigns, runs

Basis = Literal["holdout", "counted", "nothing"]
"""What a model brings is seen beside its holdout; or counted, if answers change nothing but who acts; or unknown."""
_BEGINNING, _END = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
_HOUR = 3600.0
_SPENT = ("train", "serve", "watch")


def value(
    stations: Stations,
    model: str | None = None,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    by: str = "month",
    cpu_hour: float,
) -> dict[str, Any]:
    """What models bring, and what they cost.

    Args:
        stations: The factory.
        model: This one, with its months and segments; all by default.
        since: Predictions for days from this one on.
        until: Predictions for days before this one.
        by: How a single model is told: ``"day"`` or ``"month"``.
        cpu_hour: What an hour of a processor costs, in the unit of the values.

    Raises:
        NotFound: the project has no such model.
        Invalid: there is no such span.
    """
    if by not in get_args(By):
        raise Invalid(f"it cannot be told by {by!r}", "", f"use one of {', '.join(get_args(By))}")
    some = list(stations.project.models.values()) if model is None else [stations.project.model(model)]
    start, end = since or _BEGINNING, until or _END
    with stations.stores.ledger.read() as db:
        spent = _spent(db, start, end)
        days = {one.name: earnings.read(db, one.name, start, end) for one in some}
        told = [_model(one, days[one.name], spent.get(one.name, {}), cpu_hour) for one in some]
        acting = select(alerts.c.model).where(alerts.c.kind == "feedback_loop", alerts.c.closed.is_(None))
        feeding = set(db.scalars(acting))
        for one, entry in zip(some, told, strict=True):
            entry["feedback"] = one.payoff is not None and one.name in feeding
        found: dict[str, Any] = {"cpu_hour": cpu_hour, "since": since, "until": until, "models": told}
        if model is None:
            found["factory"] = _factory(told, spent.get("", {}), cpu_hour)
        else:
            found["spans"] = _spans(days[model], by)
            found["segments"] = _segments(db, model, start, end, told[0], cpu_hour)
    return found


def _model(
    model: Model, days: Sequence[Earned], spent: Mapping[str, float], cpu_hour: float
) -> dict[str, Any]:
    basis, seen = _seen(days)
    cost = sum(spent.values()) / _HOUR * cpu_hour
    earned = {name: _times(getattr(seen, name), seen.rows) for name in ("each", "low", "high")}
    return {
        "model": model.name,
        "unit": None if model.value is None else model.value.unit,
        "basis": basis,
        **_effect(seen),
        "earned": earned["each"],
        "earned_low": earned["low"],
        "earned_high": earned["high"],
        "holdout_cost": None if basis != "holdout" else _times(seen.each, seen.held),
        "seconds": {kind: spent.get(kind, 0.0) for kind in _SPENT},
        "cost": cost,
        "net": None if earned["each"] is None else earned["each"] - cost,
        "return": None if earned["each"] is None or not cost else (earned["each"] - cost) / cost,
        "verdict": _verdict(model, basis, seen, earned, cost),
    }


def _seen(days: Sequence[Earned]) -> tuple[Basis, Effect]:
    if any(one.control.n for one in days):
        return "holdout", returns.effect(days)
    return "counted" if any(one.served.n for one in days) else "nothing", returns.counted(days)


def _effect(seen: Effect) -> dict[str, Any]:
    return {
        "rows": seen.rows,
        "held": seen.held,
        "mean": seen.mean if seen.rows else None,
        "held_mean": seen.held_mean,
        "each": seen.each,
        "low": seen.low,
        "high": seen.high,
    }


def _verdict(
    model: Model, basis: Basis, seen: Effect, earned: Mapping[str, float | None], cost: float
) -> str:
    if model.value is None:
        return "unknown: it has no value="
    if basis == "nothing":
        return "unknown: no outcomes yet"
    if earned["low"] is None or earned["high"] is None:
        return f"unknown: {min(seen.rows, seen.held or seen.rows)} rows are too few"
    if earned["low"] > cost:
        return "pays" if basis == "holdout" else "pays, if answers change nothing"
    if earned["high"] < cost:
        return "does not pay"
    return "not known yet"


def _factory(
    told: Sequence[Mapping[str, Any]], shared: Mapping[str, float], cpu_hour: float
) -> dict[str, Any]:
    """All models together, by unit; that they are independent is taken for the interval of the sum.

    Of a sum of which a part is not known well enough for an interval nothing is said but the sum.
    """
    cost = sum(float(one["cost"]) for one in told) + sum(shared.values()) / _HOUR * cpu_hour
    sums = []
    for unit in sorted({one["unit"] for one in told if one["earned"] is not None}):
        mine = [one for one in told if one["unit"] == unit and one["earned"] is not None]
        earned, low, high = sum(one["earned"] for one in mine), None, None
        if all(one["earned_high"] is not None for one in mine):
            far = math.sqrt(sum((one["earned_high"] - one["earned"]) ** 2 for one in mine))
            low, high = earned - far, earned + far
        sums.append({"unit": unit, "models": len(mine), "earned": earned, "low": low, "high": high})
    return {
        "earned": sums,
        "cost": cost,
        "shared_seconds": sum(shared.values()),
        "not_paying": [one["model"] for one in told if one["verdict"] == "does not pay"],
    }


def _spans(days: Sequence[Earned], by: str) -> list[dict[str, Any]]:
    spans: dict[str, list[Earned]] = {}
    for one in days:
        spans.setdefault(f"{one.start:%Y-%m-%d}" if by == "day" else f"{one.start:%Y-%m}", []).append(one)
    found = []
    for name, some in spans.items():
        basis, seen = _seen(some)
        found.append({"span": name, "basis": basis, **_effect(seen), "earned": _times(seen.each, seen.rows)})
    return found


def _segments(
    db: Connection, model: str, start: datetime, end: datetime, told: Mapping[str, Any], cpu_hour: float
) -> list[dict[str, Any]]:
    """By segment, what brings most first; a segment's cost is its share of the trainings and of the rows."""
    found = earnings.read_segments(db, model, start, end)
    if not len(found):
        return []
    luck = returns.effect(earnings.read(db, model, start, end)).luck
    trained = select(runs.c.segment, func.count()).where(
        runs.c.name == model, runs.c.campaign.is_not(None), runs.c.started >= start, runs.c.started < end
    )
    times: dict[str, int] = {row[0]: row[1] for row in db.execute(trained.group_by(runs.c.segment))}
    seconds, rows = told["seconds"], max(sum(found.select("rows", "held").sum().row(0)), 1)
    each_training = seconds["train"] / max(sum(times.values()), 1)
    told_of = returns.by_segment(found, luck).with_columns(
        trainings=pl.Series([times.get(segment, 0) for segment in found["segment"]], dtype=pl.Int64)
    )
    hours = (
        pl.col("trainings") * each_training
        + (pl.col("rows") + pl.col("held")) / rows * (seconds["serve"] + seconds["watch"])
    ) / _HOUR
    counted = told["basis"] == "counted"
    each = pl.col("gain") / pl.col("rows") if counted else pl.col("each")
    told_of = told_of.with_columns(each=pl.when(pl.col("rows") > 0).then(each), cost=hours * cpu_hour)
    told_of = told_of.with_columns(earned=pl.col("each") * pl.col("rows"))
    columns = (
        "segment",
        "rows",
        "held",
        "mean",
        "held_mean",
        "each",
        "low",
        "high",
        "earned",
        "trainings",
        "cost",
    )
    ordered = told_of.sort("earned", descending=True, nulls_last=True).select(*columns, "surely")
    return ordered.to_dicts()


def _spent(db: Connection, start: datetime, end: datetime) -> dict[str, dict[str, float]]:
    """Seconds by model and kind of work."""
    found = {
        model: {kind: seconds for kind, (seconds, _) in kinds.items()}
        for model, kinds in usage.total(db, start, end).items()
    }
    trained = (
        select(campaigns.c.model, func.sum(campaigns.c.seconds))
        .where(campaigns.c.created >= start, campaigns.c.created < end)
        .group_by(campaigns.c.model)
    )
    for model, seconds in db.execute(trained):
        found.setdefault(model, {})["train"] = float(seconds)
    return found


def _times(each: float | None, rows: int) -> float | None:
    return None if each is None else each * rows
