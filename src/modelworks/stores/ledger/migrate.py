"""Bringing a ledger to the newest revision with Alembic."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from modelworks.stores.ledger.revisions import HEAD, MIGRATIONS, copies, revision

_log = logging.getLogger("modelworks.ledger")


def config(db: Connection) -> Config:
    """Alembic's settings, for a transaction."""
    settings = Config()
    settings.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    settings.attributes["connection"] = db
    return settings


def upgrade(write: Callable[[], AbstractContextManager[Connection]]) -> None:
    """Run the migrations that are missing, all in one transaction of `write`: a kill leaves the old or the new ledger.

    Of an embedded ledger that has something in it, a copy as it was stays beside it: see `revisions.copies`.
    """
    with write() as db:
        before, database, copied = revision(db), db.engine.url.database, ""
        if before is not None and db.dialect.name == "sqlite" and database:
            copied = f"; as it was before: {_copy(Path(database))}"
        command.upgrade(config(db), "head")
    if before is not None:  # it happens once a version, and who has a reason to wonder should have read it
        _log.warning("the ledger was upgraded from revision %s to %s%s", before, HEAD, copied)


def _copy(database: Path) -> Path:
    """Copy what is committed; nobody else writes, since the caller's transaction is the one that may."""
    place = database.with_name(f"{database.stem}-before-{HEAD}.db")
    part = place.with_suffix(".part")
    part.unlink(missing_ok=True)
    with closing(sqlite3.connect(database, timeout=30)) as source:
        source.execute("VACUUM INTO ?", (str(part),))
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(place)
    for older in copies(database):
        if older != place:
            older.unlink()
    return place
