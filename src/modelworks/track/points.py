"""The courses of metrics, point by point.

A metric's only point is its value, and stands in the ledger. As soon as there are more, they go together, many
of a run in one row, into the ledger's `run_points`; from there `pack` moves them, by the million, into the
Delta table ``run_points``, ordered by run. A reader puts both together.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import numpy as np
import polars as pl
from sqlalchemy import Connection, delete, func, select

from modelworks.stores import Stores
from modelworks.stores.ledger.tables import run_points, run_values

TABLE = "run_points"
WORTH = 200_000
"""Points in the ledger from which moving them is worth a commit."""
_AT_ONCE = 2_000_000
_WRITER = "track.pack"
_SCHEMA = {"run": pl.String, "metric": pl.String, "step": pl.Int64, "time": pl.Int64, "value": pl.Float64}
_INT, _FLOAT = np.dtype("<i8"), np.dtype("<f8")


class Point(NamedTuple):
    """One point.

    Attributes:
        step: Where on the course.
        time: When, microseconds since 1970, UTC.
        value: The value.
    """

    step: int
    time: int
    value: float


@dataclass
class Points:
    """Points of one metric, column by column: there may be hundreds of thousands.

    Attributes:
        steps: Where on the course each is.
        times: When each was said, microseconds since 1970, UTC.
        values: Their values.
    """

    steps: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.steps)

    def add(self, steps: Sequence[int], time: int, values: Sequence[float]) -> None:
        """Add points that were said at once."""
        self.steps += steps
        self.times += [time] * len(steps)
        self.values += values

    def newest(self) -> Point:
        """The last one by step, then time, then value."""
        last = max(self.steps)
        if self.steps.count(last) == 1:
            at = self.steps.index(last)
            return Point(last, self.times[at], self.values[at])
        return max(one for one in map(Point, self.steps, self.times, self.values) if one.step == last)


def encode(courses: Mapping[str, Points]) -> bytes:
    """Points of one run by metric: columns of little-endian numbers, compressed."""
    packed = {
        name: [np.array(column, kind).tobytes() for column, kind in
               ((points.steps, _INT), (points.times, _INT), (points.values, _FLOAT))]
        for name, points in courses.items()
    }  # fmt: skip
    return zlib.compress(msgspec.msgpack.encode(packed), 1)


def decode(run: str, content: bytes) -> list[pl.DataFrame]:
    """The inverse of `encode`, a frame for each metric."""
    return [
        pl.DataFrame(
            {
                "run": pl.repeat(run, len(steps) // 8, eager=True, dtype=pl.String),
                "metric": pl.repeat(name, len(steps) // 8, eager=True, dtype=pl.String),
                "step": np.frombuffer(steps, _INT),
                "time": np.frombuffer(times, _INT),
                "value": np.frombuffer(values, _FLOAT),
            },
            schema=_SCHEMA,
        )
        for name, (steps, times, values) in msgspec.msgpack.decode(zlib.decompress(content)).items()
    ]


def course(stores: Stores, run: str, metric: str | None = None) -> pl.DataFrame:
    """The points of a run, or of one metric of it, ordered by metric, step and time."""
    v = run_values.c
    where = [v.run == run, v.points.is_not(None)]
    if metric is not None:
        where.append(v.field == f"metrics.{metric}")
    with stores.ledger.read() as db:
        # In this order: points that `pack` moves meanwhile are seen twice rather than not at all.
        found = db.execute(select(v.field, v.number, v.text, v.step, v.time, v.points).where(*where)).all()
        fresh = db.scalars(
            select(run_points.c.content).where(run_points.c.run == run).order_by(run_points.c.id)
        )
        frames = [frame for content in fresh for frame in decode(run, content)]
    single = [
        (run, row.field.removeprefix("metrics."), row.step, row.time,
         float(row.text) if row.number is None else row.number)
        for row in found if row.points == 1
    ]  # fmt: skip
    frames.append(pl.DataFrame(single, schema=_SCHEMA, orient="row"))
    known = sum(row.points for row in found)
    if known > sum(map(len, frames)) and stores.tables.exists(TABLE):
        frames.append(stores.tables.scan(TABLE).filter(pl.col("run") == run).select(*_SCHEMA).collect())
    every = pl.concat(frames)
    if metric is not None:
        every = every.filter(pl.col("metric") == metric)
    return every.drop("run").unique(maintain_order=True).sort("metric", "step", "time", maintain_order=True)


def waiting(db: Connection) -> int:
    """The number of points in the ledger that have not been moved."""
    return int(db.scalar(select(func.sum(run_points.c.points))) or 0)


def pack(stores: Stores, worth: int = WORTH) -> int:
    """Move points into the table if there are at least `worth`; returns their number.

    They leave the ledger only after they are in the table, under the number of the last row: a process that
    dies in between has moved them, and who comes next only takes them out of the ledger.
    """
    moved = 0
    with stores.ledger.alone("track.pack"):
        while True:
            with stores.ledger.read() as db:
                if waiting(db) < max(worth, 1):
                    return moved
                taken = _taken(db)
            last = taken[-1].id
            done = stores.tables.transactions(TABLE, [_WRITER]) if stores.tables.exists(TABLE) else {}
            rows = [row for row in taken if row.id > done.get(_WRITER, 0)]
            if rows:
                frames = [frame for row in rows for frame in decode(row.run, row.content)]
                stores.tables.append(TABLE, pl.concat(frames).sort("run", "metric", "step"), (_WRITER, last))
            with stores.ledger.write() as db:
                db.execute(delete(run_points).where(run_points.c.id <= last))
            moved += sum(row.points for row in taken)


def _taken(db: Connection) -> list[Any]:
    """The oldest rows, up to so many points as fit into memory."""
    taken, points = [], 0
    for row in db.execute(select(run_points).order_by(run_points.c.id)):
        taken.append(row)
        points += row.points
        if points >= _AT_ONCE:
            break
    return taken
