"""Training a definition: one read of the rows, one candidate a segment, each as it is finished."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import polars as pl

from modelworks.core.clock import system_clock
from modelworks.core.errors import NotReady
from modelworks.core.ref import Segment
from modelworks.data.version import VERSION
from modelworks.jobs.executors import EXECUTORS, Done, Executor
from modelworks.jobs.executors.portable import portable
from modelworks.models.definition import Definition
from modelworks.models.package import Package
from modelworks.registry.gates.evidence import Need
from modelworks.stores.artifacts import Artifacts, LocalArtifacts
from modelworks.track.lock import environment
from modelworks.train import columns
from modelworks.train.candidate import Candidate
from modelworks.train.environment import code_digest, code_document
from modelworks.train.plan import Plan, Task, Worked
from modelworks.train.previous import Previous
from modelworks.train.scratch import scratch as scratch_in
from modelworks.train.segments import Slice, chosen, select, slices
from modelworks.train.tuning import Tuned, nearest
from modelworks.train.work import failed, work

_FIXED_COST = 500
"""What a segment costs beyond its rows, in rows: packaging costs as much however few they are."""
_COHORT = 24 * _FIXED_COST
"""Cost up to which segments are worked on side by side."""

_SMALLEST = 3 * _FIXED_COST
"""Cost up to which they are even where little is left: an end that is uneven by so much is cheaper."""

Result = Done[tuple[Task, ...], Worked]

_executors: dict[tuple[str, str], Executor] = {}
"""Kept warm between trainings: their start costs seconds, a retraining of a few segments tenths."""


def train(
    definition: Definition,
    frame: pl.DataFrame,
    *,
    time: str,
    artifacts_root: Path,
    workers: int,
    segments: Collection[Segment] | None = None,
    champions: Mapping[Segment, Package] | None = None,
    needs: Sequence[Need[Any]] = (),
    tuned: Mapping[Segment, Tuned] | None = None,
    previous: Mapping[Segment, Previous] | None = None,
    skip: Collection[Segment] = (),
    as_of: datetime | None = None,
    executor: Executor | None = None,
    scratch: Path | None = None,
    retries: int = 1,
    limit: float | None = None,
    idle: Callable[[], None] | None = None,
    made_with: str | None = None,
    begun: Callable[[Begun], None] | None = None,
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
        workers: Workers that train at a time; 0 for one a core of the executor.
        segments: The only ones to train; ``None`` for every one with ``min_rows`` rows at every level, and
            the global one.
        tuned: Parameters that were found; a segment has its nearest parent's where it has none.
        previous: What segments go on from.
        champions: What candidates are compared with, on the candidate's held-out rows.
        needs: What gates want to be looked at on the held-out rows.
        skip: Segments that are finished already.
        as_of: The training's present: later rows do not exist for it.
        executor: Where to train; by default in processes that stay warm until `close`.
        scratch: Folder for the rows while they are learned from.
        retries: How often a segment is begun again whose worker died, or whose fit failed for a passing reason.
        limit: Seconds that a segment may take before it is ended and given up.
        idle: Called now and then while nothing is finished: see `Executor.run`.
        made_with: Digest of the environment, whose document is stored; what is installed here by default.
        begun: Called before the first fit, with what a training elsewhere would have to know of the rows.

    Raises:
        Invalid: the frame lacks a column, or one cannot be learned from.
    """
    champions = champions or {}
    inputs = {column.name for package in champions.values() for column in package.signature.inputs}
    inputs |= {column for need in needs for column in need.columns}
    extra = [*sorted(inputs), *([VERSION] if definition.learn == "incremental" else [])]
    rows = select(definition, frame, time=time, as_of=as_of, extra=extra)
    parts = slices(rows, definition.min_rows) if segments is None else list(chosen(rows, segments))
    done = set(skip)
    tasks = [
        _task(part, champions, tuned or {}, previous or {}) for part in parts if part.segment not in done
    ]
    if not tasks:
        return
    artifacts, pool = LocalArtifacts(artifacts_root), executor or executor_of("processes")
    workers = workers or pool.cores()
    behind, work_in_all = 0.0, float(sum(map(_weight, tasks)))

    def more(result: Result) -> Iterator[tuple[tuple[Task, ...], float]]:
        return (((task,), _weight(task) if task.tries == 1 else 0.0) for task in _again(result, retries))

    with scratch_in(scratch or Path(gettempdir(), "modelworks-train")) as folder:
        stored = columns.write(rows.frame, folder / "rows.arrow", columns.learned_from(definition.features))
        plan = replace(plan_of(definition, stored, rows.since, artifacts, made_with), needs=tuple(needs))
        if begun is not None:
            begun(Begun(rows.since, columns.kinds(stored)))
        del frame, rows  # the workers have them; kept here they would only take memory
        cohorts = list(_cohorts(tasks, workers))
        results = pool.run(
            work,
            cohorts,
            workers=workers,
            initial=plan,
            weights=[sum(map(_weight, some)) for some in cohorts],
            idle=idle,
            limit=limit,
            retries=0,  # it depends on the segment: see `_again`
            files=[stored.path],
            more=more,
        )
        with closing(results):  # type: ignore[type-var]
            for result in results:
                again = {task.slice.segment for task in _again(result, retries)}
                lengths = {task.slice.segment: _weight(task) for task in result.item}
                for candidate in _candidates(plan, result, artifacts, again):
                    behind += lengths[candidate.segment]
                    yield replace(candidate, total=len(tasks), share=behind / work_in_all)


def _again(result: Result, retries: int) -> list[Task]:
    """What has to be begun once more, each by itself.

    Of a cohort that never came back one killed its worker, or hung: alone, it is known which. A segment comes
    again for itself as often as `retries` says, if it failed for a reason that may have passed.
    """
    if result.value is None:
        if len(result.item) > 1:
            return list(result.item)
        passing = {task.slice.segment for task in result.item if result.fate == "died"}
    else:
        passing = {one.segment for one in result.value.candidates if one.transient}
    left = [] if result.value is None else list(result.value.left)
    return left + [
        replace(task, tries=task.tries + 1)
        for task in result.item
        if task.slice.segment in passing and task.tries <= retries
    ]


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


def executor_of(name: str, address: str = "") -> Executor:
    """The executor of that name; the same one each time, so that its workers stay warm.

    Raises:
        NotFound: there is none of that name.
        NotReady: what it needs is not installed.
    """
    if (name, address) not in _executors:
        try:
            made = EXECUTORS[name]
        except ImportError as error:
            raise NotReady(
                f"the executor {name!r} cannot be used", str(error), f"pip install 'modelworks[{name}]'"
            ) from error
        _executors[name, address] = made(["modelworks.train.preload"], address)
    return _executors[name, address]


def close() -> None:
    """Stop the workers that wait for the next training."""
    for one in _executors.values():
        one.close()


@dataclass(frozen=True)
class Begun:
    """How the rows of a training were laid out.

    Attributes:
        since: Rows before this time (microseconds) were left out by the definition's window.
        kinds: Column to its type in the file of rows: a missing number in one segment changes it for all.
    """

    since: int | None
    kinds: Mapping[str, str]


def plan_of(
    definition: Definition,
    stored: columns.Stored,
    since: int | None,
    artifacts: LocalArtifacts,
    made_with: str | None = None,
) -> Plan:
    """What the workers need to know; what it refers to by digest is stored."""
    made_with = made_with or artifacts.put(environment()[1])
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
        environment=made_with,
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
    plan: Plan, result: Result, artifacts: Artifacts, again: Collection[Segment]
) -> Sequence[Candidate]:
    """What came back and is not begun `again`; a failed one where the worker could not even say what went wrong."""
    if result.value is not None:
        return [one for one in result.value.candidates if one.segment not in again]
    traces = {"traceback": artifacts.put(result.trace.encode())} if result.trace else {}
    found = []
    for task in result.item:
        if task.slice.segment not in again:
            times = f", {task.tries} times at this segment" if task.tries > 1 else ""
            candidate = failed(
                plan.model,
                task.slice.segment,
                result.error + times,
                system_clock(),
                params=plan.params,
                artifacts=traces,
            )
            found.append(replace(candidate, tries=task.tries))
    return found
