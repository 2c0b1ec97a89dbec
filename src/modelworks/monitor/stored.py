"""Windows in the ledger; the newest also in memory, for as long as nobody else writes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import polars as pl
from sqlalchemy import Connection, select

from modelworks.monitor import truths
from modelworks.monitor.progress import Progress
from modelworks.monitor.sketch import SUMS, Sketches
from modelworks.monitor.truths import Truths
from modelworks.stores.ledger import Ledger
from modelworks.stores.ledger.portable import upsert
from modelworks.stores.ledger.tables import windows

_KEPT_DAYS = timedelta(days=35)
_MOST_KEPT = 100_000
"""Windows of one model up to which they are kept in memory."""


class Window(NamedTuple):
    """One day (UTC, of event time) of one version.

    Attributes:
        segment: Text of its segment.
        version: The version.
        start: When the day began.
        sums: As a row of `Sketches.sums`.
        sketch: As an element of `Sketches.pack`.
    """

    segment: str
    version: int
    start: datetime
    sums: tuple[float, ...]
    sketch: bytes


def windows_of(keys: pl.DataFrame, sketches: Sketches) -> list[Window]:
    """Windows from what `monitor.window.sketched` gives."""
    sums = map(tuple, sketches.sums.tolist())
    return [Window(*key, *rest) for key, *rest in zip(keys.iter_rows(), sums, sketches.pack(), strict=True)]


@dataclass
class _Kept:
    """Windows of one model in memory: those that start at `since` or later, as of `progress`."""

    progress: Progress
    since: datetime
    rows: dict[tuple[str, int, datetime], Window] = field(default_factory=dict)


class StoredWindows:
    """The windows of one ledger.

    Args:
        ledger: Where they stand.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._kept: dict[str, _Kept] = {}

    def write(
        self, model: str, made: Iterable[Window], progress: Progress, days: Sequence[Truths] = ()
    ) -> None:
        """Write windows and `days`, over what stood in their place, and how far that brings the model's monitoring."""
        rows = {(one.segment, one.version, one.start): one for one in made}
        with self.ledger.write() as db:
            kept = self._kept.get(model)
            if kept is not None and kept.progress != Progress.of(db, model):
                kept = None
            changed = [one for key, one in rows.items() if kept is None or kept.rows.get(key) != one]
            upsert(db, windows, [_row(model, one) for one in changed])
            truths.write(db, model, days)
            progress.write(db, model)
        if kept is None:
            self._kept.pop(model, None)
            return
        kept.progress = progress
        # Another dict: a thread may just be reading the one that was.
        kept.rows = kept.rows | {key: one for key, one in rows.items() if one.start >= kept.since}

    def read(self, model: str, start: datetime, end: datetime) -> list[Window]:
        """The windows that begin from `start` until before `end`."""
        with self.ledger.read() as db:
            progress = Progress.of(db, model)
            kept = self._kept.get(model)
            if kept is None or kept.progress != progress or kept.since > start:
                kept = _Kept(progress, start, {one[:3]: one for one in _found(db, model, start)})
                self._kept[model] = kept
        if len(kept.rows) > _MOST_KEPT:
            self._kept.pop(model, None)
        elif kept.since < start - _KEPT_DAYS:
            kept.since = start
            kept.rows = {key: one for key, one in kept.rows.items() if one.start >= start}
        return [one for one in kept.rows.values() if start <= one.start < end]

    def earlier(self, model: str, start: datetime, end: datetime) -> list[Window]:
        """The same as `read` of days that are looked at seldom, and not kept in memory."""
        with self.ledger.read() as db:
            return list(_found(db, model, start, end))


def _found(db: Connection, model: str, start: datetime, end: datetime | None = None) -> Iterator[Window]:
    columns = (windows.c[name] for name in ("segment", "version", "start", *SUMS, "sketch"))
    query = select(*columns).where(windows.c.model == model, windows.c.start >= start)
    if end is not None:
        query = query.where(windows.c.start < end)
    for segment, version, begun, *sums, sketch in db.execute(query):
        yield Window(segment, version, begun, tuple(sums), sketch)


def _row(model: str, one: Window) -> dict[str, Any]:
    row = {
        "model": model,
        "segment": one.segment,
        "version": one.version,
        "start": one.start,
        "sketch": one.sketch,
    }
    return row | dict(zip(SUMS, one.sums, strict=True))
