"""MLflow's calls that read runs and the courses of their metrics."""

from __future__ import annotations

from modelworks.api.mlflow import forms, search
from modelworks.api.mlflow.calls import Door, Json, call, page, paged, within
from modelworks.api.mlflow.experiments import View, number
from modelworks.core.errors import Invalid, NotFound
from modelworks.track import experiments, look, points
from modelworks.track.entry import word

_MOST = 50_000
_POINTS = 25_000


@call("GET", "mlflow/runs/get")
def get(door: Door, run_id: str = "", run_uuid: str = "") -> Json:
    """A run with all that it has, also a deleted one."""
    run = run_id or run_uuid
    door.factory.tracking.settle()
    with door.stores.ledger.read() as db:
        found = forms.runs_of(db, [run])
    if not found:
        raise NotFound(f"Run with id={run[:80]} not found", "", "")
    return {"run": found[0]}


@call("POST", "mlflow/runs/search", "reader")
def find(
    door: Door,
    experiment_ids: tuple[str, ...] = (),
    filter: str = "",
    run_view_type: View = "ACTIVE_ONLY",
    max_results: int = 1000,
    order_by: tuple[str, ...] = (),
    page_token: str = "",
) -> Json:
    """The runs of experiments that a filter asks for, the newest first where no order is given."""
    most, skip = within(max_results, _MOST), page(page_token)
    asked = search.read(filter, order_by, search.RUNS, door.now())
    deleted = {"ACTIVE_ONLY": False, "DELETED_ONLY": True, "ALL": None}[run_view_type]
    door.factory.tracking.settle()
    with door.stores.ledger.read() as db:
        groups = experiments.of(db, [number(one) for one in experiment_ids])
        if not groups:
            return {"runs": []}
        query = search.of_runs(db, asked, [row["name"] for row in groups.values()])
        wanted = look.ids(db, query, skip + most + 1, deleted=deleted)[skip:]
        return {**paged(wanted, "runs", skip, most), "runs": forms.runs_of(db, wanted[:most])}


@call("GET", "mlflow/metrics/get-history")
def history(
    door: Door,
    metric_key: str,
    run_id: str = "",
    run_uuid: str = "",
    page_token: str = "",
    max_results: int = 0,
) -> Json:
    """The course of a metric, point by point."""
    frame = door.factory.tracking.course(run_id or run_uuid, metric_key)
    skip = page(page_token)
    most = within(max_results, 10_000_000) if max_results else len(frame)
    rows = frame.slice(skip, most + 1).iter_rows(named=True)
    told = [forms.metric(metric_key, word(row["value"]), row["time"], row["step"]) for row in rows]
    return paged(told, "metrics", skip, most)


@call("GET", "mlflow/metrics/get-history-bulk")
def history_bulk(
    door: Door, metric_key: str, run_id: tuple[str, ...] = (), max_results: int = _POINTS
) -> Json:
    """The courses of a metric in many runs, one after the other."""
    return _several(door, run_id, metric_key, within(max_results, _POINTS), None)


@call("GET", "mlflow/metrics/get-history-bulk-interval")
def history_bulk_interval(
    door: Door,
    metric_key: str,
    run_ids: tuple[str, ...] = (),
    start_step: int | None = None,
    end_step: int | None = None,
    max_results: int = 2_500,
) -> Json:
    """The courses of a metric in many runs between two steps, evenly chosen."""
    between = None if start_step is None or end_step is None else (start_step, end_step)
    return _several(door, run_ids, metric_key, within(max_results, 2_500), between, chosen=True)


def _several(
    door: Door, runs: tuple[str, ...], metric: str, most: int, between: tuple[int, int] | None, chosen: bool = False
) -> Json:  # fmt: skip
    if not 0 < len(runs) <= 100:
        raise Invalid(f"{len(runs)} runs are asked for", "it is 1 to 100", "ask for less at a time")
    told: list[Json] = []
    for run in runs:
        frame = points.course(door.stores, run, metric)
        if between is not None:
            frame = frame.filter(frame["step"].is_between(*between))
        if chosen and len(frame) > most:
            every = -(-len(frame) // most)
            frame = frame.gather_every(every)
        told += [
            {**forms.metric(metric, word(row["value"]), row["time"], row["step"]), "run_id": run}
            for row in frame.iter_rows(named=True)
        ]
    return {"metrics": told if chosen else told[:most]}
