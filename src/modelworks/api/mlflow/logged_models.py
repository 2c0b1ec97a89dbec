"""MLflow's calls about logged models, which came with MLflow 3."""

from __future__ import annotations

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, select, true

from modelworks.api.mlflow import forms, search
from modelworks.api.mlflow.calls import Door, Json, Tag, call, page, paged, within
from modelworks.api.mlflow.experiments import number
from modelworks.core.clock import new_id
from modelworks.core.errors import Invalid, NotFound
from modelworks.core.ref import Ref, parse_segment
from modelworks.stores.ledger.portable import chunks
from modelworks.stores.ledger.tables import arrivals
from modelworks.stores.ledger.tables import logged_models as table
from modelworks.track import experiments, logged
from modelworks.track.query.words import Compare, Field

_LOOKED_AT = 10_000
_STATUS = {"PENDING": logged.PENDING, "READY": logged.READY, "FAILED": logged.FAILED,
           "UPLOAD_FAILED": logged.FAILED}  # fmt: skip


class OrderBy(msgspec.Struct, frozen=True):
    """A key to order by."""

    field_name: str
    ascending: bool = True
    dataset_name: str = ""
    dataset_digest: str = ""


class Data(msgspec.Struct, frozen=True):
    """A dataset that metrics must be of."""

    dataset_name: str
    dataset_digest: str = ""


@call("POST", "mlflow/logged-models")
def create(
    door: Door,
    experiment_id: str,
    name: str = "",
    model_type: str = "",
    source_run_id: str = "",
    params: tuple[Tag, ...] = (),
    tags: tuple[Tag, ...] = (),
) -> Json:
    """Begin to log a model: files, parameters and tags follow, and at last that it is finished."""
    with door.stores.ledger.write() as db:
        group = experiments.get(db, number(experiment_id))
        if group["deleted"] is not None:
            raise Invalid(f"experiment {experiment_id} is deleted", "", "restore it first")
        made = logged.create(
            db, group["id"], name or f"model-{new_id()[-8:]}", run=source_run_id or None, kind=model_type,
            params={one.key: one.value for one in params}, tags={one.key: one.value for one in tags},
            now=door.now(),
        )  # fmt: skip
        return {"model": forms.logged_model(logged.get(db, made))}


@call("GET", "mlflow/logged-models/{model_id}")
def get(door: Door, model_id: str, allow_deleted: bool = False) -> Json:
    """A logged model."""
    with door.stores.ledger.read() as db:
        return {"model": _told(db, [logged.get(db, model_id, deleted=allow_deleted)])[0]}


@call("PATCH", "mlflow/logged-models/{model_id}")
def finalize(door: Door, model_id: str, status: str, status_message: str = "") -> Json:
    """Say that all of a model is there, or that its upload failed."""
    if status not in forms.LOGGED:
        raise Invalid(f"{status[:40]!r} is no status", "", f"there are {', '.join(forms.LOGGED)}")
    with door.stores.ledger.write() as db:
        logged.finish(db, model_id, forms.LOGGED[status], status_message, door.now())
        return {"model": _told(db, [logged.get(db, model_id)])[0]}


@call("DELETE", "mlflow/logged-models/{model_id}")
def delete(door: Door, model_id: str) -> Json:
    """Put a logged model out of sight."""
    with door.stores.ledger.write() as db:
        logged.delete(db, model_id, door.now())
        door.audited(db, "delete_logged_model", f"logged_model:{model_id}")
    return {}


@call("PATCH", "mlflow/logged-models/{model_id}/tags")
def set_tags(door: Door, model_id: str, tags: tuple[Tag, ...] = ()) -> Json:
    """Set tags."""
    with door.stores.ledger.write() as db:
        logged.tag(db, model_id, {tag.key: tag.value for tag in tags}, door.now())
        return {"model": _told(db, [logged.get(db, model_id)])[0]}


@call("DELETE", "mlflow/logged-models/{model_id}/tags/{tag_key}")
def delete_tag(door: Door, model_id: str, tag_key: str) -> Json:
    """Take a tag away."""
    with door.stores.ledger.write() as db:
        if tag_key not in logged.get(db, model_id)["tags"]:
            raise NotFound(f"{model_id} has no tag {tag_key[:80]!r}", "", "")
        logged.tag(db, model_id, {tag_key: None}, door.now())
    return {}


@call("POST", "mlflow/logged-models/{model_id}/params")
def log_params(door: Door, model_id: str, params: tuple[Tag, ...] = ()) -> Json:
    """Record parameters."""
    with door.stores.ledger.write() as db:
        logged.add_params(db, model_id, {one.key: one.value for one in params}, door.now())
    return {}


@call("POST", "mlflow/logged-models/search", "reader")
def find(
    door: Door,
    experiment_ids: tuple[str, ...] = (),
    filter: str = "",
    datasets: tuple[Data, ...] = (),
    max_results: int = 100,
    order_by: tuple[OrderBy, ...] = (),
    page_token: str = "",
) -> Json:
    """The logged models of experiments that a filter asks for, the newest first where no order is given."""
    most, skip = within(max_results, 1000), page(page_token)
    t = table.c
    columns = {
        "name": t.name, "model_id": t.id, "model_type": t.kind, "source_run_id": t.run,
        "creation_timestamp": t.created, "creation_time": t.created, "last_updated_timestamp": t.updated,
        "last_updated_time": t.updated, "status": t.status, "experiment_id": t.experiment,
    }  # fmt: skip
    keys = [f"{one.field_name} {'asc' if one.ascending else 'desc'}" for one in order_by]
    query = search.read(filter, keys, search.LOGGED, door.now())
    kinds = {"tags": t.tags, "params": t.params, "metrics": t.metrics}

    def status(one: Compare) -> ColumnElement[bool] | None:
        if one.field != Field("", "status"):
            return None
        named = {_STATUS.get(str(value).upper().removeprefix("LOGGED_MODEL_"), "") for value in one.values}
        return t.status.not_in(named) if one.by == "!=" else t.status.in_(named)

    where, order = search.of_rows(query, columns, kinds, status)
    among = t.experiment.in_([number(one) for one in experiment_ids]) if experiment_ids else true()
    with door.stores.ledger.read() as db:
        if datasets:  # they stand inside the points: looked at one by one
            wanted = {(one.dataset_name, one.dataset_digest) for one in datasets}
            names = {name for name, digest in wanted if not digest}
            rows = [
                row
                for row in logged.find(db, and_(where, among), order, 0, _LOOKED_AT)
                if any((p["dataset"], p["digest"]) in wanted or p["dataset"] in names for p in row["points"])
            ][skip:]
        else:
            rows = logged.find(db, and_(where, among), order, skip, most + 1)
        return paged(_told(db, rows), "models", skip, most)


def _told(db: Connection, rows: list[Json]) -> list[Json]:
    """Logged models, with the versions that they became."""
    a = arrivals.c
    became: dict[str, list[Json]] = {}
    for some in chunks(row["id"] for row in rows):
        query = select(a.logged, a.model, a.segment, a.version).where(a.logged.in_(some)).order_by(a.version)
        for one in db.execute(query):
            name = str(Ref(one.model, parse_segment(one.segment)))
            became.setdefault(one.logged, []).append({"name": name, "version": str(one.version)})
    return [forms.logged_model(row, became.get(row["id"], ())) for row in rows]
