"""How far the monitoring of a model has come, and what has changed since: the days to look at again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import polars as pl
from sqlalchemy import Connection, select

from modelworks.core.clock import midnight
from modelworks.monitor.truths import with_history
from modelworks.monitor.window import DAY, joined, named, read_outcomes, read_predictions, told_since
from modelworks.stores.ledger.portable import upsert
from modelworks.stores.ledger.tables import watermarks
from modelworks.stores.tables import Tables

_OVERLAP = timedelta(minutes=1)
"""How much later than its neighbours a row may reach the tables without being missed, were its day closed: the logs of
servers are moved one after the other."""
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_PART = 1_000_000
"""Predictions that are read at once, unless a day has more."""
_EVENT = pl.col("event_time")


@dataclass(frozen=True)
class Progress:
    """How far the monitoring of one model has come.

    Attributes:
        observed: The moment that it was brought up to; ``None`` before the first time.
        predicted: When the newest prediction seen was answered.
        received: When the newest outcome seen was received.
    """

    observed: datetime | None = None
    predicted: datetime = _BEGINNING
    received: datetime = _BEGINNING

    @classmethod
    def of(cls, db: Connection, model: str) -> Progress:
        """As it stands in the ledger."""
        names = {_name(model, part): part for part in ("observed", "predicted", "received")}
        query = select(watermarks.c.name, watermarks.c.moment).where(watermarks.c.name.in_(names))
        return cls(**{names[name]: moment for name, moment in db.execute(query)})

    def write(self, db: Connection, model: str) -> None:
        """Into the ledger."""
        moments = {"observed": self.observed, "predicted": self.predicted, "received": self.received}
        upsert(
            db, watermarks, [{"name": _name(model, part), "moment": at} for part, at in moments.items() if at]
        )


class Changed:
    """Reads what has to be sketched anew, in parts, and then says how far that brings monitoring.

    Args:
        tables: With ``predictions`` and ``outcomes``.
        model: Name of the model.
        progress: How far it had come.
        now: No event after it is looked at.
        horizon: How long before `now`, and before the last time, every day is looked at again in any case.
    """

    def __init__(
        self, tables: Tables, model: str, progress: Progress, now: datetime, horizon: timedelta
    ) -> None:
        self.tables = tables
        self.model = model
        self.now = now
        self.before = progress
        self.progress = Progress(now, progress.predicted, progress.received)
        self._open = midnight(min(now, progress.observed or now) - horizon)

    def parts(self) -> Iterator[pl.DataFrame]:
        """Predictions of whole days with their truth, as `monitor.truths.with_history` gives them."""
        if not self.tables.exists("predictions"):
            return
        days = None
        if self.before.observed is not None:
            predictions = read_predictions(
                self.tables,
                self.model,
                (self.now > _EVENT)
                & ((self._open <= _EVENT) | (pl.col("time") > self.before.predicted - _OVERLAP)),
            )
            outcomes = read_outcomes(
                self.tables,
                self.model,
                told_since(self._open, predictions.filter(self._open <= _EVENT))
                | (pl.col("received") > self.before.received - _OVERLAP),
            )
            self._seen(predictions, outcomes)
            days = self._late_days(predictions, outcomes)
            yield _told(predictions.filter(self._open <= _EVENT), outcomes)
        for some in self._together(days):
            # Files say which times they hold, not which days: the range saves opening the others.
            near = (some[0] <= _EVENT) & (some[-1] + DAY > _EVENT)
            predictions = read_predictions(
                self.tables, self.model, near & _EVENT.dt.truncate("1d").is_in(some)
            )
            outcomes = read_outcomes(self.tables, self.model, told_since(some[0], predictions))
            self._seen(predictions, outcomes)
            yield _told(predictions.filter(self.now > _EVENT), outcomes)

    def _together(self, days: set[datetime] | None) -> Iterator[list[datetime]]:
        """Days, all that there are by default, in order: as many at once as have about `_PART` predictions."""
        if days is not None and not days:
            return
        mine = self.tables.scan("predictions").filter(pl.col("model") == self.model, self.now > _EVENT)
        day = _EVENT.dt.truncate("1d").alias("day")
        if days is not None:
            mine = mine.filter(min(days) <= _EVENT, max(days) + DAY > _EVENT, day.is_in(days))
        some: list[datetime] = []
        rows = 0
        for one, count in mine.group_by(day).agg(pl.len()).sort("day").collect().iter_rows():
            if some and rows + count > _PART:
                yield some
                some, rows = [], 0
            some.append(one)
            rows += count
        if some:
            yield some

    def _late_days(self, predictions: pl.DataFrame, outcomes: pl.DataFrame) -> set[datetime]:
        """Days that were closed already, and for which a prediction or an outcome has come since."""
        days = set(predictions.filter(self._open > _EVENT).select(_EVENT.dt.truncate("1d"))["event_time"])
        fresh = outcomes.filter(pl.col("received") > self.before.received - _OVERLAP)
        # Those of open days are taken care of; what is left is rare, or of another model's predictions.
        ids = fresh["prediction_id"].drop_nulls()
        ids = ids.filter(~ids.is_in(predictions["id"].implode()))
        keys = fresh["key"].drop_nulls()
        keys = keys.filter(~keys.is_in(predictions["key"].drop_nulls().implode()))
        if len(ids) or len(keys):
            late = read_predictions(
                self.tables,
                self.model,
                (self._open > _EVENT) & named(ids, keys),
            )
            days |= set(late.select(_EVENT.dt.truncate("1d"))["event_time"])
        return days

    def _seen(self, predictions: pl.DataFrame, outcomes: pl.DataFrame) -> None:
        predicted, received = predictions["time"].max(), outcomes["received"].max()
        self.progress = Progress(
            self.now,
            max(self.progress.predicted, predicted)
            if isinstance(predicted, datetime)
            else self.progress.predicted,
            max(self.progress.received, received)
            if isinstance(received, datetime)
            else self.progress.received,
        )


def _told(predictions: pl.DataFrame, outcomes: pl.DataFrame) -> pl.DataFrame:
    return with_history(joined(predictions, outcomes), outcomes)


def _name(model: str, part: str) -> str:
    return f"monitor:{model}:{part}"
