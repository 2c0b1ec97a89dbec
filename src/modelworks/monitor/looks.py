"""Which models have to be looked at again: those of which something has come, or that another day has begun for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl
from sqlalchemy import func, select

from modelworks.core.clock import midnight
from modelworks.monitor.watch import Watch
from modelworks.monitor.window import named
from modelworks.stores import Stores
from modelworks.stores.ledger.tables import deployments

_LOOKED_INTO = ("predictions", "outcomes")
_LATE = timedelta(days=7)
"""How old predictions are that are looked for where outcomes do not say of which model they are."""
_MANY = 200_000
"""Such outcomes from which all models are looked at, as after the packing of their files."""


@dataclass(frozen=True)
class _Look:
    """The last look at a model: when, at what, and what it gave."""

    at: datetime
    revision: int
    watches: tuple[Watch, ...]


class Looks:
    """What one process has looked at, so that a turn costs by what has happened, not by how many models there are.

    A model has to be looked at if this process has not done so since

    - a prediction or an outcome of it came into the tables,
    - the moment of an event came that had been answered ahead of time,
    - a champion of it changed,
    - the day (UTC) began: what is judged is judged by days.

    Args:
        stores: The tables, and the ledger's champions.
    """

    def __init__(self, stores: Stores) -> None:
        self.stores = stores
        self._files: dict[str, frozenset[str]] = {}
        self._looks: dict[str, _Look] = {}
        self._ahead: dict[str, datetime] = {}
        self._revisions: dict[str, int] = {}

    def refresh(self, now: datetime) -> None:
        """Find out what has come since the last time."""
        for name in _LOOKED_INTO:
            first = name not in self._files
            if first:
                self._looks.clear()  # nobody knows what has come since
            rows, self._files[name] = self.stores.tables.added(name, self._files.get(name, frozenset()))
            if rows is None:
                continue
            if name == "outcomes":
                if not first:
                    told = rows.select("model", "prediction_id", "key").collect()
                    self._come(told["model"].drop_nulls().unique())
                    self._come(self._meant(told.filter(pl.col("model").is_null()), now))
                continue
            event = pl.col("event_time")
            # What is there at first has not been looked at anyway: only what lies ahead is of interest.
            some = rows.filter(event > now) if first else rows
            latest = some.group_by("model").agg(event.max()).collect()
            self._come(latest["model"])
            for model, moment in latest.iter_rows():
                self._ahead[model] = max(moment, self._ahead.get(model, moment))
        d = deployments.c
        with self.stores.ledger.read() as db:
            found = db.execute(select(d.model, func.max(d.revision)).group_by(d.model))
            self._revisions = {row[0]: row[1] for row in found}

    def _meant(self, outcomes: pl.DataFrame, now: datetime) -> Iterable[str]:
        """The models whose predictions of late these outcomes are of; those of older ones wait for the next day."""
        if not len(outcomes) or not self.stores.tables.exists("predictions"):
            return ()
        if len(outcomes) > _MANY:
            return list(self._looks)
        ids, keys = (outcomes[name].drop_nulls().unique() for name in ("prediction_id", "key"))
        late = self.stores.tables.scan("predictions").filter(pl.col("event_time") >= now - _LATE)
        mine = late.filter(named(ids, keys))
        return mine.select(pl.col("model").unique()).collect()["model"]

    def _come(self, models: Iterable[str]) -> None:
        """Something has come of these models."""
        for model in models:
            self._looks.pop(model, None)

    def known(self, model: str, now: datetime) -> tuple[Watch, ...] | None:
        """What the last look at a model gave; ``None`` where it has to be looked at again."""
        look = self._looks.get(model)
        if look is None or look.revision != self._revisions.get(model, 0):
            return None
        ahead = self._ahead.get(model)
        passed = ahead is not None and look.at <= ahead and now > look.at
        return None if passed or midnight(look.at) != midnight(now) or now < look.at else look.watches

    def looked(self, model: str, now: datetime, watches: tuple[Watch, ...]) -> None:
        """A model was looked at, at what was known at the last `refresh`."""
        self._looks[model] = _Look(now, self._revisions.get(model, 0), watches)
