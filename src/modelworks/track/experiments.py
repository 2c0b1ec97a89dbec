"""Experiments: groups of runs, with a number, tags and an end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, insert, select, update

from modelworks.core.errors import Conflict, Invalid, NotFound
from modelworks.stores.ledger.portable import queue_up, upsert
from modelworks.stores.ledger.tables import experiments, runs
from modelworks.track.entry import NAME_LIMIT

DEFAULT = 0
"""The number of the runs that name no experiment."""
Row = Mapping[str, Any]


def ensure(db: Connection, names: Mapping[str, datetime]) -> None:
    """Number the experiments that runs name for the first time, at a moment each."""
    rows = [{"name": name, "tags": {}, "created": at, "updated": at} for name, at in sorted(names.items())]
    upsert(db, experiments, rows, keep=True, by=("name",))


def create(db: Connection, name: str, tags: Mapping[str, str], now: datetime) -> int:
    """Begin an experiment; returns its number.

    Raises:
        Invalid: the name is none.
        Conflict: there is one of that name.
    """
    _checked(name)
    queue_up(db, "experiments")
    _free(db, name)
    row = insert(experiments).values(name=name, tags=dict(tags), created=now, updated=now)
    made = db.execute(row.returning(experiments.c.id)).scalar_one()
    return int(made)


def get(db: Connection, number: int) -> Row:
    """An experiment by its number.

    Raises:
        NotFound: there is none.
    """
    found = db.execute(select(experiments).where(experiments.c.id == number)).mappings().one_or_none()
    if found is not None:
        return dict(found)
    if number == DEFAULT:
        first = db.scalar(select(func.min(runs.c.started)).where(runs.c.experiment == ""))
        return {"id": DEFAULT, "name": "", "tags": {}, "created": first, "updated": first, "deleted": None}
    raise NotFound(f"there is no experiment {number}", "", "search for experiments by name")


def by_name(db: Connection, name: str) -> Row:
    """An experiment by its name, ``""`` for the runs that name none.

    Raises:
        NotFound: there is none.
    """
    if not name:
        return get(db, DEFAULT)
    found = db.execute(select(experiments).where(experiments.c.name == name)).mappings().one_or_none()
    if found is None:
        raise NotFound(f"there is no experiment {name[:120]!r}", "", "create it first")
    return dict(found)


def of(db: Connection, numbers: Sequence[int]) -> dict[int, Row]:
    """The experiments of some numbers, those that there are."""
    query = select(experiments).where(experiments.c.id.in_(set(numbers)))
    found: dict[int, Row] = {row["id"]: dict(row) for row in db.execute(query).mappings()}
    return {number: found[number] if number in found else get(db, number)
            for number in numbers if number in found or number == DEFAULT}  # fmt: skip


def find(
    db: Connection, where: ColumnElement[bool], order: Sequence[Any], skip: int, most: int
) -> list[dict[str, Any]]:
    """Experiments that fulfil a condition over the table, in an order."""
    query = select(experiments).where(where).order_by(*order, experiments.c.id.desc())
    return [dict(row) for row in db.execute(query.offset(skip).limit(most)).mappings()]


def rename(db: Connection, number: int, name: str, now: datetime) -> None:
    """Give an experiment another name; its runs follow.

    Raises:
        NotFound: there is none.
        Invalid: the name is none, or it is the one without a name.
        Conflict: another has that name, or it is deleted.
    """
    _own(number)
    row = _living(db, number)
    if row["name"] == _checked(name):
        return
    queue_up(db, "experiments")
    _free(db, name)
    db.execute(update(experiments).where(experiments.c.id == number).values(name=name, updated=now))
    db.execute(update(runs).where(runs.c.experiment == row["name"]).values(experiment=name))


def tag(db: Connection, number: int, tags: Mapping[str, str | None], now: datetime) -> None:
    """Set tags of an experiment; ``None`` takes one away.

    Raises:
        NotFound: there is none.
        Conflict: it is deleted.
    """
    queue_up(db, "experiments")
    if number == DEFAULT:
        first = {"id": DEFAULT, "name": "", "tags": {}, "created": now, "updated": now}
        upsert(db, experiments, [first], keep=True)
    row = _living(db, number)
    merged = {name: text for name, text in {**row["tags"], **tags}.items() if text is not None}
    db.execute(update(experiments).where(experiments.c.id == number).values(tags=merged, updated=now))


def delete(db: Connection, number: int, now: datetime) -> None:
    """Put an experiment out of sight, its runs with it.

    Raises:
        NotFound: there is none.
        Invalid: it is the one without a name.
        Conflict: it is deleted already.
    """
    row = _living(db, number)
    _own(number)
    db.execute(update(experiments).where(experiments.c.id == number).values(deleted=now, updated=now))
    theirs = (runs.c.experiment == row["name"], runs.c.deleted.is_(None))
    db.execute(update(runs).where(*theirs).values(deleted=now))


def restore(db: Connection, number: int, now: datetime) -> None:
    """Bring an experiment back, and the runs that went with it.

    Raises:
        NotFound: there is none.
        Conflict: it is not deleted.
    """
    row = get(db, number)
    if row["deleted"] is None:
        raise Conflict(f"experiment {number} is not deleted", "", "there is nothing to restore")
    theirs = (runs.c.experiment == row["name"], runs.c.deleted == row["deleted"])
    db.execute(update(runs).where(*theirs).values(deleted=None))
    db.execute(update(experiments).where(experiments.c.id == number).values(deleted=None, updated=now))


def _living(db: Connection, number: int) -> Row:
    row = get(db, number)
    if row["deleted"] is not None:
        raise Conflict(f"experiment {number} is deleted", "", "restore it first")
    return row


def _own(number: int) -> None:
    if number == DEFAULT:
        raise Invalid("the default experiment stays as it is", "it holds the runs that name none", "")


def _free(db: Connection, name: str) -> None:
    taken = db.execute(select(experiments.c.deleted).where(experiments.c.name == name)).one_or_none()
    if taken is not None:
        out = taken.deleted is not None
        raise Conflict(
            f"there is an experiment {name[:120]!r} already",
            "it is deleted" if out else "",
            "restore it, or choose another name" if out else "choose another name",
        )


def _checked(name: str) -> str:
    if not 0 < len(name) <= NAME_LIMIT or not name.isprintable():
        raise Invalid(
            f"{name[:80]!r} cannot name an experiment",
            f"a name has 1 to {NAME_LIMIT} visible characters",
            "choose another name",
        )
    return name
