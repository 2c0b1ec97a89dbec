"""What follows from a bad version of data, or of a model: who learned from it, who is live, who was answered.

Predictions are counted from what monitoring knows of each version and day, never by a look at the log itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import polars as pl
from sqlalchemy import Connection, select

from modelworks.core.errors import NotFound
from modelworks.core.ref import Ref, Segment, parse_segment, segment_text
from modelworks.data.version import VERSION
from modelworks.pipelines.context import Stations
from modelworks.pipelines.nodes import Key, answered
from modelworks.stores.ledger.portable import chunks
from modelworks.stores.ledger.tables import deployments, model_versions, models

_MOST = 200_000
"""Model versions that are looked at; the newest."""


@dataclass(frozen=True)
class Touched:
    """A model version that something had a part in.

    Attributes:
        ref: Which.
        direct: Whether it was trained on that very dataset version, not on a later one that has its rows too.
        champion: Whether it answers now.
        predictions: How many it answered; 0 also where nothing is known.
        first: The first day on which it answered.
        last: The last day.
    """

    ref: str
    direct: bool
    champion: bool
    predictions: int = 0
    first: datetime | None = None
    last: datetime | None = None


@dataclass(frozen=True)
class Impact:
    """What follows from something.

    Attributes:
        of: From what.
        rows: Rows that came with that dataset version.
        versions: Model versions that it had a part in.
        direct: Of these, those that were trained on that very dataset version.
        champions: Of these, those that answer now.
        predictions: How many predictions they answered, all together.
        first: The first day of these.
        last: The last day.
        counted_until: Model to the moment up to which its predictions are counted; ``None`` if never.
        models: Model to the number of versions.
        worst: The versions with the most predictions, champions first.
        more: Whether there are so many versions that only the newest were looked at.
        notes: What a person should know.
    """

    of: str
    rows: int = 0
    versions: int = 0
    direct: int = 0
    champions: int = 0
    predictions: int = 0
    first: datetime | None = None
    last: datetime | None = None
    counted_until: Mapping[str, datetime | None] = field(default_factory=dict)
    models: Mapping[str, int] = field(default_factory=dict)
    worst: Sequence[Touched] = ()
    more: bool = False
    notes: Sequence[str] = ()


def impact(stations: Stations, ref: Ref, limit: int = 20) -> Impact:
    """What follows, if a dataset version or a model version turns out to be bad.

    A model version is touched by a dataset version if it was trained on it, or on a later one, and its rows were
    among those of its segment and its time.

    Args:
        stations: The belt.
        ref: A version of a dataset, or of a model.
        limit: Versions that are named; all are counted.

    Raises:
        NotFound: there is no such version.
    """
    if stations.data.latest_or_none(ref.name) is None:
        version = stations.registry.get(ref)
        found = {(version.model, segment_text(version.segment), version.version): True}
        return _told(stations, str(version.ref), 0, found, limit, more=False, notes=[])
    version_of = stations.data.version_of(ref)
    of, notes = Ref(ref.name, at=version_of.version), []
    with stations.stores.ledger.read() as db:
        per = {name: tuple(columns) for name, columns in db.execute(select(models.c.name, models.c.per))}
        m = model_versions.c
        query = select(m.model, m.segment, m.version, m.dataset_version, m.rows_filter).where(
            m.dataset == ref.name, m.dataset_version >= version_of.version
        )
        lines = db.execute(query.order_by(m.created.desc()).limit(_MOST + 1)).all()
    rows: pl.DataFrame | None = None
    try:
        if not stations.data.legible(version_of):
            raise NotFound("their files are not what was written")
        rows = _came_with(stations, of, sorted({name for line in lines for name in per.get(line.model, ())}))
    except NotFound as error:
        notes = [f"which rows it brought is not known, so each later version counts: {error.what}"]
    spans = _Spans(rows)
    found = {
        (line.model, line.segment, line.version): line.dataset_version == version_of.version
        for line in lines[:_MOST]
        if spans.touch(line, per.get(line.model, ()))
    }
    return _told(stations, str(of), version_of.added, found, limit, more=len(lines) > _MOST, notes=notes)


def _came_with(stations: Stations, of: Ref, per: Sequence[str]) -> pl.DataFrame:
    """Of the rows that came with a version: each combination of the columns, with the first and last time."""
    declared = stations.data.frames.declared()[of.name]
    columns = [name for name in per if name in declared.columns]
    rows = stations.data.read(str(of)).filter(pl.col(VERSION) == of.at)
    time = pl.col(declared.time) if declared.time else pl.lit(None, pl.Datetime("us", "UTC"))
    keys = [pl.col(name).cast(pl.String).fill_null("") for name in columns]
    return (
        rows.select(*keys, time.alias("::time"))
        .group_by(columns or [pl.lit(0)])
        .agg(pl.col("::time").min().alias("::first"), pl.col("::time").max().alias("::last"))
        .collect()
    )


class _Spans:
    """When the rows of each segment are; of every level of parents once it is asked for."""

    def __init__(self, rows: pl.DataFrame | None) -> None:
        self._rows = rows
        self._levels: dict[tuple[str, ...], dict[Segment, tuple[datetime | None, datetime | None]]] = {}

    def touch(self, line: Any, per: Sequence[str]) -> bool:
        """Whether rows of the version are among those that a model version saw."""
        if self._rows is None:
            return True
        segment = parse_segment(line.segment)
        columns = tuple(per[: len(segment)])
        if not set(columns) <= set(self._rows.columns):
            return True  # the model is not split by these any more: not known
        if columns not in self._levels:
            self._levels[columns] = self._level(columns)
        span = self._levels[columns].get(segment)
        since = line.rows_filter.get("time >=")
        if span is None or span[1] is None or since is None:
            return span is not None
        return bool(span[1] >= datetime.fromisoformat(since))

    def _level(self, columns: tuple[str, ...]) -> dict[Segment, tuple[datetime | None, datetime | None]]:
        assert self._rows is not None
        spans = pl.col("::first").min(), pl.col("::last").max()
        if not columns:
            return {(): self._rows.select(spans).row(0)} if len(self._rows) else {}
        return {
            row[: len(columns)]: row[len(columns) :]
            for row in self._rows.group_by(columns).agg(spans).iter_rows()
        }


def _told(
    stations: Stations,
    of: str,
    rows: int,
    found: Mapping[Key, bool],
    limit: int,
    *,
    more: bool,
    notes: Sequence[str],
) -> Impact:
    with stations.stores.ledger.read() as db:
        live = _champions(db, found)
        counts = answered(db, found.keys())
    touched = [
        Touched(str(Ref(key[0], parse_segment(key[1]), key[2])), direct, key in live, *counts.get(key, (0,)))
        for key, direct in found.items()
    ]
    touched.sort(key=lambda one: (not one.champion, -one.predictions, one.ref))
    names = Counter(key[0] for key in found)
    return Impact(
        of=of,
        rows=rows,
        versions=len(touched),
        direct=sum(one.direct for one in touched),
        champions=len(live),
        predictions=sum(one.predictions for one in touched),
        first=min((one.first for one in touched if one.first), default=None),
        last=max((one.last for one in touched if one.last), default=None),
        counted_until={name: stations.monitor.seen_until(name) for name in names},
        models=dict(names),
        worst=touched[:limit],
        more=more,
        notes=notes,
    )


def _champions(db: Connection, found: Mapping[Key, bool]) -> set[Key]:
    d = deployments.c
    names = {key[0] for key in found}
    live: set[Key] = set()
    for some in chunks(sorted(names)):
        for row in db.execute(select(d.model, d.segment, d.champion).where(d.model.in_(some))):
            live.add((row.model, row.segment, row.champion))
    return live & found.keys()
