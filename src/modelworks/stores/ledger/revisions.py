"""The revisions of a ledger that this code knows, and the one that a ledger has."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from modelworks.core.errors import Conflict

MIGRATIONS = Path(__file__).parent / "migrations"
KNOWN = sorted(path.name[:4] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))
"""Every revision, the oldest first."""
HEAD = KNOWN[-1]
"""The newest: a ledger that has it needs no migration."""


def revision(db: Connection) -> str | None:
    """Of a ledger; ``None`` where there is none yet.

    Raises:
        Conflict: this code does not know it.
    """
    if not inspect(db).has_table("alembic_version"):
        return None
    found: str | None = db.scalar(text("select version_num from alembic_version"))
    if found is not None and found not in KNOWN:
        raise Conflict(
            "the ledger is newer than this Modelworks",
            f"it has revision {found!r}, and this one knows revisions up to {HEAD}",
            "install the Modelworks that last opened it, or a newer one: pip install --upgrade modelworks",
        )
    return found


def copies(database: Path) -> list[Path]:
    """Copies of an embedded ledger from before an upgrade: the newest is kept."""
    return sorted(database.parent.glob(f"{database.stem}-before-[0-9]*.db"))
