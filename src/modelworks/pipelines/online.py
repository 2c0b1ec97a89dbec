"""Models that learn from outcomes: what has come since the last checkpoint, learned in the order of its coming.

The rows stand in the prediction log, their truths in the table of outcomes; a checkpoint is a version, and the
ledger says with it, in one transaction, how far it has come. So a kill at any moment leaves either nothing of a
checkpoint, and the same outcomes are learned again by the version before it, or all of it.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import msgspec
import orjson
import polars as pl
from sqlalchemy import func, insert, select

from modelworks.core.duration import duration
from modelworks.core.ref import Ref, Segment, parse_segment, segment_text
from modelworks.models.package import Package
from modelworks.models.signature import Label, Signature
from modelworks.monitor.logged import batch_of
from modelworks.monitor.window import joined, named, read_outcomes, read_predictions
from modelworks.pipelines import release
from modelworks.pipelines.basis import made_with
from modelworks.pipelines.context import Stations
from modelworks.pipelines.project import Model
from modelworks.registry.gates import needed
from modelworks.registry.model_version import ModelVersion
from modelworks.serving.columns import as_text
from modelworks.stores.ledger.lease import Lease
from modelworks.stores.ledger.tables import checkpoints
from modelworks.train.online import LEARNED, Course, Lesson, learn, losses

LATE = timedelta(days=1)
"""How much later than its neighbours an outcome may reach the tables and still be learned; and for how long a truth
that is told again is known to be learned already."""
_FEW = 30
"""Outcomes without which time alone makes no checkpoint: a loss on fewer says nothing."""
_MOST = 50_000
"""Outcomes that one checkpoint learns from at most; the rest is for the next turn."""

_log = logging.getLogger("modelworks.pipelines")


@dataclass(frozen=True)
class OnlineReport:
    """What a turn learned.

    Attributes:
        model: Name of the model.
        rows: Outcomes learned from.
        versions: What came of it: references.
        promoted: Those that became champion or began a rollout.
        refused: Those that a gate turned down; what comes next goes on from them all the same.
        failures: Segments that could not learn, with the reason; their outcomes wait.
    """

    model: str
    rows: int = 0
    versions: Sequence[str] = ()
    promoted: int = 0
    refused: int = 0
    failures: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Stand:
    """How far a segment has come.

    Attributes:
        head: The version that goes on.
        champion: What its checkpoints have to beat.
        begun: No outcome that came before is learned.
        received: The newest that was learned.
        known: Names of rows that are learned and might be met again.
    """

    head: ModelVersion
    champion: ModelVersion
    begun: datetime
    received: datetime
    known: frozenset[str] = frozenset()

    @property
    def since(self) -> datetime:
        """From when on outcomes are looked at."""
        return max(self.begun, self.received - LATE)


def turn(stations: Stations, model: Model, lease: Lease) -> OnlineReport:
    """Let a model's segments learn what has come, where that is enough for a checkpoint.

    Args:
        stations: The belt.
        model: Which.
        lease: That nobody else is at it; without it no checkpoint is written.

    Raises:
        Conflict: somebody else has taken it over.
    """
    stands = _stands(stations, model)
    waiting = _waiting(stations, model, stands) if stands else {}
    lessons = {}
    for segment, rows in waiting.items():
        lesson = _lesson(model, stands[segment], rows, stations.clock())
        if lesson is not None:
            lessons[segment] = lesson
    return _taught(stations, model, stands, lessons, lease)


def history(
    stations: Stations, model: str, segment: str | None = None, limit: int = 200
) -> list[dict[str, Any]]:
    """The newest checkpoints, the newest first: the loss before learning over time."""
    c = checkpoints.c
    query = select(
        c.segment, c.version, c.continues, c.rows, c.received, c.loss, c.champion_loss
    ).where(c.model == model)  # fmt: skip
    if segment is not None:
        query = query.where(c.segment == segment)
    with stations.stores.ledger.read() as db:
        rows = db.execute(query.order_by(c.received.desc(), c.version.desc()).limit(limit)).mappings()
        return [dict(row) for row in rows]


def learned_from(stations: Stations, models: Sequence[str], names: Collection[str]) -> list[str]:
    """The versions that learned one of these rows from its outcome.

    Args:
        stations: The belt.
        models: Of which models.
        names: What the rows go by: key, or id of the prediction.
    """
    c = checkpoints.c
    query = select(c.model, c.segment, c.version, c.learned).where(c.model.in_(models))
    with stations.stores.ledger.read() as db:
        rows = db.execute(query.order_by(c.model, c.segment, c.version)).all()
    return [
        str(Ref(row.model, parse_segment(row.segment), row.version))
        for row in rows
        if not set(names).isdisjoint(_learned(stations, row.learned))
    ]


def _stands(stations: Stations, model: Model) -> dict[Segment, _Stand]:
    """Where segments go on: from the last checkpoint, or from a champion that was trained after it.

    A champion of another definition waits for its first training.
    """
    c = checkpoints.c
    reached = (
        select(c.segment, func.max(c.received).label("received"))
        .where(c.model == model.name)
        .group_by(c.segment)
    )
    with stations.stores.ledger.read() as db:
        newest: dict[str, datetime] = {row.segment: row.received for row in db.execute(reached)}
        recent = defaultdict[str, list[Any]](list)
        if newest:
            near = select(c.segment, c.version, c.begun, c.received, c.learned).order_by(c.version)
            least = min(newest.values()) - 2 * LATE
            for row in db.execute(near.where(c.model == model.name, c.received > least)):
                if row.received > newest[row.segment] - 2 * LATE:
                    recent[row.segment].append(row)
    found = {}
    for segment, champion in stations.registry.champions(model.name).items():
        rows = recent[segment_text(segment)]
        head = champion
        if rows and rows[-1].version > champion.version:
            head = stations.registry.get(Ref(model.name, segment, rows[-1].version))
        if head.package.code != model.definition.code or head.package.kept:
            continue
        known = frozenset(name for row in rows for name in _learned(stations, row.learned))
        begun, received = (
            (rows[-1].begun, rows[-1].received) if rows else (champion.created, champion.created)
        )
        found[segment] = _Stand(head, champion, begun, received, known)
    return found


def _learned(stations: Stations, digest: str) -> list[str]:
    names: list[str] = msgspec.msgpack.decode(stations.stores.artifacts.get(digest), type=list[str])
    return names


def _waiting(
    stations: Stations, model: Model, stands: Mapping[Segment, _Stand]
) -> dict[Segment, pl.DataFrame]:
    """Rows with their truths that a segment has not learned, in the order in which the truths came."""
    tables = stations.stores.tables
    if not tables.exists("predictions"):
        return {}
    since = min(stand.since for stand in stands.values())
    told = read_outcomes(tables, model.name, pl.col("received") > since)
    if told.is_empty():
        return {}
    mine = named(told["prediction_id"].drop_nulls(), told["key"].drop_nulls())
    rows = joined(read_predictions(tables, model.name, mine), told)
    # A key names one row, however often it was asked about: it is learned once, as it was asked last.
    rows = (
        rows.filter(pl.col("received").is_not_null(), pl.col("inputs").is_not_null())
        .with_columns(name=pl.coalesce("key", "id"))
        .sort("time", "id")
        .unique("name", keep="last", maintain_order=True)
        .sort("received", "name")
    )
    parts: defaultdict[Segment, list[int]] = defaultdict(list)
    names, came = rows["name"].to_list(), rows["received"].to_list()
    for place, segment in enumerate(_segments(rows, model.definition.per)):
        for level in range(len(segment) + 1):
            stand = stands.get(segment[:level])
            if stand is not None and came[place] > stand.since and names[place] not in stand.known:
                parts[segment[:level]].append(place)
    return {segment: rows[places] for segment, places in parts.items()}


def _segments(rows: pl.DataFrame, per: Sequence[str]) -> Iterator[Segment]:
    if not per:
        yield from [()] * len(rows)
        return
    for text in rows["inputs"]:
        row = orjson.loads(text)
        yield tuple(as_text(row.get(name)) for name in per)


def _lesson(model: Model, stand: _Stand, rows: pl.DataFrame, now: datetime) -> Lesson | None:
    """What a segment is to learn now; ``None`` while it is too little for a checkpoint."""
    takes = stand.head.package.signature
    truth = [_truth(takes, value, label) for value, label in rows.select("value", "label").iter_rows()]
    fits = [place for place, one in enumerate(truth) if one is not None][:_MOST]
    asked = model.definition.checkpoint
    enough = asked if isinstance(asked, int) else _FEW
    if len(fits) < enough:
        return None
    rows = rows[fits]
    first, received = rows["received"][0], rows["received"].max()
    assert isinstance(received, datetime)
    if isinstance(asked, str) and now - first < duration(asked):
        return None
    return Lesson(
        stand.head.segment,
        str(stand.head.ref),
        stand.head.package,
        batch_of(rows["inputs"], _layout(stand.head.package)),
        tuple(truth[place] for place in fits),
        tuple(rows["name"]),
        received,
        stand.champion.package,
        batch_of(rows["inputs"], _layout(stand.champion.package)),
        {**stand.head.rows_filter, "outcomes received <=": received.isoformat()},
    )


def _layout(package: Package) -> Any:
    signature = package.signature
    return signature.numbers, signature.texts, signature.task


def _truth(takes: Signature, value: float | None, label: str | None) -> Label | float | None:
    """A truth as the fit's targets were; ``None`` where it is none of the classes that the model knows."""
    if not takes.classes:
        return value
    for one in takes.classes:
        if (label == one) if isinstance(one, str) else (value is not None and value == float(one)):
            return one
    return None


def _taught(
    stations: Stations,
    model: Model,
    stands: Mapping[Segment, _Stand],
    lessons: Mapping[Segment, Lesson],
    lease: Lease,
) -> OnlineReport:
    if not lessons:
        return OnlineReport(model.name)
    course = Course(
        model.definition.metrics,
        stations.train.artifacts_root,
        made_with(stations),
        tuple(needed(model.gates)),
    )
    pool = stations.train.pool()
    workers = stations.train.workers or pool.cores()
    rows, versions, failures = 0, list[str](), dict[str, str]()
    promoted = refused = 0
    for done in pool.run(learn, list(lessons.values()), workers=workers, initial=course):
        segment = done.item.segment
        if done.value is None:
            failures[segment_text(segment)] = done.error
            _log.warning("%s could not learn from outcomes: %s", done.item.ref, done.error)
            continue
        candidate, stand = done.value, stands[segment]
        loss, champion_loss = losses(candidate)
        with stations.stores.ledger.write() as db:
            lease.confirm(db)
            (result,) = release.record(
                db, stations, model, None, stand.head.dataset_version or 0, [candidate], None, "online"
            )
            values = {
                "model": model.name,
                "segment": segment_text(segment),
                "version": result.version,
                "continues": stand.head.version,
                "rows": candidate.rows_trained,
                "begun": stand.begun,
                "received": max(stand.received, done.item.received),
                "learned": candidate.artifacts[LEARNED],
                "loss": loss,
                "champion_loss": champion_loss,
            }
            db.execute(insert(checkpoints).values(values))
        rows += candidate.rows_trained
        versions.append(str(Ref(model.name, parse_segment(result.segment), result.version)))
        promoted += result.action in ("promote", "begin")
        refused += result.action == "refuse"
    return OnlineReport(model.name, rows, versions, promoted, refused, failures)
