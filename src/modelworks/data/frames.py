"""Rows in memory: what was read of a dataset is not read again, and features are computed beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl
from sqlalchemy import select

from modelworks.core.ref import Ref
from modelworks.data import versions
from modelworks.data.features.compute import Past, compute, needs
from modelworks.data.features.definition import Expression, Feature, from_json, source_of
from modelworks.data.features.history import History
from modelworks.data.version import VERSION, DatasetVersion
from modelworks.stores.ledger import Ledger
from modelworks.stores.ledger.tables import datasets
from modelworks.stores.tables import Tables

_HELD_ROWS = 5_000_000
"""Frames up to this size are kept between two readings, so that a loop reads only what is new."""


@dataclass(frozen=True)
class Declared:
    """What the ledger knows of a dataset.

    Attributes:
        name: Its name.
        time: Column of the event time.
        columns: Its own columns.
        features: What is computed from them.
    """

    name: str
    time: str | None
    columns: Mapping[str, Mapping[str, Any]]
    features: Mapping[str, Feature]


_State = tuple[int, int]
"""Version and epoch: as long as both are the same, so are the rows."""


class Frames:
    """Rows of datasets, with their features.

    Args:
        ledger: What is declared, and which versions there are.
        tables: The rows.
    """

    def __init__(self, ledger: Ledger, tables: Tables) -> None:
        self.ledger = ledger
        self.tables = tables
        self._held: dict[str, tuple[_State, pl.DataFrame]] = {}
        self._pasts: dict[tuple[str, tuple[str, ...]], tuple[_State, History]] = {}
        self._declared: dict[str, Declared] | None = None

    def frame(
        self,
        dataset: str,
        columns: Sequence[str],
        where: pl.Expr | None = None,
        at: Mapping[str, int] | None = None,
    ) -> pl.DataFrame:
        """Columns and features of rows of one version, with `VERSION`.

        Args:
            dataset: Its name.
            columns: Which columns and features.
            where: Which rows, by own columns: of a packed table, few are read without a look at the others; by
                default all.
            at: Dataset to version, of this one and of those that features look into; the newest by default.

        Raises:
            NotFound: a version of `at` is not there, or not kept any more.
            NotReady: it, or a dataset that a feature looks into, has no version yet.
        """
        at = at or {}
        declared = self.declared().get(dataset)
        names = [] if declared is None else [name for name in columns if name in declared.features]
        if declared is None or not names:
            return self._rows(dataset, columns, where, at.get(dataset))
        own = [name for name in columns if name not in names]
        time = [declared.time] if declared.time else []
        wanted = [*own, *time, *needs(declared.features, names, declared.columns)]
        rows = self._rows(dataset, wanted, where, at.get(dataset))

        def past(other: str, keys: tuple[str, ...]) -> History:
            return self.past(other, keys, at.get(other))

        return self.add(rows, declared, names, past).select(list(dict.fromkeys([*columns, VERSION])))

    def add(
        self, rows: pl.DataFrame, declared: Declared, names: Sequence[str], past: Past | None = None
    ) -> pl.DataFrame:
        """Rows with some of their features: see `compute`; looking into the newest past by default."""
        return compute(rows, declared.features, list(names), declared.name, declared.time, past or self.past)

    def as_declared(self, dataset: str, features: Mapping[str, Feature], time: str) -> Frames:
        """The same rows, with what a dataset was declared to have at another time."""
        then = Frames(self.ledger, self.tables)
        now = self.declared()
        then._declared = {**now, dataset: replace(now[dataset], features=features, time=time)}
        return then

    def looked_into(self, dataset: str, columns: Sequence[str]) -> list[str]:
        """The other datasets that features among `columns` look into."""
        declared = self.declared().get(dataset)
        features = {} if declared is None else declared.features
        sources = {
            source_of(feature, dataset)
            for name, feature in features.items()
            if name in columns and not isinstance(feature, Expression)
        }
        return sorted(sources - {dataset})

    def held(self) -> list[tuple[str, tuple[str, ...]]]:
        """The pasts that are held: datasets and keys."""
        return list(self._pasts)

    def held_past(self, dataset: str, keys: tuple[str, ...]) -> History:
        """Like `past`, without a look whether there is a newer version."""
        held = self._pasts.get((dataset, keys))
        return self.past(dataset, keys) if held is None else held[1]

    def past(self, dataset: str, keys: tuple[str, ...], at: int | None = None) -> History:
        """The past of a dataset, parted by some of its columns, with every column that a feature looks at.

        It is that of the newest version, which is kept for the next time, or of version `at`.
        """
        newest = versions.find(self.ledger, Ref(dataset))
        if at is not None and at != newest.version:
            return self._past(versions.find(self.ledger, Ref(dataset, at=at)), keys)
        state, past = self._pasts.get((dataset, keys), (None, None))
        if past is None or state != _state(newest):
            past = self._past(newest, keys)
            self._pasts[dataset, keys] = _state(newest), past
        return past

    def _past(self, version: DatasetVersion, keys: tuple[str, ...]) -> History:
        dataset, every = version.dataset, self.declared()
        time = every[dataset].time
        assert time is not None  # a feature that looks into it was refused otherwise
        columns = {
            feature.column
            for declared in every.values()
            for feature in declared.features.values()
            if not isinstance(feature, Expression) and source_of(feature, declared.name) == dataset
        }
        wanted = list(dict.fromkeys([*keys, time, *sorted(one for one in columns if one), VERSION]))
        return History.of(versions.rows(self.tables, version).select(wanted).collect(), keys, time)

    def declared(self) -> Mapping[str, Declared]:
        """What the ledger knows of the datasets; read once, until `declare` says that it changed."""
        if self._declared is None:
            with self.ledger.read() as db:
                rows = db.execute(select(datasets)).all()
            self._declared = {
                row.name: Declared(
                    row.name,
                    row.time,
                    {one["name"]: one for one in row.contract},
                    {name: from_json(one["how"]) for name, one in row.features.items()},
                )
                for row in rows
            }
        return self._declared

    def declare(self) -> None:
        """What was declared has changed."""
        self._declared = None

    def _rows(
        self, dataset: str, columns: Sequence[str], where: pl.Expr | None, at: int | None
    ) -> pl.DataFrame:
        wanted = list(dict.fromkeys([*columns, VERSION]))
        newest = versions.find(self.ledger, Ref(dataset))
        if at is not None and at != newest.version:
            then = versions.rows(self.tables, versions.find(self.ledger, Ref(dataset, at=at)))
            return (then if where is None else then.filter(where)).select(wanted).collect()
        (since, epoch), held = self._held.get(dataset, ((0, 0), None))
        if held is None or epoch != newest.epoch or not set(wanted) <= set(held.columns):
            since, held = 0, None
        if where is not None:
            current = held.lazy() if held is not None and since == newest.version else None
            rows = versions.rows(self.tables, newest) if current is None else current
            return rows.filter(where).select(wanted).collect()
        if held is None or since < newest.version:
            names = wanted if held is None else held.columns
            scan = versions.rows(self.tables, newest).select(names)
            fresh = (scan if held is None else scan.filter(pl.col(VERSION) > since)).collect()
            held = fresh if held is None else pl.concat([held, fresh])
            if len(held) <= _HELD_ROWS:
                self._held[dataset] = _state(newest), held
            else:
                self._held.pop(dataset, None)
        return held.select(wanted)


def _state(version: DatasetVersion) -> _State:
    return version.version, version.epoch
