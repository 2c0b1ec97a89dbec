"""The rows that a segment was asked about lately, beside rows of its version's training, all features together."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

from modelworks.core.batch import Batch
from modelworks.core.errors import NotReady
from modelworks.core.measure import Ints
from modelworks.core.stability import stability
from modelworks.monitor.domain import FOLDS, Joint, matrix, told_apart
from modelworks.monitor.fleet import MIN_ROWS
from modelworks.monitor.logged import batch_of
from modelworks.monitor.window import Key, Known, read_predictions
from modelworks.stores.tables import Tables

MOST = 5_000
"""Rows of either side that are looked at, spread evenly over all."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of one side.

    Attributes:
        batch: Their inputs.
        days: UTC days since 1970 of their event times, shape (rows,).
    """

    batch: Batch
    days: Ints


@dataclass(frozen=True)
class Together:
    """How rows of now differ from those of the training.

    Attributes:
        before: Rows of the training that were looked at.
        now: Rows of now.
        found: What the domain classifier found; its features are `features`.
        features: The inputs that the log holds.
        psi: How far each has shifted by itself.
    """

    before: int
    now: int
    found: Joint
    features: tuple[str, ...]
    psi: tuple[float, ...]


def some(rows: int) -> Ints:
    """Places of at most `MOST` of that many rows, spread evenly."""
    return np.unique(np.linspace(0, rows - 1, min(rows, MOST)).astype(np.int64))


def asked(tables: Tables, model: str, key: Key, known: Known, since: datetime, until: datetime) -> Rows:
    """Rows that a segment was asked about, whichever version answered, in the inputs of `known`."""
    event = pl.col("event_time")
    mine = (event >= since) & (event < until) & (pl.col("segment") == key[0])
    if not tables.exists("predictions"):
        return Rows(batch_of(pl.Series([], dtype=pl.String), known.layout), np.zeros(0, np.int64))
    rows = read_predictions(tables, model, mine).sort("event_time", "id")
    rows = rows[some(len(rows))] if len(rows) else rows
    days = rows["event_time"].dt.epoch("d").to_numpy()
    return Rows(batch_of(rows["inputs"], known.layout, known.unseen), days.astype(np.int64))


def together(before: Rows, now: Rows, known: Known) -> Together:
    """Compare rows of the training with rows of now.

    Raises:
        NotReady: there are too few rows or days of one of them.
    """
    for rows, what, fix in (
        (before, "of its training", ""),
        (now, "that it was asked about", "look at more days"),
    ):
        days = len(np.unique(rows.days))
        if len(rows.batch) < MIN_ROWS or days < FOLDS:
            raise NotReady(
                f"there are {len(rows.batch)} rows of {days} days {what}",
                f"it takes {MIN_ROWS} rows of {FOLDS} days to tell",
                fix,
            )
    seen = [place for place, name in enumerate(known.features) if name not in known.unseen]
    then, lately = (one[:, seen] for one in matrix([before.batch, now.batch]))
    texts = [at for at, place in enumerate(seen) if place >= len(known.signature.numbers)]
    # The same question has the same answer.
    found = told_apart(then, lately, before.days, now.days, texts, np.random.default_rng(0))
    counts = [known.reference.count(one.batch, np.zeros(len(one.batch))).features for one in (before, now)]
    psi = stability(*counts)[seen]
    features = tuple(known.features[place] for place in seen)
    return Together(len(before.batch), len(now.batch), found, features, tuple(psi.tolist()))
