"""Training a definition: one read of the rows, one candidate a segment, each as it is finished."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from modelworks.core.clock import system_clock
from modelworks.core.ref import Segment
from modelworks.data.version import VERSION
from modelworks.jobs.executors import Done, Executor
from modelworks.jobs.executors.portable import portable
from modelworks.jobs.executors.processes import Processes
from modelworks.models.definition import Definition
from modelworks.models.package import Package
from modelworks.stores.artifacts import Artifacts, LocalArtifacts
from modelworks.track.environment import environment
from modelworks.train import columns
from modelworks.train.candidate import Candidate
from modelworks.train.environment import code_digest, code_document
from modelworks.train.previous import Previous
from modelworks.train.segments import Slice, chosen, select, slices
from modelworks.train.tuning import Tuned, nearest
from modelworks.train.work import Plan, Task, Worked, failed, work

_FIXED_COST = 500
"""What a segment costs beyond its rows, in rows: packaging costs as much however few they are."""
_COHORT = 24 * _FIXED_COST
"""Cost up to which segments are worked on side by side."""

_SMALLEST = 3 * _FIXED_COST
"""Cost up to which they are even where little is left: an end that is uneven by so much is cheaper."""

pool = Processes(preload=["modelworks.train.preload"])
"""Kept warm between trainings: its start costs seconds, a retraining of a few segments tenths."""


def train(
    definition: Definition,
    frame: pl.DataFrame,
    *,
    time: str,
    artifacts_root: Path,
    workers: int,
    segments: Collection[Segment] | None = None,
    champions: Mapping[Segment, Package] | None = None,
    tuned: Mapping[Segment, Tuned] | None = None,
    previous: Mapping[Segment, Previous] | None = None,
    skip: Collection[Segment] = (),
    as_of: datetime | None = None,
    executor: Executor | None = None,
    idle: Callable[[], None] | None = None,
) -> Iterator[Candidate]:
    """Train segments, and yield each candidate as it is finished.

    A segment that cannot be trained is a candidate of status ``"failed"`` with the reason; it stops nothing.
    Closing the iterator kills what still runs; what was yielded is complete, so a training that was killed is
    resumed by giving what it had yielded as `skip`.

    Args:
        definition: What to fit.
        frame: Rows of the dataset in any order, with target, features, ``per`` columns and `time`.
        time: Column of the event time.
        artifacts_root: Folder of the artifact store, into which the workers write.
        workers: Processes that train at a time.
        segments: The only ones to train; ``None`` for every one with ``min_rows`` rows at every level, and
            the global one.
        tuned: Parameters that were found; a segment has its nearest parent's where it has none.
        previous: What segments go on from.
        champions: What candidates are compared with, on the candidate's held-out rows.
        skip: Segments that are finished already.
        as_of: The training's present: later rows do not exist for it.
        executor: Where to train; by default in processes that stay warm until `close`.
        idle: Called now and then while nothing is finished: see `Executor.run`.

    Raises:
        Invalid: the frame lacks a column, or one cannot be learned from.
    """
    champions = champions or {}
    inputs = {column.name for package in champions.values() for column in package.signature.inputs}
    extra = [*sorted(inputs), *([VERSION] if definition.learn == "incremental" else [])]
    rows = select(definition, frame, time=time, as_of=as_of, extra=extra)
    parts = slices(rows, definition.min_rows) if segments is None else list(chosen(rows, segments))
    done = set(skip)
    tasks = [
        _task(part, champions, tuned or {}, previous or {}) for part in parts if part.segment not in done
    ]
    if not tasks:
        return
    artifacts = LocalArtifacts(artifacts_root)
    with TemporaryDirectory(prefix="modelworks-train-") as folder:
        plan = plan_of(
            definition, columns.write(rows.frame, Path(folder, "rows.arrow")), rows.since, artifacts
        )
        workers = max(workers, 1)
        waiting = list(_cohorts(tasks, workers))
        while waiting:
            alone: list[Task] = []
            results = (executor or pool).run(
                work,
                waiting,
                workers=workers,
                initial=plan,
                weights=[sum(map(_weight, some)) for some in waiting],
                idle=idle,
            )
            for result in results:
                if result.value is None and len(result.item) > 1:
                    alone += result.item  # one of them kills its worker; alone, it is known which
                    continue
                for candidate in _candidates(plan, result, artifacts):
                    yield replace(candidate, total=len(tasks))
                alone += result.value.left if result.value else ()
            waiting = [(task,) for task in alone]


def _task(
    part: Slice,
    champions: Mapping[Segment, Package],
    tuned: Mapping[Segment, Tuned],
    previous: Mapping[Segment, Previous],
) -> Task:
    found = nearest(tuned, part.segment)
    return Task(
        part,
        champions.get(part.segment),
        found.params if found else {},
        found.run if found else "",
        previous.get(part.segment),
    )


def warm(workers: int) -> None:
    """Start the workers now, so that the first training need not wait for them."""
    pool.warm(workers)


def close() -> None:
    """Stop the workers that wait for the next training."""
    pool.close()


def plan_of(
    definition: Definition, stored: columns.Stored, since: int | None, artifacts: LocalArtifacts
) -> Plan:
    """What the workers need to know; what it refers to by digest is stored."""
    digest, content = environment()
    artifacts.put(content)
    if definition.code in ("", code_digest(definition)):
        artifacts.put(code_document(definition))
    return Plan(
        model=definition.name,
        fit=portable(definition.fit),
        features=definition.features,
        per=definition.per,
        holdout=definition.holdout,
        metrics=definition.metrics,
        params=definition.params,
        min_rows=definition.min_rows,
        since=since,
        stored=stored,
        artifacts=artifacts.root,
        code=definition.code or code_digest(definition),
        environment=digest,
        learn=definition.learn,
    )


def _weight(task: Task) -> int:
    return _FIXED_COST + task.slice.length


def _cohorts(tasks: Sequence[Task], workers: int) -> Iterator[tuple[Task, ...]]:
    """Tasks to be worked on side by side, the dearest first; fewer and fewer, so that workers end together.

    Source of the sizes: Polychronopoulos and Kuck, "Guided Self-Scheduling" (1987).
    """
    waiting = deque(sorted(tasks, key=_weight, reverse=True))
    left = sum(map(_weight, tasks))
    while waiting:
        share = min(max(left / (4 * workers), _SMALLEST), _COHORT)
        some = [waiting.popleft()]
        weight = _weight(some[0])
        while waiting and weight + _weight(waiting[0]) <= share:
            some.append(waiting.popleft())
            weight += _weight(some[-1])
        left -= weight
        yield tuple(some)


def _candidates(
    plan: Plan, result: Done[tuple[Task, ...], Worked], artifacts: Artifacts
) -> Sequence[Candidate]:
    """What came back; a failed candidate where the worker could not even say what went wrong."""
    if result.value is not None:
        return result.value.candidates
    traces = {"traceback": artifacts.put(result.trace.encode())} if result.trace else {}
    (task,) = result.item
    return [
        failed(
            plan.model, task.slice.segment, result.error, system_clock(), params=plan.params, artifacts=traces
        )
    ]
