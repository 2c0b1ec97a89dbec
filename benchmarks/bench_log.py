"""What it costs to find something in a large prediction log: by id, the newest of a model, a model in some time.

Run it with ``make bench-log``. The table is written as the worker writes it: batches are appended, and packed as
they become many; `--rows` says how many rows. Half of the traffic goes to one of a thousand models, the rest is
spread over the others, and one has answered only once, at the very beginning. Each question is asked through the
station, as the API does, of several ids or models in turn; medians and the slowest.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from modelworks.serving import prediction_log
from modelworks.serving.spool import PREDICTIONS
from modelworks.serving.station import ServeStation
from modelworks.stores import Stores, open_stores

BATCH = 250_000
MODELS = 1_000
DAYS = 30
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def batch(start: int, count: int, rows: int, rng: np.random.Generator) -> pl.DataFrame:
    """Rows as a drain makes them, spread over `DAYS`."""
    at = (np.arange(start, start + count) * (DAYS * 86_400_000 // rows)).astype(np.int64)
    at += int(BEGIN.timestamp() * 1000)
    tails = rng.integers(0, 1 << 40, count)
    ids = [f"{stamp:012x}0000{tail:010x}-0" for stamp, tail in zip(at.tolist(), tails.tolist(), strict=True)]
    which = np.where(rng.random(count) < 0.5, 0, rng.integers(1, MODELS, count))
    values = rng.normal(size=(count, 4)).round(3)
    inputs = [f'{{"a":{a},"b":{b},"c":{c},"d":{d}}}' for a, b, c, d in values.tolist()]
    scores = rng.random(count)
    models = [f"model-{number}" for number in which.tolist()]
    if not start:
        models[0] = "once"
    columns: dict[str, Any] = dict.fromkeys(prediction_log.SCHEMA)
    frame = pl.DataFrame(
        {
            "id": ids,
            "time": at * 1000,
            "model": models,
            "inputs": inputs,
            "output": scores,
            "outputs": [f"{score:.9g}" for score in scores.tolist()],
        }
    )
    fixed = {
        "event_time": pl.col("time"),
        "segment": pl.lit(""),
        "version": pl.lit(1),
        "arm": pl.lit("champion"),
    }
    filled = frame.with_columns(**fixed)
    return filled.select(
        (pl.col(name) if name in filled.columns else pl.lit(None))
        .cast(prediction_log.SCHEMA[name])
        .alias(name)
        for name in columns
    )


def fill(stores: Stores, rows: int) -> None:
    """Write the table."""
    rng = np.random.default_rng(0)
    for start in range(0, rows, BATCH):
        stores.tables.append(PREDICTIONS, batch(start, min(BATCH, rows - start), rows, rng))
        if (start // BATCH) % 8 == 7:
            prediction_log.compact(stores, PREDICTIONS)
    stores.tables.vacuum(PREDICTIONS, [], 0)


def asked(question: Callable[[int], Any], times: int) -> tuple[float, float]:
    """Median and slowest, milliseconds; the first is not counted."""
    question(0)
    took = []
    for number in range(times):
        begun = time.perf_counter()
        question(number)
        took.append((time.perf_counter() - begun) * 1000)
    return statistics.median(took), max(took)


def main() -> None:
    """Fill, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        stores = open_stores(Path(folder))
        begun = time.perf_counter()
        fill(stores, chosen.rows)
        filled = time.perf_counter() - begun
        station = ServeStation(stores)
        ids = (
            stores.tables.scan(PREDICTIONS)
            .select("id")
            .collect()["id"]
            .gather_every(max(chosen.rows // chosen.times, 1))
        )
        middle = BEGIN + timedelta(days=DAYS / 2)
        hour, day = timedelta(hours=1), timedelta(days=1)

        def told(rows: list[dict[str, Any]], least: int) -> None:
            assert len(rows) >= least, len(rows)

        questions: dict[str, Callable[[int], Any]] = {
            "by id": lambda n: station.find(ids[n % len(ids)]),
            "by an id that is not there": lambda n: station.find(ids[n % len(ids)][:-12] + "f" * 10 + "-0"),
            "the newest 50": lambda _n: told(station.recent(), 50),
            "the newest 50 of a model of 1,000": lambda n: told(station.recent(f"model-{n + 1}"), 50),
            "of the one model that answered once": lambda _n: told(station.recent("once"), 1),
            "50 of a model within an hour": lambda n: told(
                station.recent("model-0", since=middle + n * day / 4, until=middle + n * day / 4 + hour), 50
            ),
            "50 of a model of 1,000 within a day": lambda n: told(
                station.recent(f"model-{n + 1}", since=middle, until=middle + day), 1
            ),
        }
        figures = {name: asked(question, chosen.times) for name, question in questions.items()}
        size = sum(path.stat().st_size for path in Path(folder, "tables").rglob("*.parquet"))
    if chosen.json:
        print(json.dumps(figures))
        return
    print(f"{chosen.rows:,} rows, {size / 1e9:.2f} GB, written in {filled:.0f} s")
    for name, (middle_of, slowest) in figures.items():
        print(f"{name:40} median {middle_of:8.1f} ms   slowest {slowest:8.1f} ms")


if __name__ == "__main__":
    main()
