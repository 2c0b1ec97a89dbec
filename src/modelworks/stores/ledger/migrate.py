"""Bringing a ledger to the newest revision with Alembic."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config

if TYPE_CHECKING:
    from modelworks.stores.ledger.engine import Ledger


def upgrade(ledger: Ledger) -> None:
    """Run the migrations that are missing, all in one transaction.

    Two processes that open a new ledger at once wait for each other: the second finds nothing to do.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with ledger.write() as db:
        config.attributes["connection"] = db
        command.upgrade(config, "head")
