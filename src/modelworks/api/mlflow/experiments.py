"""MLflow's calls about experiments."""

from __future__ import annotations

from typing import Literal

from sqlalchemy import and_, true

from modelworks.api.mlflow import forms, search
from modelworks.api.mlflow.calls import Door, Json, Tag, call, making, page, paged, within
from modelworks.core.errors import Invalid, NotFound
from modelworks.stores.ledger.tables import experiments as table
from modelworks.track import experiments

View = Literal["ACTIVE_ONLY", "DELETED_ONLY", "ALL"]
_MOST = 50_000


def number(identifier: str) -> int:
    """The number that an id is.

    Raises:
        NotFound: it is none.
    """
    if not identifier.isdigit() or len(identifier) > 18:
        raise NotFound(f"there is no experiment {identifier[:40]!r}", "an id is a number", "")
    return int(identifier)


@call("POST", "mlflow/experiments/create")
def create(door: Door, name: str, artifact_location: str = "", tags: tuple[Tag, ...] = ()) -> Json:
    """Begin an experiment; its artifacts are kept here, wherever it asks for them to be."""
    if artifact_location and not artifact_location.startswith("mlflow-artifacts:"):
        raise Invalid(
            "an experiment keeps its artifacts here", f"it asks for {artifact_location[:80]!r}",
            "leave artifact_location out",
        )  # fmt: skip
    with making(), door.stores.ledger.write() as db:
        if name == forms.DEFAULT_NAME:
            raise Invalid(f"the name {name!r} is taken", "it holds the runs that name no experiment", "")
        made = experiments.create(db, name, {tag.key: tag.value for tag in tags}, door.now())
    return {"experiment_id": str(made)}


@call("GET", "mlflow/experiments/get")
def get(door: Door, experiment_id: str) -> Json:
    """An experiment by its id."""
    with door.stores.ledger.read() as db:
        return {"experiment": forms.experiment(experiments.get(db, number(experiment_id)))}


@call("GET", "mlflow/experiments/get-by-name")
def get_by_name(door: Door, experiment_name: str) -> Json:
    """An experiment by its name, also a deleted one."""
    name = "" if experiment_name == forms.DEFAULT_NAME else experiment_name
    with door.stores.ledger.read() as db:
        return {"experiment": forms.experiment(experiments.by_name(db, name))}


@call("POST", "mlflow/experiments/search", "reader")
@call("GET", "mlflow/experiments/search")
def find(
    door: Door,
    max_results: int = 1000,
    page_token: str = "",
    filter: str = "",
    order_by: tuple[str, ...] = (),
    view_type: View = "ACTIVE_ONLY",
) -> Json:
    """Experiments that fulfil a filter, the newest first."""
    most, skip = within(max_results, _MOST), page(page_token)
    columns = {"name": table.c.name, "experiment_id": table.c.id, "creation_time": table.c.created,
               "last_update_time": table.c.updated}  # fmt: skip
    query = search.read(filter, order_by, search.EXPERIMENTS, door.now())
    where, order = search.of_rows(query, columns, {"tags": table.c.tags})
    deleted = table.c.deleted
    seen = {"ACTIVE_ONLY": deleted.is_(None), "DELETED_ONLY": deleted.is_not(None), "ALL": true()}[view_type]
    with door.stores.ledger.read() as db:
        rows = experiments.find(db, and_(where, seen, table.c.id != 0), order, skip, most + 1)
        told = [forms.experiment(row) for row in rows]
        if not filter and view_type != "DELETED_ONLY" and len(rows) <= most and skip == 0:
            told.append(forms.experiment(experiments.get(db, experiments.DEFAULT)))
    return paged(told, "experiments", skip, most)


@call("POST", "mlflow/experiments/update")
def update(door: Door, experiment_id: str, new_name: str) -> Json:
    """Rename an experiment."""
    with making(), door.stores.ledger.write() as db:
        experiments.rename(db, number(experiment_id), new_name, door.now())
    return {}


@call("POST", "mlflow/experiments/delete")
def delete(door: Door, experiment_id: str) -> Json:
    """Put an experiment out of sight, with its runs."""
    with door.stores.ledger.write() as db:
        experiments.delete(db, number(experiment_id), door.now())
        door.audited(db, "delete_experiment", f"experiment:{experiment_id}")
    return {}


@call("POST", "mlflow/experiments/restore")
def restore(door: Door, experiment_id: str) -> Json:
    """Bring it back, with the runs that went with it."""
    with door.stores.ledger.write() as db:
        experiments.restore(db, number(experiment_id), door.now())
        door.audited(db, "restore_experiment", f"experiment:{experiment_id}")
    return {}


@call("POST", "mlflow/experiments/set-experiment-tag")
def set_tag(door: Door, experiment_id: str, key: str, value: str = "") -> Json:
    """Set a tag of an experiment."""
    with door.stores.ledger.write() as db:
        experiments.tag(db, number(experiment_id), {key: value}, door.now())
    return {}


@call("POST", "mlflow/experiments/delete-experiment-tag")
def delete_tag(door: Door, experiment_id: str, key: str) -> Json:
    """Take a tag away."""
    with door.stores.ledger.write() as db:
        if key not in experiments.get(db, number(experiment_id))["tags"]:
            raise NotFound(f"experiment {experiment_id} has no tag {key[:80]!r}", "", "")
        experiments.tag(db, number(experiment_id), {key: None}, door.now())
    return {}
