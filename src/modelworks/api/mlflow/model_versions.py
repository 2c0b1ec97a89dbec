"""MLflow's calls about model versions: they are the versions of the house."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from sqlalchemy import ColumnElement, Connection, and_, or_, select

from modelworks.api.mlflow import artifacts, search
from modelworks.api.mlflow.calls import Door, Json, Tag, call, page, paged, within
from modelworks.api.mlflow.registered_models import ref_of, staged, there, versions_of
from modelworks.core.errors import Invalid, NotFound
from modelworks.core.ref import Ref, segment_text
from modelworks.pipelines import arrivals as arriving
from modelworks.registry import arrivals, labels, removal
from modelworks.registry import search as registered
from modelworks.registry.model_version import ModelVersion
from modelworks.stores.ledger.tables import model_versions
from modelworks.track import logged
from modelworks.track.query.words import Compare

_ELSEWHERE = ("s3", "gs", "wasb", "wasbs", "abfs", "abfss", "hdfs", "dbfs", "r2", "b2", "oss")
_MODEL = re.compile(r"models:/(?P<id>m-[0-9a-f]{26})|models:/(?P<name>[^/@]+)/(?P<version>\d+)")


@call("POST", "mlflow/model-versions/create")
def create(
    door: Door,
    name: str,
    source: str,
    run_id: str = "",
    tags: tuple[Tag, ...] = (),
    run_link: str = "",
    description: str = "",
    model_id: str = "",
) -> Json:
    """Register what a run or a logged model has among its artifacts as the next version of a model."""
    with door.stores.ledger.write() as db:
        ref = there(db, ref_of(name))
        if ref.segment:
            raise Invalid(f"{ref} is a segment", "versions are registered of a model as a whole", "")
        came = _came(db, source)
        model = model_id or _id(source)
        run = run_id or _run(source) or (logged.get(db, model)["run"] if model else None)
        made = arriving.register(
            db, door.factory.stations, ref.name, source, came, run=run or None, logged=model
        )
        said = {tag.key: tag.value for tag in tags}
        labels.say(db, made.ref, door.now(), tags=said, note=description)
        door.audited(db, "create_model_version", f"model:{made.ref}", {"source": source[:500]})
        return {"model_version": versions_of(db, [made])[0]}


def _id(source: str) -> str | None:
    """The logged model that a source is, if it is one."""
    found = _MODEL.fullmatch(source)
    if found is not None:
        return found["id"]
    if source.startswith("mlflow-artifacts:"):
        at = artifacts.place(urlsplit(source).path)
        return at.owner if at.kind == "model" else None
    return None


def _run(source: str) -> str | None:
    """The run that a source is of, if it is of one."""
    parts = urlsplit(source)
    if parts.scheme == "runs":
        return parts.path.strip("/").partition("/")[0]
    if parts.scheme == "mlflow-artifacts":
        at = artifacts.place(parts.path)
        return at.owner if at.kind == "run" else None
    return None


def _came(db: Connection, source: str) -> Mapping[str, str] | None:
    """The files at a source: name to digest; ``None`` where they are somewhere else.

    Raises:
        NotFound: there is no such run or model.
        Invalid: it is no place that files could be taken from.
    """
    found = _MODEL.fullmatch(source)
    if found is not None and found["id"]:
        whole: Mapping[str, str] = logged.get(db, found["id"])["artifacts"]
        return whole
    if found is not None:
        return arrivals.get(db, ref_of(found["name"], found["version"])).files
    parts = urlsplit(source)
    if parts.scheme == "runs":
        run, _, path = parts.path.strip("/").partition("/")
        return artifacts.under(artifacts.files(db, artifacts.Place("run", run, "")), path.strip("/"))
    if parts.scheme == "mlflow-artifacts":
        at = artifacts.place(parts.path)
        return artifacts.under(artifacts.files(db, at), at.name)
    if parts.scheme in _ELSEWHERE:
        return None
    raise Invalid(
        f"Invalid model version source: {source[:200]!r}",
        "a source is a run's, a logged model's or another version's, or in a bucket",
        "log the model first, and register it by models:/ or runs:/",
    )


@call("GET", "mlflow/model-versions/get")
def get(door: Door, name: str, version: str) -> Json:
    """A version."""
    with door.stores.ledger.read() as db:
        return {"model_version": versions_of(db, [_one(door, name, version)])[0]}


@call("GET", "mlflow/model-versions/get-download-uri")
def get_download_uri(door: Door, name: str, version: str) -> Json:
    """Where the files of a version are."""
    one = _one(door, name, version)
    with door.stores.ledger.read() as db:
        how = arrivals.get(db, one.ref)
    if not how.files:
        return {"artifact_uri": how.source}
    place = f"registry/{quote(str(Ref(one.model, one.segment)))}/{one.version}/artifacts"
    return {"artifact_uri": f"mlflow-artifacts:/{place}"}


@call("GET", "mlflow/model-versions/search")
def find(
    door: Door,
    filter: str = "",
    max_results: int = 10_000,
    order_by: tuple[str, ...] = (),
    page_token: str = "",
) -> Json:
    """Versions that a filter asks for, the newest first where no order is given."""
    most, skip = within(max_results, 200_000), page(page_token)
    c = registered.VERSION_COLUMNS
    columns = {
        "name": c["model"], "version_number": c["version"], "version": c["version"], "run_id": c["run"],
        "source_path": c["source"], "timestamp": c["updated"], "last_updated_timestamp": c["updated"],
        "creation_timestamp": c["created"],
    }  # fmt: skip
    query = search.read(filter, order_by, search.VERSIONS, door.now())
    where, order = search.of_rows(query, columns, {"tags": registered.TAGS}, _special)
    order = order or [c["updated"].desc()]
    with door.stores.ledger.read() as db:
        found = registered.find_versions(db, where, order, skip, most + 1)
        return {**paged(found, "model_versions", skip, most), "model_versions": versions_of(db, found[:most])}


def _special(one: Compare) -> ColumnElement[bool] | None:
    """A name with a segment; and the tag by which prompts are told from models."""
    if one.by == "!=" and one.field.kind == "tags" and one.field.name.startswith("mlflow.prompt"):
        return search.lacking(registered.TAGS[one.field.name].as_string(), one)
    if one.field.kind or one.field.name != "name" or one.by not in ("=", "in"):
        return None
    c = registered.VERSION_COLUMNS
    held = []
    for name in one.values:
        ref = Ref.parse(str(name))
        held.append(and_(c["model"] == ref.name, c["segment"] == segment_text(ref.segment)))
    return held[0] if len(held) == 1 else or_(*held)


@call("PATCH", "mlflow/model-versions/update")
def update(door: Door, name: str, version: str, description: str = "") -> Json:
    """Say something of a version."""
    return _said(door, name, version, note=description)


@call("POST", "mlflow/model-versions/set-tag")
def set_tag(door: Door, name: str, version: str, key: str, value: str = "") -> Json:
    """Set a tag of a version."""
    _said(door, name, version, tags={key: value})
    return {}


@call("DELETE", "mlflow/model-versions/delete-tag")
def delete_tag(door: Door, name: str, version: str, key: str) -> Json:
    """Take a tag away."""
    _said(door, name, version, tags={key: None})
    return {}


@call("POST", "mlflow/model-versions/transition-stage")
def transition_stage(
    door: Door, name: str, version: str, stage: str, archive_existing_versions: bool = False
) -> Json:
    """Put a version into a stage: a label, from which nothing follows; champions are brought out by alias."""
    to = staged(stage)
    one = _one(door, name, version)
    with door.stores.ledger.write() as db:
        if archive_existing_versions:
            for other in registered.newest(db, Ref(one.model, one.segment), [to]):
                for ref in _in_stage(db, other, to):
                    labels.say(db, ref, door.now(), stage="Archived")
    return _said(door, name, version, stage="" if to == "None" else to)


def _in_stage(db: Connection, like: ModelVersion, stage: str) -> list[Ref]:
    v = model_versions.c
    query = select(v.version).where(v.model == like.model, v.segment == segment_text(like.segment))
    refs = [Ref(like.model, like.segment, number) for number in db.scalars(query)]
    return [ref for ref, said in labels.of_many(db, refs).items() if said.stage == stage]


@call("DELETE", "mlflow/model-versions/delete")
def delete(door: Door, name: str, version: str) -> Json:
    """Delete a version that was never deployed."""
    one = _one(door, name, version)
    with door.stores.ledger.write() as db:
        removal.remove_version(db, one.ref, door.now())
        door.audited(db, "delete_model_version", f"model:{one.ref}")
    return {}


def _one(door: Door, name: str, version: str) -> ModelVersion:
    ref = ref_of(name, version)
    if ref.at is None:
        raise Invalid("a version is a number from 1", "none is given", "")
    try:
        return door.factory.stations.registry.get(ref)
    except NotFound as error:
        raise NotFound(
            f"Model Version (name={name[:120]}, version={version}) not found", error.what, ""
        ) from None


def _said(door: Door, name: str, version: str, **what: Any) -> Json:
    one = _one(door, name, version)
    with door.stores.ledger.write() as db:
        labels.say(db, one.ref, door.now(), **what)
        return {"model_version": versions_of(db, [one])[0]}
