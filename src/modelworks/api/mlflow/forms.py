"""Runs, experiments and logged models as MLflow writes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from modelworks.api.mlflow.calls import Json
from modelworks.core.plain import to_json
from modelworks.stores.ledger.portable import chunks
from modelworks.stores.ledger.tables import experiments as experiment_table
from modelworks.stores.ledger.tables import run_values, runs
from modelworks.track import links, logged, look
from modelworks.track.entry import word
from modelworks.track.experiments import DEFAULT
from modelworks.track.links import Link

STATUS = {"running": "RUNNING", "done": "FINISHED", "failed": "FAILED", "killed": "KILLED", "lost": "FAILED"}
NAME, NOTE, PARENT = "mlflow.runName", "mlflow.note.content", "mlflow.parentRunId"
"""Tags that are something of the run itself here."""
DEFAULT_NAME = "Default"
_LOGGED = {logged.PENDING: "LOGGED_MODEL_PENDING", logged.READY: "LOGGED_MODEL_READY",
           logged.FAILED: "LOGGED_MODEL_UPLOAD_FAILED"}  # fmt: skip
LOGGED = {said: status for status, said in _LOGGED.items()}
_COLUMNS = [column.name for column in runs.c if column.name not in ("campaign", "session")]


def ms(moment: datetime | None) -> int:
    """Milliseconds since 1970."""
    return 0 if moment is None else round(moment.timestamp() * 1000)


def pairs(values: Mapping[str, Any]) -> list[Json]:
    """Tags or parameters; what is no text is written as JSON."""
    return [
        {"key": name, "value": value if isinstance(value, str) else to_json(value).decode()}
        for name, value in values.items()
    ]


def stage(deleted: datetime | None) -> str:
    """Whether a thing is in sight."""
    return "active" if deleted is None else "deleted"


def experiment(row: Mapping[str, Any]) -> Json:
    """An experiment."""
    return {
        "experiment_id": str(row["id"]),
        "name": row["name"] or DEFAULT_NAME,
        "artifact_location": f"mlflow-artifacts:/{row['id']}",
        "lifecycle_stage": stage(row["deleted"]),
        "creation_time": ms(row["created"]),
        "last_update_time": ms(row["updated"]),
        "tags": pairs(row["tags"]),
    }


def runs_of(db: Connection, identifiers: Sequence[str]) -> list[Json]:
    """Runs of some ids, in their order, whole."""
    rows = look.rows(db, identifiers, _COLUMNS)
    numbers = numbers_of(db, {row["experiment"] for row in rows})
    points = _points(db, [row["id"] for row in rows if row["metrics"]])
    linked = links.of(db, [row["id"] for row in rows])
    return [
        run(row, numbers[row["experiment"]], points.get(row["id"], []), linked.get(row["id"], []))
        for row in rows
    ]


def numbers_of(db: Connection, names: Iterable[str]) -> dict[str, int]:
    """The numbers of experiments by their names."""
    e = experiment_table.c
    found = {"": DEFAULT}
    for some in chunks(name for name in names if name):
        found |= {row.name: row.id for row in db.execute(select(e.name, e.id).where(e.name.in_(some)))}
    return found


def _points(db: Connection, identifiers: Sequence[str]) -> dict[str, list[Json]]:
    """The newest point of every metric of runs."""
    v = run_values.c
    found: dict[str, list[Json]] = {}
    for some in chunks(identifiers):
        for row in db.execute(select(run_values).where(v.run.in_(some), v.field.like("metrics.%"))):
            value = word(float(row.text)) if row.number is None else row.number
            name = row.field.removeprefix("metrics.")
            found.setdefault(row.run, []).append(metric(name, value, row.time or 0, row.step or 0))
    return found


def metric(name: str, value: float | str, micros: int, step: int) -> Json:
    """A point of a metric."""
    return {"key": name, "value": value, "timestamp": micros // 1000, "step": step}


def run(
    row: Mapping[str, Any], number: int, points: Sequence[Json] = (), linked: Sequence[Link] = ()
) -> Json:
    """A run.

    Args:
        row: Its row.
        number: That of its experiment.
        points: The newest point of each metric.
        linked: What it took in and gave out.
    """
    tags = tags_of(row)
    datasets = [link for link in linked if link.role == "dataset"]
    return {
        "info": {
            "run_id": row["id"],
            "run_uuid": row["id"],
            "run_name": row["name"],
            "experiment_id": str(number),
            "user_id": tags.get("mlflow.user", ""),
            "status": STATUS[row["status"]],
            "start_time": ms(row["started"]),
            **({"end_time": ms(row["ended"])} if row["ended"] else {}),
            "artifact_uri": f"mlflow-artifacts:/{number}/{row['id']}/artifacts",
            "lifecycle_stage": stage(row["deleted"]),
        },
        "data": {"metrics": list(points), "params": pairs(row["params"]), "tags": pairs(tags)},
        "inputs": {
            "dataset_inputs": [
                {"dataset": link.detail["dataset"], "tags": pairs(link.detail["tags"])} for link in datasets
            ],
            "model_inputs": [{"model_id": link.target} for link in linked if link.role == "model_in"],
        },
        "outputs": {
            "model_outputs": [
                {"model_id": link.target, "step": link.detail.get("step", 0)}
                for link in linked
                if link.role == "model_out"
            ]
        },
    }


def tags_of(row: Mapping[str, Any]) -> dict[str, str]:
    """The tags of a run, with those that say what it has of itself here."""
    source = row["source"] or {}
    own = {
        "mlflow.user": source.get("user"),
        "mlflow.source.name": source.get("script"),
        "mlflow.source.git.commit": source.get("commit"),
        NAME: row["name"],
        NOTE: row["note"],
        PARENT: row["parent"],
    }
    return {**{name: str(value) for name, value in own.items() if value}, **row["tags"]}


def logged_model(row: Mapping[str, Any], registrations: Sequence[Json] = ()) -> Json:
    """A logged model."""
    return {
        "info": {
            "model_id": row["id"],
            "experiment_id": str(row["experiment"]),
            "name": row["name"],
            "creation_timestamp_ms": ms(row["created"]),
            "last_updated_timestamp_ms": ms(row["updated"]),
            "artifact_uri": f"mlflow-artifacts:/{row['experiment']}/models/{row['id']}/artifacts",
            "status": _LOGGED[row["status"]],
            "status_message": row["message"],
            "model_type": row["kind"],
            "source_run_id": row["run"] or "",
            "tags": pairs(row["tags"]),
            "registrations": list(registrations),
        },
        "data": {
            "params": pairs(row["params"]),
            "metrics": [
                {
                    **metric(one["name"], one["value"], one["time"], one["step"]),
                    "model_id": row["id"],
                    "run_id": one["run"],
                    "dataset_name": one["dataset"],
                    "dataset_digest": one["digest"],
                }
                for one in row["points"]
            ],
        },
    }
