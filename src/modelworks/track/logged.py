"""Logged models: what a run has kept of a model, whether or not it is in the registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, insert, select, update

from modelworks.core.clock import new_id
from modelworks.core.errors import Conflict, Invalid, NotFound
from modelworks.stores.ledger.portable import chunks, queue_up
from modelworks.stores.ledger.tables import logged_models
from modelworks.track.entry import FIELDS_LIMIT, NAME_LIMIT

PENDING, READY, FAILED = "pending", "ready", "failed"
Row = Mapping[str, Any]


def create(
    db: Connection,
    experiment: int,
    name: str,
    *,
    run: str | None,
    kind: str,
    params: Mapping[str, str],
    tags: Mapping[str, str],
    now: datetime,
) -> str:
    """Begin to log a model; returns its id.

    Raises:
        Invalid: the name is none.
    """
    if not 0 < len(name) <= NAME_LIMIT or not name.isprintable() or set(name) & set("/:.%\"'"):
        raise Invalid(
            f"{name[:80]!r} cannot name a logged model",
            f"a name has 1 to {NAME_LIMIT} visible characters, none of / : . % \" '",
            "choose another name",
        )
    identifier = f"m-{new_id()}"
    db.execute(
        insert(logged_models).values(
            id=identifier, experiment=experiment, name=name, run=run, kind=kind[:NAME_LIMIT], status=PENDING,
            params=dict(params), metrics={}, points=[], tags=dict(tags), artifacts={}, created=now, updated=now,
        )
    )  # fmt: skip
    return identifier


def get(db: Connection, identifier: str, *, deleted: bool = False) -> dict[str, Any]:
    """A logged model.

    Raises:
        NotFound: there is none, or it is deleted and that is not asked for.
    """
    row = db.execute(select(logged_models).where(logged_models.c.id == identifier)).mappings().one_or_none()
    if row is None or (row["deleted"] is not None and not deleted):
        why = "" if row is None else "it is deleted"
        raise NotFound(f"there is no logged model {identifier[:80]!r}", why, "search for logged models")
    return dict(row)


def of(db: Connection, identifiers: Sequence[str]) -> list[dict[str, Any]]:
    """Logged models of some ids, those that there are."""
    return [
        dict(row)
        for some in chunks(identifiers)
        for row in db.execute(select(logged_models).where(logged_models.c.id.in_(some))).mappings()
    ]


def find(
    db: Connection, where: ColumnElement[bool], order: Sequence[Any], skip: int, most: int
) -> list[dict[str, Any]]:
    """Logged models that fulfil a condition over the table, the newest first where no order is given."""
    query = select(logged_models).where(where, logged_models.c.deleted.is_(None))
    query = query.order_by(*order, logged_models.c.created.desc(), logged_models.c.id.desc())
    return [dict(row) for row in db.execute(query.offset(skip).limit(most)).mappings()]


def finish(db: Connection, identifier: str, status: str, message: str, now: datetime) -> None:
    """Say that all of a model is there, or that it is not to be.

    Raises:
        NotFound: there is none.
    """
    get(db, identifier)
    _change(db, identifier, now, status=status, message=message[:1000])


def tag(db: Connection, identifier: str, tags: Mapping[str, str | None], now: datetime) -> None:
    """Set tags; ``None`` takes one away.

    Raises:
        NotFound: there is no such model.
    """
    row = _locked(db, identifier)
    merged = {name: text for name, text in {**row["tags"], **tags}.items() if text is not None}
    _change(db, identifier, now, tags=merged)


def add_params(db: Connection, identifier: str, params: Mapping[str, str], now: datetime) -> None:
    """Record parameters.

    Raises:
        NotFound: there is no such model.
        Conflict: one has another value already.
    """
    row = _locked(db, identifier)
    for name, value in params.items():
        if row["params"].get(name, value) != value:
            raise Conflict(f"parameter {name!r} of {identifier} is set", f"it is {row['params'][name]!r}", "")
    _change(db, identifier, now, params={**row["params"], **params})


def measure(db: Connection, identifier: str, points: Sequence[Row], now: datetime) -> None:
    """Record metrics of a model: of each name and dataset the newest point stays.

    Args:
        db: An open transaction.
        identifier: The model.
        points: With ``name, value, step, time, run, dataset, digest``; a value that is not finite is a text.
        now: When.

    Raises:
        NotFound: there is no such model.
    """
    row = _locked(db, identifier)
    newest = {(one["name"], one["dataset"], one["digest"]): one for one in row["points"]}
    for point in points:
        key = (point["name"], point["dataset"], point["digest"])
        if key not in newest or _at(point) >= _at(newest[key]):
            newest[key] = dict(point)
    values = {
        one["name"]: one["value"]
        for one in sorted(newest.values(), key=_at)
        if not isinstance(one["value"], str)
    }
    _change(db, identifier, now, points=list(newest.values())[-FIELDS_LIMIT:], metrics=values)


def _at(point: Row) -> tuple[int, int]:
    return point["step"], point["time"]


def keep(db: Connection, identifier: str, files: Mapping[str, str | None], now: datetime) -> None:
    """Enter files of a model, name to digest; ``None`` takes one away.

    Raises:
        NotFound: there is no such model.
        Conflict: it has too many.
    """
    row = _locked(db, identifier)
    merged = {name: digest for name, digest in {**row["artifacts"], **files}.items() if digest is not None}
    if len(merged) > FIELDS_LIMIT:
        raise Conflict(
            f"{identifier} has too many files", f"the most is {FIELDS_LIMIT}", "pack them into one"
        )
    _change(db, identifier, now, artifacts=merged)


def delete(db: Connection, identifier: str, now: datetime) -> None:
    """Put a model out of sight.

    Raises:
        NotFound: there is none.
    """
    get(db, identifier)
    _change(db, identifier, now, deleted=now)


def _locked(db: Connection, identifier: str) -> dict[str, Any]:
    queue_up(db, "logged")
    return get(db, identifier)


def _change(db: Connection, identifier: str, now: datetime, **columns: Any) -> None:
    row = update(logged_models).where(logged_models.c.id == identifier)
    db.execute(row.values(updated=now, **columns))
