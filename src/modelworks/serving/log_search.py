"""Finding predictions again, in the spool and in the table: by id, by model, by time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from modelworks.core.clock import utc
from modelworks.core.errors import ModelworksError
from modelworks.serving.prediction_log import SCHEMA, logged, table
from modelworks.serving.spool import PREDICTIONS, Entry, SpoolFile, files
from modelworks.stores import Stores

_ID = re.compile(r"[0-9a-f]{26}-[0-9]+")
_SLACK = 60_000 << 16
"""A file gets its name, an id too, after the first answers for it have got theirs."""
_COARSE = 20
"""Milliseconds by which the time that a file was written to may be behind the clock."""


def find(stores: Stores, prediction_id: str) -> dict[str, Any] | None:
    """A logged prediction, whether it has reached the table or not."""
    if not _ID.fullmatch(prediction_id):
        return None
    request = prediction_id[:26].encode()
    made = int(prediction_id[:16], 16)
    # The spool first: what leaves it between the two looks is in the table by then.
    for path in reversed(files(stores.spool, PREDICTIONS)):
        if int(path.name[:16], 16) > made + _SLACK:  # begun later than the prediction was made
            continue
        for entry in _containing(path, request):
            found = table([entry]).filter(pl.col("id") == prediction_id)
            if found.height:
                return found.row(0, named=True)
    if not stores.tables.exists(PREDICTIONS):
        return None
    # Ids sort by time, so the files' statistics leave only a few to be read.
    rows = logged(stores.tables).filter(pl.col("id") == prediction_id).head(1).collect()
    return rows.row(0, named=True) if rows.height else None


def _containing(path: Path, needle: bytes) -> Iterator[Entry]:
    try:
        with SpoolFile(path) as file:
            for block in file.blocks(needle=needle):
                for entry in block.entries:
                    if needle in entry.answer:
                        yield entry
    except FileNotFoundError:  # drained meanwhile
        return


@dataclass(frozen=True)
class Wanted:
    """Which predictions are asked for.

    Attributes:
        model: Of which model; ``None`` for any.
        limit: How many, the newest.
        since: Answered from then on.
        until: Answered before.
        caller: Asked by the token of that name.
        request: That came with that ``X-Request-Id``.
    """

    model: str | None = None
    limit: int = 50
    since: datetime | None = None
    until: datetime | None = None
    caller: str | None = None
    request: str | None = None

    def where(self) -> list[pl.Expr]:
        """As conditions; ids sort by time, so bounds of ids leave out files and parts of them."""
        named = {"model": self.model, "caller": self.caller, "request": self.request}
        found = [pl.col(name) == value for name, value in named.items() if value is not None]
        if self.since is not None:
            found.append(pl.col("id") >= _first_id(self.since))
        if self.until is not None:
            found.append(pl.col("id") < _first_id(self.until))
        return found


def recent(stores: Stores, wanted: Wanted) -> list[dict[str, Any]]:
    """The newest predictions, the newest first."""
    if wanted.limit < 1:
        return []
    found = [_waiting(stores, wanted)]
    if stores.tables.exists(PREDICTIONS):
        found.append(_newest(stores, wanted))
    return pl.concat(found).unique("id").sort("id", descending=True).head(wanted.limit).to_dicts()


def _first_id(moment: datetime) -> str:
    """What no id is below that was given from a moment on."""
    return f"{max(int(utc(moment).timestamp() * 1000), 0):012x}"


def _waiting(stores: Stores, wanted: Wanted) -> pl.DataFrame:
    """Of what has not been drained yet.

    Several processes write, each into its own files: an old file may end with the newest row, so files are
    looked at by when they were last written to.
    """
    rows, limit, where = pl.DataFrame(schema=SCHEMA), wanted.limit, wanted.where()
    paths = files(stores.spool, PREDICTIONS)
    done = stores.tables.transactions(PREDICTIONS, [path.name for path in paths])
    for written, path in sorted(_written(paths), reverse=True):
        if rows.height >= limit and _milliseconds(rows["id"][limit - 1]) > written + _COARSE:
            break
        try:
            with SpoolFile(path) as file:
                entries = [entry for block in file.blocks(done.get(path.name, 0)) for entry in block.entries]
        except (FileNotFoundError, ModelworksError):  # drained meanwhile
            continue
        found = rows.clear()
        for at in range(len(entries), 0, -limit):
            some = table(entries[max(at - limit, 0) : at])
            found = pl.concat([found, some.filter(where) if where else some])
            if found.height >= limit:
                break
        rows = pl.concat([rows, found]).sort("id", descending=True)
    return rows.head(limit)


def _written(paths: Iterable[Path]) -> Iterator[tuple[int, Path]]:
    """When each file was last written to, in milliseconds; without those that were drained meanwhile."""
    for path in paths:
        with suppress(FileNotFoundError):
            yield path.stat().st_mtime_ns // 1_000_000, path


def _milliseconds(id: str) -> int:
    """When an id was given."""
    return int(id[:12], 16)


def _newest(stores: Stores, wanted: Wanted) -> pl.DataFrame:
    """Of the table, file by file from the newest on, some more each time, until there are enough."""
    rows_of = logged(stores.tables).filter(True, *wanted.where())
    begin = "" if wanted.since is None else _first_id(wanted.since)
    lows = sorted((low for low in stores.tables.lows(PREDICTIONS, "id") if low > begin), reverse=True)
    rows, above, looked, step = pl.DataFrame(schema=SCHEMA), None, 0, 2
    while rows.height < wanted.limit:
        looked, step = looked + step, step * 4
        low = lows[looked - 1] if looked < len(lows) else ""  # at last what no file has a bound of
        part = rows_of.filter(pl.col("id") >= low)
        if above is not None:
            part = part.filter(pl.col("id") < above)
        # First the ids alone: whole rows are only read of those that are told.
        left = wanted.limit - rows.height
        ids = part.select("id").top_k(left, by="id").collect()["id"]
        if len(ids):
            part = part.filter(pl.col("id") >= ids.min(), pl.col("id") <= ids.max())
            rows = pl.concat([rows, part.sort("id", descending=True).head(left).collect()])
        if not low:
            break
        above = low
    return rows
