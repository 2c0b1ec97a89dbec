"""The verbs of tracking: take what runs say, find runs again, compare them, keep them in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
from sqlalchemy import update

from modelworks.core.clock import Clock
from modelworks.core.errors import Invalid
from modelworks.stores import Stores
from modelworks.stores.ledger.portable import chunks
from modelworks.stores.ledger.tables import runs
from modelworks.track import book, content, look, points
from modelworks.track.entry import Batch
from modelworks.track.settle import SILENCE, settle


class TrackStation:
    """The runs of one project. Whoever looks sees all that was said before, by whichever process.

    Args:
        stores: Where they rest.
        clock: Gives the time.
    """

    def __init__(self, stores: Stores, clock: Clock) -> None:
        self.stores = stores
        self.clock = clock

    def take(self, batch: Batch) -> dict[str, int]:
        """Take entries from elsewhere; they are in the ledger when this returns.

        Raises:
            Invalid: others are missing before them.
            NotFound: they are about a run that nobody has begun.
        """
        session, entries = batch.session, batch.entries
        with self.stores.ledger.write() as db:
            skip = 0
            if session is not None:
                skip = book.follow_on(db, session, batch.begin, len(entries), self.clock())
            book.enter(db, entries[skip:], strict=True)
            if session is not None and batch.over:
                book.lose(db, session, self.clock())
        return {"taken": len(entries) - skip, "next": batch.begin + len(entries)}

    def settle(self) -> int:
        """Put what processes of this machine have said into the ledger, and notice the dead; see `settle`."""
        entered = settle(self.stores, self.clock)
        now = self.clock()
        with self.stores.ledger.read() as db:
            silent = book.silent(db, now - SILENCE)
        if silent:
            with self.stores.ledger.write() as db:
                book.lose_silent(db, now - SILENCE, now)
        return entered

    def tidy(self) -> int:
        """Move points from the ledger into their table where it is worth it; returns their number."""
        moved = points.pack(self.stores)
        if moved:
            packing = self.stores.tables.pack(points.TABLE, ["run", "metric", "step"], at_least=16)
            if packing is not None:
                self.stores.tables.swap(points.TABLE, packing)
        return moved

    def find(self, query: str, limit: int = 100, deleted: bool = False) -> list[dict[str, Any]]:
        """The runs that a query asks for; see `look.find`."""
        self.settle()
        return look.find(self.stores, query, self.clock(), limit=limit, deleted=deleted)

    def run(self, identifier: str) -> dict[str, Any]:
        """One run with all that it has; see `look.one`."""
        self.settle()
        return look.one(self.stores, identifier)

    def compare(self, identifiers: Sequence[str]) -> dict[str, Any]:
        """Runs side by side; see `look.compare`."""
        self.settle()
        return look.compare(self.stores, identifiers)

    def course(self, identifier: str, metric: str | None = None, most: int = 0) -> pl.DataFrame:
        """The points of a run's metrics, or of one: metric, step, time, value.

        Args:
            identifier: The run.
            metric: Only this one.
            most: Points of each metric to return at most, evenly chosen, the last among them; 0 for all.

        Raises:
            NotFound: there is no such run.
        """
        full = self.run(identifier)["id"]
        frame = points.course(self.stores, full, metric)
        if most <= 0:
            return frame
        place, count = pl.int_range(pl.len()).over("metric"), pl.len().over("metric")
        every = (count / most).ceil().cast(pl.Int64)
        return frame.filter((count - 1 - place) % every == 0)

    def artifact(self, identifier: str, name: str) -> bytes:
        """The content of an artifact of a run.

        Raises:
            NotFound: there is no such run.
            Invalid: it has no such artifact.
        """
        told = self.run(identifier)
        if name not in told["artifacts"]:
            raise Invalid(
                f"run {told['id']} has no artifact {name[:80]!r}",
                f"it has {', '.join(told['artifacts']) or 'none'}",
                "use one of these",
            )
        return self.stores.artifacts.get(told["artifacts"][name])

    def table(self, identifier: str, name: str, limit: int) -> dict[str, Any]:
        """The first rows of a table among the artifacts of a run.

        Raises:
            NotFound: there is no such run.
            Invalid: it has no such artifact, or that is no table.
        """
        return content.first_rows(self.artifact(identifier, name), name, limit)

    def delete(self, identifiers: Sequence[str]) -> int:
        """Put runs out of sight, their children with them; returns how many. `restore` brings them back."""
        return self._mark(identifiers, deleted=True)

    def restore(self, identifiers: Sequence[str]) -> int:
        """Bring deleted runs back, their children with them; returns how many."""
        return self._mark(identifiers, deleted=False)

    def _mark(self, identifiers: Sequence[str], *, deleted: bool) -> int:
        wanted = [self.run(identifier)["id"] for identifier in identifiers]
        changed = 0
        value = self.clock() if deleted else None
        with self.stores.ledger.write() as db:
            for some in chunks(wanted):
                here = runs.c.id.in_(some) | runs.c.parent.in_(some)
                was = runs.c.deleted.is_(None) if deleted else runs.c.deleted.is_not(None)
                changed += db.execute(update(runs).where(here, was).values(deleted=value)).rowcount
        return changed
