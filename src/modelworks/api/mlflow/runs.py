"""MLflow's calls that write runs: what they say goes the way of all entries, through `track.book`."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
from sqlalchemy import Connection, select

from modelworks.api.mlflow import forms
from modelworks.api.mlflow.calls import Door, Json, Tag, call
from modelworks.api.mlflow.experiments import number
from modelworks.core.clock import new_id
from modelworks.core.errors import Conflict, Invalid, NotFound
from modelworks.core.plain import to_json
from modelworks.stores.ledger.tables import runs
from modelworks.track import book, experiments, links, logged
from modelworks.track.entry import NAME_LIMIT, TEXT_LIMIT, Course, Entry, check, check_id, word
from modelworks.track.entry import number as real
from modelworks.track.links import Link

Status = Literal["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"]
_STATUS: Any = {"RUNNING": "running", "SCHEDULED": "running", "FINISHED": "done", "FAILED": "failed",
                "KILLED": "killed"}  # fmt: skip
_HOW = (
    "brave",
    "calm",
    "clever",
    "eager",
    "gentle",
    "keen",
    "lively",
    "merry",
    "nimble",
    "quiet",
    "swift",
    "wise",
)
_WHO = ("badger", "crane", "finch", "fox", "hare", "heron", "lynx", "otter", "owl", "seal", "stork", "wren")


class Metric(msgspec.Struct, frozen=True):
    """A point of a metric; it may be about a logged model and a dataset."""

    key: str
    value: float | str
    timestamp: int = 0
    step: int = 0
    model_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""


class Dataset(msgspec.Struct, frozen=True):
    """A dataset that is not of the house."""

    name: str
    digest: str
    source_type: str = ""
    source: str = ""
    schema: str = ""
    profile: str = ""


class DatasetInput(msgspec.Struct, frozen=True):
    """A dataset that a run took in."""

    dataset: Dataset
    tags: tuple[Tag, ...] = ()


class Model(msgspec.Struct, frozen=True):
    """A logged model that a run took in or gave out."""

    model_id: str
    step: int = 0


# -- beginning and ending ----------------------------------------------------------------------------------


@call("POST", "mlflow/runs/create")
def create(
    door: Door,
    experiment_id: str = "0",
    user_id: str = "",
    run_name: str = "",
    start_time: int = 0,
    tags: tuple[Tag, ...] = (),
) -> Json:
    """Begin a run."""
    named = {tag.key: tag.value for tag in tags}
    if user_id:
        named.setdefault("mlflow.user", user_id)
    if run_name:
        named[forms.NAME] = run_name
    elif not named.get(forms.NAME):
        named[forms.NAME] = f"{random.choice(_HOW)}-{random.choice(_WHO)}-{random.randrange(1000)}"  # noqa: S311

    def work(db: Connection) -> Json:
        group = experiments.get(db, number(experiment_id))
        if group["deleted"] is not None:
            raise Invalid(f"experiment {experiment_id} is deleted", "", "restore it first")
        run = new_id()
        first = {"experiment": group["name"] or None, "status": "running", **_said(named)}
        row = _enter(db, [Entry(run, start_time * 1000 or _now(door), **first)])[run]
        return {"run": forms.run(row, group["id"])}

    return door.stores.ledger.together(work)


@call("POST", "mlflow/runs/update")
def update(
    door: Door,
    run_id: str = "",
    run_uuid: str = "",
    status: Status | None = None,
    end_time: int = 0,
    run_name: str = "",
) -> Json:
    """Say how a run goes on or ended, or rename it."""
    run = run_id or run_uuid
    what: dict[str, Any] = {} if status is None else {"status": _STATUS[status]}
    if run_name:
        what |= _said({forms.NAME: run_name})

    def work(db: Connection) -> Json:
        row = _enter(db, [Entry(run, end_time * 1000 or _now(door), **what)], living(db, run))[run]
        number_of = forms.numbers_of(db, [row["experiment"]])[row["experiment"]]
        return {"run_info": forms.run(row, number_of)["info"]}

    return door.stores.ledger.together(work)


@call("POST", "mlflow/runs/delete")
def delete(door: Door, run_id: str) -> Json:
    """Put a run out of sight."""
    living(door, run_id)
    door.factory.tracking.delete([run_id])
    return {}


@call("POST", "mlflow/runs/restore")
def restore(door: Door, run_id: str) -> Json:
    """Bring a run back."""
    door.factory.tracking.restore([run_id])
    return {}


# -- recording -----------------------------------------------------------------------------------------------


@call("POST", "mlflow/runs/log-batch")
def log_batch(
    door: Door,
    run_id: str,
    metrics: tuple[Metric, ...] = (),
    params: tuple[Tag, ...] = (),
    tags: tuple[Tag, ...] = (),
) -> Json:
    """Record metrics, parameters and tags: all of them, or none."""
    given: dict[str, str] = {}
    for param in params:
        if given.setdefault(param.key, param.value) != param.value:
            raise Invalid(f"parameter {param.key[:80]!r} is given twice", "with different values", "")
    named = {tag.key: tag.value for tag in tags}
    now = _now(door)
    entries = [Entry(run_id, now, params=_params(given), **_said(named))] if given or named else []
    entries += _points(run_id, metrics)

    def work(db: Connection) -> Json:
        row = living(db, run_id)
        _unchanged(run_id, row, given)
        _enter(db, entries, row)
        _about_models(db, door, run_id, metrics)
        return {}

    return door.stores.ledger.together(work)


@call("POST", "mlflow/runs/log-metric")
def log_metric(
    door: Door,
    key: str,
    value: float | str,
    run_id: str = "",
    run_uuid: str = "",
    timestamp: int = 0,
    step: int = 0,
    model_id: str = "",
    dataset_name: str = "",
    dataset_digest: str = "",
) -> Json:
    """Record a point of a metric."""
    point = Metric(key, value, timestamp, step, model_id, dataset_name, dataset_digest)
    return log_batch(door, run_id or run_uuid, (point,))


@call("POST", "mlflow/runs/log-parameter")
def log_param(door: Door, key: str, value: str = "", run_id: str = "", run_uuid: str = "") -> Json:
    """Record a parameter, once."""
    return log_batch(door, run_id or run_uuid, params=(Tag(key, value),))


@call("POST", "mlflow/runs/set-tag")
def set_tag(door: Door, key: str, value: str = "", run_id: str = "", run_uuid: str = "") -> Json:
    """Set a tag."""
    return log_batch(door, run_id or run_uuid, tags=(Tag(key, value),))


@call("POST", "mlflow/runs/delete-tag")
def delete_tag(door: Door, run_id: str, key: str) -> Json:
    """Take a tag away."""
    with door.stores.ledger.write() as db:
        row = living(db, run_id)
        if key not in forms.tags_of(row):
            raise NotFound(f"run {run_id} has no tag {key[:80]!r}", "", "")
        gone: Any = {"note": ""} if key == forms.NOTE else {"tags": {key: None}}
        _enter(db, [Entry(run_id, _now(door), **gone)], row)
    return {}


@call("POST", "mlflow/runs/log-model")
def log_model(door: Door, run_id: str, model_json: str) -> Json:
    """Note in a tag that a model lies among the artifacts, as clients before MLflow 3 do."""
    history = "mlflow.log-model.history"
    try:
        told = msgspec.json.decode(model_json)
    except msgspec.DecodeError as error:
        raise Invalid("what is said of the model is not JSON", str(error), "") from None
    with door.stores.ledger.write() as db:
        before = msgspec.json.decode(living(db, run_id)["tags"].get(history, "[]"))
        _enter(db, [Entry(run_id, _now(door), tags={history: to_json([*before, told]).decode()})])
    return {}


@call("POST", "mlflow/runs/log-inputs")
def log_inputs(
    door: Door, run_id: str, datasets: tuple[DatasetInput, ...] = (), models: tuple[Model, ...] = ()
) -> Json:
    """Record what a run took in."""
    taken: list[Link] = []
    for one in datasets:
        told = {name: value for name, value in msgspec.to_builtins(one.dataset).items() if value}
        tags = {tag.key: tag.value for tag in one.tags}
        target = f"{one.dataset.name}#{one.dataset.digest}"[:NAME_LIMIT]
        detail = {"dataset": told, "tags": tags, "name": one.dataset.name, "digest": one.dataset.digest,
                  "context": tags.get("mlflow.data.context")}  # fmt: skip
        if len(to_json(detail)) > 100 * TEXT_LIMIT:
            raise Invalid(
                f"too much is said of dataset {one.dataset.name[:80]!r}", "", "leave the profile out"
            )
        taken.append(Link(run_id, "dataset", target, detail))
    return _link(door, run_id, taken + [Link(run_id, "model_in", one.model_id, {}) for one in models])


@call("POST", "mlflow/runs/outputs")
def log_outputs(door: Door, run_id: str, models: tuple[Model, ...] = ()) -> Json:
    """Record the models that a run gave out."""
    return _link(
        door, run_id, [Link(run_id, "model_out", one.model_id, {"step": one.step}) for one in models]
    )


# -- inside --------------------------------------------------------------------------------------------------


def living(door: Door | Connection, run: str) -> Mapping[str, Any]:
    """The row of a run that can be written to.

    Raises:
        NotFound: there is none.
        Invalid: it is deleted.
        Conflict: it is not one that tells of itself.
    """
    if isinstance(door, Door):
        with door.stores.ledger.read() as db:
            return living(db, run)
    check_id(run)
    row = door.execute(select(runs).where(runs.c.id == run)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no run {run!r}", "", "create it first")
    if row["deleted"] is not None:
        raise Invalid(f"run {run} must be in the 'active' state", "it is deleted", "restore it first")
    if row["kind"] != "experiment":
        raise Conflict(f"run {run} was made by a {row['kind']}", "what it says is not changed", "begin a run")
    return dict(row)


def _enter(
    db: Connection, entries: Sequence[Entry], row: Mapping[str, Any] | None = None
) -> dict[str, dict[str, Any]]:
    """Enter what is said of one run, whose row is given unless it begins; returns the row by its id."""
    for entry in entries:
        check(entry)
    return book.enter(db, entries, strict=True, known=None if row is None else {row["id"]: row})


def _now(door: Door) -> int:
    return round(door.now().timestamp() * 1e6)


def _said(tags: Mapping[str, str]) -> dict[str, Any]:
    """Tags as what an entry has for them."""
    what: dict[str, Any] = {"tags": {}}
    for name, text in tags.items():
        if len(text) > TEXT_LIMIT * (10 if name == forms.NOTE else 1):
            raise Invalid(f"the tag {name[:80]!r} is too long", f"{len(text)} characters", "log an artifact")
        if name == forms.NAME:
            what["name"] = "".join(c if c.isprintable() else " " for c in text)[:NAME_LIMIT] or "unnamed"
        elif name == forms.NOTE:
            what["note"] = text
        elif name == forms.PARENT:
            what["parent"] = check_id(text) or text
        else:
            what["tags"][name] = text
    return what


def _params(given: Mapping[str, str]) -> dict[str, Any]:
    for name, text in given.items():
        if len(text) > TEXT_LIMIT:
            raise Invalid(f"parameter {name[:80]!r} is too long", f"the most is {TEXT_LIMIT} characters", "")
    return dict(given)


def _unchanged(run: str, row: Mapping[str, Any], given: Mapping[str, str]) -> None:
    """Clients of MLflow count on it that a parameter keeps its value."""
    for name in given.keys() & row["params"].keys():
        before = row["params"][name]
        said = before if isinstance(before, str) else to_json(before).decode()
        if said != given[name]:
            raise Invalid(
                f"Changing param values is not allowed. Param with key='{name}' was already logged with "
                f"value='{said[:200]}' for run ID='{run}'", f"now it is {given[name][:200]!r}", "",
            )  # fmt: skip


def _points(run: str, metrics: Sequence[Metric]) -> list[Entry]:
    """Points, those of one moment together."""
    by_time: dict[int, dict[str, tuple[list[int], list[float | str]]]] = {}
    for one in metrics:
        steps, values = by_time.setdefault(one.timestamp * 1000, {}).setdefault(one.key, ([], []))
        steps.append(one.step)
        values.append(word(real(one.value)))
    return [
        Entry(run, time, courses={key: Course(*course) for key, course in courses.items()})
        for time, courses in by_time.items()
    ]


def _about_models(db: Connection, door: Door, run: str, metrics: Sequence[Metric]) -> None:
    by_model: dict[str, list[Json]] = {}
    for one in metrics:
        if one.model_id:
            by_model.setdefault(one.model_id, []).append(
                {"name": one.key, "value": word(real(one.value)), "step": one.step, "time": one.timestamp * 1000,
                 "run": run, "dataset": one.dataset_name, "digest": one.dataset_digest}
            )  # fmt: skip
    for model, points in by_model.items():
        logged.measure(db, model, points, door.now())


def _link(door: Door, run: str, taken: Sequence[Link]) -> Json:
    with door.stores.ledger.write() as db:
        living(db, run)
        for one in taken:
            if one.role != "dataset":
                logged.get(db, one.target)
        links.add(db, taken)
    return {}
