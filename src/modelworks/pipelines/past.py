"""The past of a model: what it could have learned from at what time, and what it was asked."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from sqlalchemy import select

from modelworks.core.batch import Batch
from modelworks.core.clock import microseconds
from modelworks.core.duration import duration
from modelworks.core.errors import Invalid, NotReady
from modelworks.core.ref import Segment
from modelworks.core.schema import Kind
from modelworks.data.version import VERSION
from modelworks.models.definition import Definition
from modelworks.models.layout import to_batch
from modelworks.models.signature import Signature
from modelworks.monitor.truths import EDGES, LOOK_BACK, lag
from modelworks.monitor.window import joined, read_outcomes, read_predictions
from modelworks.pipelines.context import Stations
from modelworks.pipelines.train import frame, time_of
from modelworks.stores.ledger.tables import dataset_versions

Ints = npt.NDArray[np.int64]
DAY = 86_400_000_000
"""Microseconds."""
_MICROSECOND = timedelta(microseconds=1)
_KEPT = 1_024
"""Moments of which is kept what was counted."""
_NEVER = np.iinfo(np.int64).max
_ARRIVED = "::arrived"
_EVENT = "::event"
_TRUTH = "::truth"
SENT = "::sent"
"""Column of `Past.asked`: the inputs of each row as the log holds them, JSON; of a past of which they are wanted."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows in the order of their event time.

    Attributes:
        frame: Their columns.
        events: Event times in microseconds, shape (rows,), sorted.
        known: When the truth of each was known; microseconds, shape (rows,); the largest number for never.
        truth: The targets, shape (rows,); NaN where they never were.
        at: For every level the number of each row's segment, shape (rows,) each.
        values: Columns as arrays, as they are needed.
    """

    frame: pl.DataFrame
    events: Ints
    known: Ints
    truth: npt.NDArray[Any]
    at: tuple[Ints, ...]
    values: dict[str, npt.NDArray[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.events)

    def batch(self, places: Ints, signature: Signature) -> Batch:
        """Some rows as a version takes them."""
        names = [one.name for one in signature.inputs]
        if not names:
            return Batch(np.empty((len(places), 0), np.float32), np.empty((len(places), 0), object))
        for name in names:
            if name not in self.values:
                self.values[name] = _column(self.frame[name])
        return to_batch({name: self.values[name][places] for name in names}, signature)


@dataclass(frozen=True, eq=False)
class Past:
    """The past of one model.

    Attributes:
        time: Column of the event time in its dataset.
        segments: Every segment of every level; `Rows.at` counts along it.
        learned: Rows with a target, that it could have learned from since they were known.
        asked: What it was asked: by the log, else the rows of the dataset.
        window: How far back trainings look, microseconds; ``None`` for everything.
    """

    time: str
    segments: tuple[Segment, ...]
    learned: Rows
    asked: Rows
    window: int | None

    def known(self, now: int, segments: Collection[Segment] | None = None) -> pl.DataFrame:
        """What there was to learn from by then, of some segments or of all."""
        rows = self.learned
        known = rows.known <= now
        if segments is not None and () not in segments:
            wanted = np.array([one in segments for one in self.segments])
            known &= np.any([wanted[level] for level in rows.at], axis=0)
        return rows.frame[np.flatnonzero(known)]

    def counts(self, now: int, tried: Mapping[Segment, int]) -> dict[Segment, tuple[int, int]]:
        """Rows of every segment that a training could use, and those that came since its last one.

        Args:
            now: The moment.
            tried: When each segment was last trained.
        """
        before = np.array([tried.get(segment, -1) for segment in self.segments])
        if self.window is None:
            everything = fresh = self._came(now)
            for moment in set(tried.values()):
                fresh = np.where(before == moment, everything - self._came(moment), fresh)
        else:
            everything, fresh = self._in_window(now, before)
        told = zip(self.segments, everything.tolist(), fresh.tolist(), strict=True)
        return {segment: (total, new) for segment, total, new in told if total}

    def version(self, now: int) -> int:
        """What stands for the version of the data at a moment: how many rows were known."""
        return int(np.searchsorted(self._known, now, side="right"))

    @cached_property
    def _known(self) -> Ints:
        """When each row was known, in order."""
        return np.sort(self.learned.known)

    def lag(self, now: int) -> float:
        """How many days ago the days ended whose truth is all there; see `monitor.truths.lag`."""
        return self._lags(now)

    @cached_property
    def _came(self) -> Callable[[int], Ints]:
        """Rows of every segment that were known at a moment, kept for all policies that ask."""
        rows = self.learned

        def came(now: int) -> Ints:
            known = rows.known <= now
            return sum(
                (np.bincount(level[known], minlength=len(self.segments)) for level in rows.at),
                np.zeros(len(self.segments), np.int64),
            )

        return lru_cache(maxsize=_KEPT)(came)

    def _in_window(self, now: int, before: Ints) -> tuple[Ints, Ints]:
        rows = self.learned
        usable = rows.known <= now
        if usable.any():
            usable &= rows.events >= rows.events[usable].max() - (self.window or 0)
        everything, fresh = np.zeros((2, len(self.segments)), np.int64)
        came = rows.known[usable]
        for level in rows.at:
            here = level[usable]
            everything += np.bincount(here, minlength=len(self.segments))
            fresh += np.bincount(here[came > before[here]], minlength=len(self.segments))
        return everything, fresh

    @cached_property
    def _lags(self) -> Callable[[int], float]:
        rows = self.asked

        def late(now: int) -> float:
            low, high = map(int, np.searchsorted(rows.events, [now - LOOK_BACK * DAY, now]))
            if low == high:
                return float("inf")
            events, known = rows.events[low:high], rows.known[low:high]
            days, place, counts = np.unique(events // DAY, return_inverse=True, return_counts=True)
            came = np.flatnonzero((known <= now) & ~np.isnan(rows.truth[low:high]))
            delays = np.searchsorted(EDGES, np.maximum(known[came] - events[came], 0) / DAY)
            bins = len(EDGES) + 1
            table = np.bincount(place[came] * bins + delays, minlength=len(days) * bins).reshape(-1, bins)
            return lag((now / DAY - days - 1).astype(np.float64), counts, table)

        return lru_cache(maxsize=_KEPT)(late)


def past_of(
    stations: Stations,
    definition: Definition,
    delay: str | None,
    columns: Sequence[str] = (),
    sent: Sequence[str] = (),
) -> Past:
    """The past of a model.

    Args:
        stations: The belt.
        definition: Of the model.
        delay: How long after its event the truth of a row was known; ``None`` for when it was taken in.
        columns: Further ones of the dataset to be kept.
        sent: Those that stand for what was sent, if that is wanted; where it was logged it is what the log holds.

    Raises:
        NotReady: there are no rows.
        Invalid: they were all taken in at once, so that nothing is known of when they would have come.
    """
    time = time_of(stations, definition)
    learned = frame(stations, definition, more=[*columns, *sent]).filter(
        pl.col(definition.target).is_not_null(), pl.col(time).is_not_null()
    )
    if learned.is_empty():
        raise NotReady(
            f"dataset {definition.dataset!r} has no rows with a {definition.target!r}", "", "ingest some"
        )
    if learned.schema[definition.target] == pl.String:
        raise Invalid(
            f"{definition.name} cannot be simulated",
            f"its target {definition.target!r} is text",
            "use numbers",
        )
    learned = learned.with_columns(
        pl.col(time).dt.epoch("us").alias(_EVENT), pl.col(definition.target).cast(pl.Float64).alias(_TRUTH)
    )
    late = None if delay is None else round(duration(delay) / _MICROSECOND)
    if late is None:
        learned = learned.with_columns(_taken_in(stations, definition.dataset, learned).alias(_ARRIVED))
    else:
        learned = learned.with_columns((pl.col(_EVENT) + late).alias(_ARRIVED))
    asked = _logged(stations, definition, late, bool(sent))
    if asked is None and sent:
        learned = learned.with_columns(pl.struct(sent).struct.json_encode().alias(SENT))
    segments: dict[Segment, int] = {(): 0}
    lessons = _rows(learned, definition.per, segments)
    questions = lessons if asked is None else _rows(asked, definition.per, segments)
    window = None if definition.window is None else round(duration(definition.window) / _MICROSECOND)
    return Past(time, tuple(segments), lessons, questions, window)


def _rows(frame: pl.DataFrame, per: Sequence[str], segments: dict[Segment, int]) -> Rows:
    """Rows sorted, their segments numbered; those that are not known yet get the next numbers."""
    frame = frame.sort(_EVENT, maintain_order=True)
    keys = frame.select(pl.col(name).cast(pl.String).fill_null("") for name in per)
    at = [np.zeros(len(frame), np.int64)]
    for level in range(1, len(per) + 1):
        on = list(per[:level])
        distinct = keys.select(on).unique(maintain_order=True)
        numbers = [segments.setdefault(segment, len(segments)) for segment in distinct.rows()]
        numbered = distinct.with_columns(place=pl.Series(numbers, dtype=pl.Int64))
        at.append(keys.join(numbered, on=on, how="left", maintain_order="left")["place"].to_numpy())
    truth = frame[_TRUTH].to_numpy()
    known = frame[_ARRIVED].fill_null(_NEVER).to_numpy()
    return Rows(frame, frame[_EVENT].to_numpy(), known, truth, tuple(at))


def _taken_in(stations: Stations, dataset: str, rows: pl.DataFrame) -> pl.Series:
    """When the versions were made that brought the rows."""
    query = select(dataset_versions.c.version, dataset_versions.c.created)
    with stations.stores.ledger.read() as db:
        made = {
            version: microseconds(created)
            for version, created in db.execute(query.where(dataset_versions.c.dataset == dataset))
        }
    arrived = rows[VERSION].replace_strict(made, return_dtype=pl.Int64)
    if arrived.n_unique() < 2 or (arrived > rows[_EVENT].max()).all():
        raise Invalid(
            f"it is not known when the rows of {dataset!r} would have come",
            "they were taken in at once, or after the last of them had happened",
            "say how long after its event the truth of a row is known, for instance --delay 1d",
        )
    return arrived


def _logged(stations: Stations, definition: Definition, late: int | None, sent: bool) -> pl.DataFrame | None:
    """What the model was asked, by its log, with the truth as it was told; ``None`` where nothing is logged."""
    tables = stations.stores.tables
    if not tables.exists("predictions"):
        return None
    rows = read_predictions(tables, definition.name, pl.lit(value=True)).drop_nulls(["inputs", "event_time"])
    if rows.is_empty():
        return None
    contract = stations.project.dataset(definition.dataset).contract
    names = dict.fromkeys([*definition.features, *definition.per])
    texts = {name for name in names if name in contract and contract[name].kind is Kind.TEXT}
    schema = pl.Struct({name: pl.String if name in texts else pl.Float64 for name in names})
    rows = joined(rows, read_outcomes(tables, definition.name, pl.lit(value=True)))
    told = pl.col("event_time" if late is not None or _afterwards(rows) else "received")
    return rows.select(
        pl.col("event_time").dt.epoch("us").alias(_EVENT),
        pl.col("value").fill_null(float("nan")).alias(_TRUTH),
        pl.when(pl.col("value").is_not_null()).then(told.dt.epoch("us") + (late or 0)).alias(_ARRIVED),
        *([pl.col("inputs").alias(SENT)] if sent else []),
        pl.col("inputs").str.json_decode(schema),
    ).unnest("inputs")


def _afterwards(rows: pl.DataFrame) -> bool:
    """Whether most of the truth was told when all had happened: then it is not known when it would have been."""
    return bool(rows.select((pl.col("received") > pl.col("event_time").max()).mean() > 0.5).item())


def _column(series: pl.Series) -> npt.NDArray[Any]:
    if series.dtype == pl.Boolean or series.dtype.is_numeric():
        return series.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    return series.to_numpy()
