"""Where everything rests: the ledger, the tables, the artifacts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from modelworks.stores.artifacts import Artifacts, LocalArtifacts
from modelworks.stores.ledger import Ledger
from modelworks.stores.tables import DeltaTables, Tables


@dataclass(frozen=True)
class Stores:
    """The three stores of one project, and the folder for what is still on its way into them."""

    ledger: Ledger
    tables: Tables
    artifacts: Artifacts
    spool: Path


def open_stores(state: Path, ledger_url: str = "", tables_url: str = "", artifacts_url: str = "") -> Stores:
    """Open the three stores, making the embedded ones where there are none.

    Args:
        state: Folder of the embedded state; a URL left empty names a place in it.
        ledger_url: SQLAlchemy URL.
        tables_url: Folder or ``s3://bucket/prefix``.
        artifacts_url: Folder.
    """
    spool = state / "spool"
    spool.mkdir(parents=True, exist_ok=True)
    return Stores(
        Ledger(ledger_url or f"sqlite:///{state / 'ledger.db'}"),
        DeltaTables(tables_url or str(state / "tables")),
        LocalArtifacts(Path(artifacts_url or state / "artifacts")),
        spool,
    )
