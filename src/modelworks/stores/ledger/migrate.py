"""Bringing a ledger to the newest revision with Alembic."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection


def upgrade(write: Callable[[], AbstractContextManager[Connection]]) -> None:
    """Run the migrations that are missing, all in one transaction of `write`.

    Two processes that open a new ledger at once wait for each other: the second finds nothing to do.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with write() as db:
        config.attributes["connection"] = db
        command.upgrade(config, "head")
