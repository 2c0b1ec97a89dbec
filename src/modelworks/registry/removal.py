"""Taking models and versions out of the registry, and renaming; never what has answered anybody."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, select, update

from modelworks.core.errors import Conflict
from modelworks.core.ref import Ref, check_name, segment_text
from modelworks.registry.missing import no_model
from modelworks.registry.rows import at
from modelworks.stores.ledger.portable import queue_up, upsert
from modelworks.stores.ledger.tables import (
    aliases,
    arrivals,
    deployment_history,
    labels,
    model_versions,
    models,
    verdicts,
)


def remove_version(db: Connection, ref: Ref, now: datetime) -> None:
    """Take a version out of the registry; its number is not given again.

    Args:
        db: An open transaction.
        ref: A version that is there, by its number.
        now: When.

    Raises:
        Conflict: it was deployed once: predictions lead back to it.
    """
    queue_up(db, "registry")
    history = deployment_history.c
    was = select(history.revision).where(at(deployment_history, ref), history.champion == ref.at).limit(1)
    if db.scalar(was) is not None:
        raise Conflict(
            f"{ref} cannot be deleted", "it was deployed, and predictions lead back to it", "leave it"
        )
    for table in (model_versions, verdicts, arrivals, aliases):
        db.execute(delete(table).where(at(table, ref), table.c.version == ref.at))
    gone: dict[str, Any] = {
        "model": ref.name, "segment": segment_text(ref.segment), "version": ref.at, "tags": {}, "note": "",
        "owner": "", "stage": "", "created": now, "updated": now, "removed": now,
    }  # fmt: skip
    upsert(db, labels, [gone])


def remove_model(db: Connection, name: str, now: datetime) -> list[Ref]:
    """Take a model and all its versions out of the registry; returns the versions.

    Raises:
        NotFound: there is no such model.
        Conflict: it is defined in the project, or was deployed once.
    """
    queue_up(db, "registry")
    _idle(db, name, "deleted")
    found = db.execute(
        select(model_versions.c.segment, model_versions.c.version).where(model_versions.c.model == name)
    )
    refs = [Ref(name, (), row.version) for row in found if not row.segment]
    for ref in refs:
        remove_version(db, ref, now)
    for table in (aliases, models):
        column = table.c.name if table is models else table.c.model
        db.execute(delete(table).where(column == name))
    db.execute(delete(labels).where(labels.c.model == name, labels.c.version == 0))
    return refs


def rename_model(db: Connection, name: str, to: str, now: datetime) -> list[Ref]:
    """Give a model another name, its versions with it; returns them under the new name.

    Raises:
        NotFound: there is no such model.
        Invalid: the new name cannot name a model.
        Conflict: it is defined in the project or was deployed once, or the new name is taken.
    """
    queue_up(db, "registry")
    check_name(to, "model name")
    _idle(db, name, "renamed")
    taken = select(labels.c.version).where(labels.c.model == to).limit(1)
    if db.scalar(select(models.c.name).where(models.c.name == to)) or db.scalar(taken) is not None:
        raise Conflict(f"there is, or was, a model {to!r}", "", "choose another name")
    for table in (model_versions, aliases, verdicts, labels, arrivals):
        db.execute(update(table).where(table.c.model == name).values(model=to))
    # What is being read just now is read again, under its new name.
    being_read = (arrivals.c.model == to, arrivals.c.state == "reading")
    db.execute(update(arrivals).where(*being_read).values(state="waiting"))
    db.execute(update(models).where(models.c.name == name).values(name=to, updated=now))
    numbers: Sequence[int] = db.scalars(
        select(model_versions.c.version).where(model_versions.c.model == to)
    ).all()
    return [Ref(to, (), number) for number in numbers]


def _idle(db: Connection, name: str, done: str) -> None:
    """Refuse models that are the project's, or have answered.

    Raises:
        NotFound: there is no such model.
        Conflict: it is one.
    """
    row = db.execute(select(models.c.dataset).where(models.c.name == name)).one_or_none()
    if row is None:
        raise no_model(db, name)
    if row.dataset is not None:
        raise Conflict(
            f"model {name!r} cannot be {done}", "the project defines it", "change factory.py instead"
        )
    used = select(deployment_history.c.revision).where(deployment_history.c.model == name).limit(1)
    if db.scalar(used) is not None:
        raise Conflict(
            f"model {name!r} cannot be {done}", "it was deployed, and predictions lead back to it", "leave it"
        )
