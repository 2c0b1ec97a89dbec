"""Letting artifacts go that nothing refers to, and putting versions away whose model may go.

What the ledger mentions anywhere is kept: a new table that names artifacts needs no word here. Who stores an artifact
before the ledger mentions it is safe for an hour, or while the training runs that stored it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import JSON, Connection, String, Text, cast, or_, select

from modelworks.core.errors import Conflict, Invalid
from modelworks.core.ref import Ref
from modelworks.pipelines import campaign
from modelworks.pipelines.context import Stations
from modelworks.registry import archive as archives
from modelworks.registry.model_version import ModelVersion
from modelworks.stores.ledger.tables import metadata, model_versions, run_values
from modelworks.train import scratch

GRACE = timedelta(hours=1)
"""How long an artifact is safe that nothing refers to yet; while a training runs it is never less."""
_TICK = 0.1
"""Seconds by which the clock that files are stamped with may be late."""
_DIGEST = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_SKIPPED = {run_values.name}
"""Tables that say again what stands in another one."""
_PAGE = 5_000


@dataclass(frozen=True)
class GarbageReport:
    """What a collection did, or would do.

    Attributes:
        artifacts: Artifacts that nothing referred to.
        parts: Halves of artifacts that killed writers left.
        folders: Folders that killed trainings left.
        bytes: Of all of them.
        kept: Artifacts that something refers to.
        young: Artifacts that are too young to judge.
        dry_run: Whether nothing was deleted.
    """

    artifacts: int
    parts: int
    folders: int
    bytes: int
    kept: int
    young: int
    dry_run: bool


def collect(stations: Stations, grace: timedelta = GRACE, dry_run: bool = False) -> GarbageReport:
    """Delete artifacts that nothing refers to, and what killed trainings left.

    Args:
        stations: The belt.
        grace: How old such an artifact has to be.
        dry_run: Only count.
    """
    ledger, root = stations.stores.ledger, stations.train.scratch
    with ledger.alone("gc"):
        now = time.time()
        if any(one.running for one in campaign.going(ledger)):
            grace = max(grace, GRACE)
        with ledger.read() as db:
            mentioned = _sorted(_mentions(db))
        swept = stations.stores.artifacts.sweep(
            lambda digest: _within(mentioned, digest), now - max(grace.total_seconds(), _TICK), dry_run
        )
        left = scratch.left(root)
        size = sum(map(scratch.size_of, left)) if dry_run else scratch.clear(root)
    return GarbageReport(
        swept.blobs, swept.parts, len(left), swept.bytes + size, swept.kept, swept.young, dry_run
    )


def archive(stations: Stations, ref: Ref) -> dict[str, Any]:
    """Put a version away: it stays on record, may not be deployed, and `collect` may let its model go.

    Raises:
        NotFound: there is no such version.
        Invalid: no version was named.
        Conflict: it answers, one can go back to it, or it has a name.
    """
    version = _named(stations, ref)
    with stations.stores.ledger.write() as db:
        archives.archive(db, version, stations.clock())
    return {"ref": str(version.ref), "archived": True}


def restore(stations: Stations, ref: Ref) -> dict[str, Any]:
    """Bring an archived version back.

    Raises:
        NotFound: there is no such version.
        Invalid: no version was named.
        Conflict: its model was let go.
    """
    version = _named(stations, ref)
    package, artifacts = version.package, stations.stores.artifacts
    with stations.stores.ledger.alone("gc"):  # so that it is not let go in this very moment
        if not all(
            digest in artifacts for digest in (package.native, package.compiled) if digest is not None
        ):
            raise Conflict(
                f"{version.ref} cannot be restored",
                "its model was let go after it was archived",
                f"train it again: modelworks train {version.model} --force",
            )
        with stations.stores.ledger.write() as db:
            archives.restore(db, version)
    return {"ref": str(version.ref), "archived": False}


def _named(stations: Stations, ref: Ref) -> ModelVersion:
    if ref.at is None:
        raise Invalid(f"{ref} names no version", "", f"name one, for instance '{ref}@1'")
    return stations.registry.get(ref)


def _mentions(db: Connection) -> Iterator[str]:
    """Every digest that the ledger mentions, some of them often."""
    for table in metadata.sorted_tables:
        columns = [column for column in table.c if isinstance(column.type, (JSON, String, Text))]
        wide = [
            cast(column, Text)
            for column in columns
            if not isinstance(column.type, String) or (column.type.length or 64) >= 64
        ]
        if not wide or table.name in _SKIPPED:
            continue
        query = select(*wide)
        if table is model_versions:
            # The model of an archived version is mentioned, but not needed. The row may have got a name since.
            away = table.c.archived.is_not(None) & ~or_(archives.NAMED, archives.DEPLOYED)
            needed = [table.c.package[name].as_string() for name in ("reference", "environment", "code")]
            yield from _found(db, select(*needed).where(away))
            query = query.where(~away)
        yield from _found(db, query)


def _found(db: Connection, query: Any) -> Iterator[str]:
    for row in db.execute(query.execution_options(yield_per=_PAGE)):
        for text in row:
            if text is not None and len(text) >= 64:
                yield from _DIGEST.findall(text)


def _sorted(digests: Iterator[str]) -> npt.NDArray[np.uint64]:
    """The first 64 bits of each: 8 bytes a digest. Two that share them are kept both, which does no harm."""
    return np.unique(np.fromiter((int(digest[:16], 16) for digest in digests), dtype=np.uint64))


def _within(mentioned: npt.NDArray[np.uint64], digest: str) -> bool:
    try:
        head = np.uint64(int(digest[:16], 16))
    except ValueError:  # no blob of ours
        return True
    place = int(np.searchsorted(mentioned, head))
    return place < len(mentioned) and bool(mentioned[place] == head)
