"""A part of a batch: what a worker does, in a process of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pyarrow.parquet as pq

from modelworks.core.errors import Invalid
from modelworks.core.plain import to_json
from modelworks.models.packaging import load
from modelworks.serving.batch import Scorer
from modelworks.serving.features import OnlineFeatures
from modelworks.serving.input_guard import guard_of
from modelworks.serving.scoring import Scoring
from modelworks.stores import open_stores

_AT_ONCE = 50_000
"""Rows that are in memory together."""


@dataclass(frozen=True)
class Job:
    """What all parts share.

    Attributes:
        folder: Where the parts go.
        rows: The Parquet file with the rows.
        scoring: What answers, as plain data.
        keep: Columns of the rows that are written beside the answers.
        places: Where the stores are: the arguments of `open_stores`.
    """

    folder: str
    rows: str
    scoring: Mapping[str, Any]
    keep: tuple[str, ...]
    places: tuple[str, ...]

    def keeping(self, keep: tuple[str, ...]) -> Job:
        """The same, with other columns."""
        return replace(self, keep=keep)


@dataclass(frozen=True)
class Part:
    """Some rows, one after the other."""

    start: int
    count: int

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.start:012d}.parquet"


def parts_of(rows: Path, size: int) -> list[Part]:
    """The parts of a Parquet file; one without rows has one."""
    total = pq.read_metadata(rows).num_rows
    return [Part(start, min(size, total - start)) for start in range(0, max(total, 1), size)]


def columns_of(job: Job) -> list[str]:
    """The columns of the rows, after a look that all that are needed are there.

    Raises:
        Invalid: one is not, or the file is no Parquet.
    """
    try:
        there: list[str] = pq.read_schema(job.rows).names
    except (OSError, ValueError) as error:
        raise Invalid(f"{job.rows} cannot be read", str(error)[:300], "mend or convert the file") from error
    desk = _desk(to_json(job.scoring), job.places)
    for name in desk.needed:
        if name not in there:
            raise Invalid(
                f"the rows have no column {name!r}", f"they have {', '.join(there[:50])}",
                "add it, or name the columns as the model does",
            )  # fmt: skip
    return there


def score_part(job: Job, part: Part) -> int:
    """Answer the rows of a part, and write them; returns their number. The file is there whole or not at all."""
    desk = _desk(to_json(job.scoring), job.places)
    wanted = list(dict.fromkeys([*desk.needed, *desk.times(job.rows), *job.keep]))
    frames, start = [], part.start
    for rows in _rows(job.rows, part, wanted):
        answers = desk.answer(rows)
        number = pl.int_range(start, start + len(rows), dtype=pl.Int64, eager=True).alias("row")
        frames.append(pl.concat([number.to_frame(), rows.select(job.keep), answers], how="horizontal"))
        start += len(rows)
    made = Path(job.folder) / part.name
    # A name of its own: the worker of a killed call may still be at the same part.
    fresh = made.with_suffix(f".{os.getpid()}")
    pl.concat(frames).write_parquet(fresh)
    fresh.rename(made)
    return start - part.start


@dataclass(frozen=True)
class _Desk:
    """What answers the parts of one job in this process."""

    scorer: Scorer
    features: OnlineFeatures

    @property
    def needed(self) -> tuple[str, ...]:
        declared = self.scorer.scoring.declared
        own = [name for name in self.scorer.scoring.inputs if name not in declared.features]
        computed = (
            self.features.needed(declared.dataset or "", declared.features) if declared.features else ()
        )
        return tuple(dict.fromkeys([*own, *computed]))

    def times(self, rows: str) -> list[str]:
        """The column of the time, where it is there and somebody looks at it."""
        declared = self.scorer.scoring.declared
        if not declared.features or declared.time is None:
            return []
        return [declared.time] if declared.time in pq.read_schema(rows).names else []

    def answer(self, rows: pl.DataFrame) -> pl.DataFrame:
        declared = self.scorer.scoring.declared
        if declared.features:
            rows = rows.with_columns(self.features.frame(declared.dataset or "", declared.features, rows))
        return self.scorer.answer(rows)


@lru_cache(maxsize=1)
def _desk(scoring: bytes, places: tuple[str, ...]) -> _Desk:
    stores = open_stores(Path(places[0]), *places[1:])
    chosen = Scoring.from_json(orjson.loads(scoring))
    policy = chosen.declared.inputs
    scorer = Scorer(
        chosen,
        lambda package: load(package, stores.artifacts),
        lambda package: guard_of(package, stores.artifacts, policy),
    )
    return _Desk(scorer, OnlineFeatures(stores.ledger, stores.tables))


def _rows(path: str, part: Part, columns: list[str]) -> Iterator[pl.DataFrame]:
    """The rows of a part, some at a time: only the row groups that it touches are read."""
    with pq.ParquetFile(path) as file:
        if not part.count:
            empty: Any = pl.from_arrow(file.schema_arrow.empty_table().select(columns))
            yield empty
            return
        groups: list[int] = []
        first = skip = 0
        for number in range(file.num_row_groups):
            count = file.metadata.row_group(number).num_rows
            if first + count > part.start and first < part.start + part.count:
                skip = skip if groups else part.start - first
                groups.append(number)
            first += count
        left = part.count
        for batch in file.iter_batches(_AT_ONCE, row_groups=groups, columns=columns):
            if skip >= batch.num_rows:
                skip -= batch.num_rows
                continue
            some = batch.slice(skip, min(left, batch.num_rows - skip))
            skip, left = 0, left - some.num_rows
            frame: Any = pl.from_arrow(some)
            yield frame
            if not left:
                return
