"""Archived versions: their row and lineage stay, they may not be deployed, and their model may be let go."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, and_, exists, or_, select, update

from modelworks.core.errors import Conflict
from modelworks.registry.model_version import ModelVersion
from modelworks.registry.rows import at
from modelworks.stores.ledger.tables import aliases, deployments, model_versions

_M, _A, _D = model_versions.c, aliases.c, deployments.c

NAMED = exists().where(_A.model == _M.model, _A.segment == _M.segment, _A.version == _M.version)
"""A version that has an alias."""
DEPLOYED = exists().where(
    and_(_D.model == _M.model, _D.segment == _M.segment),
    or_(_D.champion == _M.version, _D.previous == _M.version),
)
"""A version that answers, or that one can go back to."""


def archive(db: Connection, version: ModelVersion, now: datetime) -> None:
    """Put a version away; one that is put away already stays so.

    Raises:
        Conflict: it answers, one can go back to it, or it has a name.
    """
    ref = version.ref
    here = (at(deployments, ref), or_(_D.champion == version.version, _D.previous == version.version))
    if (live := db.scalar(select(_D.champion).where(*here))) is not None:
        role = "is the champion" if live == version.version else "is what a rollback goes back to"
        raise Conflict(f"{ref} cannot be archived", f"it {role}", "deploy another version first")
    names = db.scalars(select(_A.alias).where(at(aliases, ref), _A.version == version.version)).all()
    if names:
        raise Conflict(
            f"{ref} cannot be archived",
            f"it is called {', '.join(sorted(names))}",
            "give the name to another version",
        )
    _set(db, version, version.archived or now)


def restore(db: Connection, version: ModelVersion) -> None:
    """Bring a version back."""
    _set(db, version, None)


def _set(db: Connection, version: ModelVersion, moment: datetime | None) -> None:
    of = (at(model_versions, version.ref), _M.version == version.version)
    db.execute(update(model_versions).where(*of).values(archived=moment))
