"""What comes in with an ingest, summed up while it passes, for the rules over all of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import polars as pl

from modelworks.data import profile, versions
from modelworks.data.checks.port import BatchRule, Came, Counts
from modelworks.data.dataset import Dataset
from modelworks.data.undo import Stores


class Arrivals:
    """Rows that come in.

    Args:
        dataset: Where to.
        stores: Where the versions are that the rows are compared with.
        now: The moment.
    """

    def __init__(self, dataset: Dataset, stores: Stores, now: datetime) -> None:
        self._time = dataset.time
        self._rules = dataset.batch_rules
        self._now = now
        self._rows = 0
        self.newest: datetime | None = None
        wanted = [rule.watches(dataset.contract, dataset.key, dataset.time) for rule in self._rules]
        columns = list(dict.fromkeys(name for names in wanted for name in names))
        self._before, self._bins, self._reference = _reference(dataset.name, columns, stores)
        self._counts: dict[str, Counts] = {}

    def add(self, rows: pl.DataFrame) -> None:
        """Some good rows have come."""
        self._rows += len(rows)
        if self._time is not None:
            # A time in the future says nothing about how fresh the rows are.
            newest = rows[self._time].filter(rows[self._time] <= self._now).max()
            if isinstance(newest, datetime) and (self.newest is None or newest > self.newest):
                self.newest = newest
        for name, bins in self._bins.items():
            found = profile.counts(rows[name], bins)
            self._counts[name] = self._counts[name] + found if name in self._counts else found

    def breaches(self) -> list[tuple[BatchRule, str]]:
        """The rules that all of it together breaks, with what they say."""
        came = Came(self._rows, self.newest, self._now, self._before, self._reference, self._counts)
        return [(rule, said) for rule in self._rules if (said := rule.judge(came)) is not None]


def _reference(
    dataset: str, columns: Sequence[str], stores: Stores
) -> tuple[str, Mapping[str, Mapping[str, Any]], Mapping[str, Counts]]:
    """The version that new rows are compared with, as text; the bins of its columns; its rows in them."""
    if not columns or versions.latest(stores.ledger, dataset) is None:
        return "", {}, {}
    version, told = profile.recent(stores.ledger, stores.tables, dataset)
    bins = {name: told[name] for name in columns if name in told}
    counts = {name: profile.kept_counts(one, version.rows) for name, one in bins.items()}
    return f"{version.dataset}@{version.version}", bins, counts
