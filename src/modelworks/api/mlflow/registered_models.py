"""MLflow's calls about registered models: they are the models of the house."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, select
from sqlalchemy import delete as sql_delete

from modelworks.api.mlflow import forms, search
from modelworks.api.mlflow.calls import Door, Exists, Json, Tag, call, making, page, paged, within
from modelworks.core.errors import Invalid, NotFound
from modelworks.core.ref import Ref, check_name
from modelworks.lineage import graph
from modelworks.lineage.edge import Edge
from modelworks.pipelines import arrivals as arriving
from modelworks.registry import arrivals, labels, removal
from modelworks.registry import search as registered
from modelworks.registry.missing import no_model
from modelworks.registry.model_version import CHAMPION, ModelVersion
from modelworks.registry.rows import at
from modelworks.stores.ledger.tables import aliases, models
from modelworks.track.query.words import Compare, Field

PROMPT = "mlflow.prompt.is_prompt"
STAGES = ("None", "Staging", "Production", "Archived")


def ref_of(name: str, version: str = "") -> Ref:
    """The model, or segment of one, that a name means: ``delay``, ``delay[UA,EWR]``.

    Raises:
        Invalid: it is none; or the version is no number.
    """
    ref = Ref.parse(name)
    if ref.at is not None:
        raise Invalid(f"{name[:120]!r} cannot name a model", "it has an @", "leave it out")
    if version and not (version.isdigit() and 0 < int(version) < 1 << 31):
        raise Invalid(f"{version[:40]!r} is not a version", "a version is a number from 1", "")
    return Ref(ref.name, ref.segment, int(version) if version else None)


# -- models --------------------------------------------------------------------------------------------------


@call("POST", "mlflow/registered-models/create")
def create(
    door: Door, name: str, tags: tuple[Tag, ...] = (), description: str = "", deployment_job_id: str = ""
) -> Json:
    """Make a model that has no version yet."""
    check_name(name, "model name")
    if any(tag.key == PROMPT for tag in tags):
        raise Invalid("prompts are not kept here", "a registered model is a model", "")
    registry, now = door.factory.stations.registry, door.now()
    with door.stores.ledger.write() as db:
        if registered.exists(db, Ref(name)):
            raise Exists(f"Registered Model (name={name}) already exists", "", "create a version of it")
        registry.declare(
            db, name=name, dataset=None, target=None, features=(), per=(), definition={}, code=""
        )  # fmt: skip
        labels.say(db, Ref(name), now, tags={tag.key: tag.value for tag in tags}, note=description)
        door.audited(db, "create_registered_model", f"model:{name}")
        return {"registered_model": models_of(db, [Ref(name)])[0]}


@call("GET", "mlflow/registered-models/get")
def get(door: Door, name: str) -> Json:
    """A model, with its newest versions and its aliases."""
    with door.stores.ledger.read() as db:
        return {"registered_model": models_of(db, [there(db, ref_of(name))])[0]}


@call("GET", "mlflow/registered-models/search")
def find(
    door: Door,
    filter: str = "",
    max_results: int = 100,
    order_by: tuple[str, ...] = (),
    page_token: str = "",
) -> Json:
    """Models that a filter asks for, by name where no order is given."""
    most, skip = within(max_results, 1000), page(page_token)
    c = registered.MODEL_COLUMNS
    columns = {"name": c["name"], "timestamp": c["updated"], "last_updated_timestamp": c["updated"],
               "creation_timestamp": c["created"]}  # fmt: skip
    query = search.read(filter, order_by, search.MODELS, door.now())
    where, order = search.of_rows(query, columns, {"tags": registered.TAGS}, _prompts)
    with door.stores.ledger.read() as db:
        names = registered.find_models(db, where, order, skip, most + 1)
        told = paged(names, "registered_models", skip, most)
        return {**told, "registered_models": models_of(db, [Ref(name) for name in names[:most]])}


def _prompts(one: Compare) -> ColumnElement[bool] | None:
    """Clients ask for what is no prompt; most things do not say."""
    if one.by != "!=" or one.field != Field("tags", PROMPT):
        return None
    return search.lacking(registered.TAGS[PROMPT].as_string(), one)


@call("PATCH", "mlflow/registered-models/update")
def update(door: Door, name: str, description: str = "", deployment_job_id: str = "") -> Json:
    """Say something of a model."""
    return _said(door, name, note=description)


@call("POST", "mlflow/registered-models/rename")
def rename(door: Door, name: str, new_name: str = "") -> Json:
    """Give a model that nothing was deployed of another name."""
    now = door.now()
    with making(), door.stores.ledger.write() as db:
        renamed = removal.rename_model(db, ref_of(name).name, new_name, now)
        edges = [
            Edge(f"model:{Ref(name, ref.segment, ref.at)}", "renamed", f"model:{ref}") for ref in renamed
        ]
        graph.add(db, edges, now)
        door.audited(db, "rename_registered_model", f"model:{name}", {"to": new_name})
        return {"registered_model": models_of(db, [Ref(new_name)])[0]}


@call("DELETE", "mlflow/registered-models/delete")
def delete(door: Door, name: str) -> Json:
    """Delete a model that nothing was deployed of, with its versions."""
    with door.stores.ledger.write() as db:
        removal.remove_model(db, ref_of(name).name, door.now())
        door.audited(db, "delete_registered_model", f"model:{name}")
    return {}


@call("POST", "mlflow/registered-models/set-tag")
def set_tag(door: Door, name: str, key: str, value: str = "") -> Json:
    """Set a tag of a model."""
    _said(door, name, tags={key: value})
    return {}


@call("DELETE", "mlflow/registered-models/delete-tag")
def delete_tag(door: Door, name: str, key: str) -> Json:
    """Take a tag away."""
    _said(door, name, tags={key: None})
    return {}


def _said(door: Door, name: str, **what: Any) -> Json:
    with door.stores.ledger.write() as db:
        ref = there(db, ref_of(name))
        labels.say(db, ref, door.now(), **what)
        return {"registered_model": models_of(db, [ref])[0]}


@call("POST", "mlflow/registered-models/get-latest-versions", "reader")
@call("GET", "mlflow/registered-models/get-latest-versions")
def get_latest_versions(door: Door, name: str, stages: tuple[str, ...] = ()) -> Json:
    """The newest version in each stage."""
    wanted = [staged(one) for one in stages]
    with door.stores.ledger.read() as db:
        ref = there(db, ref_of(name))
        found = registered.newest(db, ref, ["" if one == "None" else one for one in wanted])
        return {"model_versions": versions_of(db, found)}


# -- aliases -------------------------------------------------------------------------------------------------


@call("POST", "mlflow/registered-models/alias")
def set_alias(door: Door, name: str, alias: str, version: str) -> Json:
    """Name a version; ``champion`` brings it out, as soon as it can be served."""
    ref = ref_of(name, version)
    arriving.set_alias(door.factory.stations, ref, alias)
    with door.stores.ledger.write() as db:
        door.audited(db, "set_alias", f"model:{ref}", {"alias": alias})
    return {}


@call("DELETE", "mlflow/registered-models/alias")
def delete_alias(door: Door, name: str, alias: str) -> Json:
    """Take a name away; not that of a champion that answers."""
    with door.stores.ledger.write() as db:
        ref = there(db, ref_of(name))
        if alias == CHAMPION and door.factory.stations.deploy.state(ref.name, ref.segment):
            raise Invalid(f"{ref} has a champion that answers", "", "deploy another version instead")
        db.execute(sql_delete(aliases).where(at(aliases, ref), aliases.c.alias == alias))
        door.audited(db, "delete_alias", f"model:{ref}", {"alias": alias})
    return {}


@call("GET", "mlflow/registered-models/alias")
def get_by_alias(door: Door, name: str, alias: str) -> Json:
    """The version of a name."""
    with door.stores.ledger.read() as db:
        ref = there(db, ref_of(name))
        number = db.scalar(select(aliases.c.version).where(at(aliases, ref), aliases.c.alias == alias))
        if number is None:
            raise NotFound(f"Registered model alias {alias[:80]!r} of {ref} not found", "", "")
        found = door.factory.stations.registry.get(Ref(ref.name, ref.segment, number))
        return {"model_version": versions_of(db, [found])[0]}


# -- inside --------------------------------------------------------------------------------------------------


def there(db: Connection, ref: Ref) -> Ref:
    """Return a model, or segment, that there is.

    Raises:
        NotFound: there is none.
    """
    if not registered.exists(db, ref):
        raise NotFound(f"Registered Model with name={ref} not found", no_model(db, ref.name).why, "")
    return ref


def staged(stage: str) -> str:
    """A stage as MLflow writes it.

    Raises:
        Invalid: it is none.
    """
    for one in STAGES:
        if one.lower() == stage.lower():
            return one
    raise Invalid(f"Invalid Model Version stage: {stage[:40]}", "", f"there are {', '.join(STAGES)}")


def models_of(db: Connection, refs: Sequence[Ref]) -> list[Json]:
    """Models as MLflow writes them."""
    said = labels.of_many(db, refs)
    names = [ref.name for ref in refs]
    updated = {row.name: row.updated for row in db.execute(select(models).where(models.c.name.in_(names)))}
    named = _aliases(db, names)
    told = []
    for ref in refs:
        mine = said.get(ref, labels.NONE)
        told.append({
            "name": str(ref),
            "creation_timestamp": forms.ms(mine.created or updated[ref.name]),
            "last_updated_timestamp": forms.ms(mine.updated or updated[ref.name]),
            "user_id": mine.owner,
            "description": mine.note,
            "tags": forms.pairs(mine.tags),
            "latest_versions": versions_of(db, registered.newest(db, ref)),
            "aliases": [
                {"alias": alias, "version": str(version)} for alias, version in named.get((ref.name, ref.segment), [])
            ],
        })  # fmt: skip
    return told


def _aliases(
    db: Connection, names: Sequence[str]
) -> dict[tuple[str, tuple[str, ...]], list[tuple[str, int]]]:
    from modelworks.core.ref import parse_segment

    found: dict[tuple[str, tuple[str, ...]], list[tuple[str, int]]] = {}
    for row in db.execute(select(aliases).where(aliases.c.model.in_(names)).order_by(aliases.c.alias)):
        found.setdefault((row.model, parse_segment(row.segment)), []).append((row.alias, row.version))
    return found


def versions_of(db: Connection, found: Sequence[ModelVersion]) -> list[Json]:
    """Versions as MLflow writes them."""
    refs = [one.ref for one in found]
    said, came = labels.of_many(db, refs), arrivals.of_many(db, refs)
    named = _aliases(db, [ref.name for ref in refs])
    told = []
    for one in found:
        ref, mine, how = one.ref, said.get(one.ref, labels.NONE), came.get(one.ref)
        whole = Ref(ref.name, ref.segment)
        told.append({
            "name": str(whole),
            "version": str(one.version),
            "creation_timestamp": forms.ms(one.created),
            "last_updated_timestamp": forms.ms(mine.updated or one.created),
            "user_id": mine.owner,
            "current_stage": mine.stage or "None",
            "description": mine.note,
            "source": how.source if how else f"modelworks:/{ref}",
            "run_id": (how.run or "") if how else one.run,
            "status": "READY",
            "status_message": one.package.proof.reason,
            "tags": forms.pairs(mine.tags),
            "aliases": [alias for alias, number in named.get((ref.name, ref.segment), []) if number == one.version],
            **({"model_id": how.logged} if how and how.logged else {}),
        })  # fmt: skip
    return told
