"""What a worker does for a segment: rows, fit, judge, compile, prove, store; and for several side by side.

The model that is evaluated is the one that is packaged; it is not fitted again on all rows. So the numbers
that the gates see are those of the very model that will answer, the compiled model is proven on rows that it
has never seen, and a segment costs one fit. The price is that a model has not learned from the newest
`holdout` share of its rows.
"""

from __future__ import annotations

import gc
import traceback
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from modelworks.core.batch import Batch
from modelworks.core.clock import from_microseconds, system_clock
from modelworks.core.errors import ModelworksError, NotReady, Unavailable
from modelworks.core.main_effects import main_effects
from modelworks.core.measure import Reference
from modelworks.core.ref import Segment, segment_text
from modelworks.core.seen import Seen
from modelworks.models import packaging
from modelworks.models.compile.session import CompiledPredictor
from modelworks.models.layout import to_batch
from modelworks.models.package import Package
from modelworks.models.signature import Signature
from modelworks.models.signature_of import signature
from modelworks.registry.gates.evidence import Need
from modelworks.stores.artifacts import Artifacts, LocalArtifacts
from modelworks.train import evaluate
from modelworks.train.asked_once import asked_once
from modelworks.train.candidate import Candidate
from modelworks.train.columns import Columns, digest, opened, to_frame
from modelworks.train.evidence import HeldOut, gather
from modelworks.train.plan import Plan, Task, Worked, fitted, line, ordered
from modelworks.train.previous import original, unseen
from modelworks.train.segments import TARGET, Slice, split

if TYPE_CHECKING:
    pass

_WARNINGS = 5
_SLOW = 0.1
"""Seconds from which a segment goes alone."""
_PASSING = (ConnectionError, TimeoutError, MemoryError, Unavailable)
"""Errors that may be gone when one tries again."""
_PAUSE, _LONGEST = 0.5, 30.0
"""Seconds before a segment is tried again; twice as long each time, up to the longest."""
_REFERENCE_ROWS = 5_000
"""Rows, the newest, of which a reference is made at most: more would not make it sharper."""
_ASKED_ROWS = 1_000
"""Rows, the newest, by which it is told what each feature does to the output."""


def work(plan: Plan, tasks: Sequence[Task]) -> Worked:
    """Train segments; whatever goes wrong in one becomes a failed candidate.

    They go side by side, stage by stage: the caches of the processor then hold the code of a stage when it
    comes to the next segment, and everything but the fit costs a third less than one segment after the other.
    Where a fit takes long that gains nothing and makes results late: then the others are left for later.
    """
    again = max(task.tries for task in tasks) - 1
    if again:  # what did not answer gets time to come back
        sleep(min(_PAUSE * 2 ** (again - 1), _LONGEST))
    with asked_once(), _fewer_collections():
        return _work(plan, tasks)


def _work(plan: Plan, tasks: Sequence[Task]) -> Worked:
    making = [_Making(plan, task) for task in tasks]
    left: list[_Making] = []
    going = making
    while going:
        following = []
        for place, one in enumerate(going):
            if one.step():
                following.append(one)
            if one.stage in ("fit", "failed") and one.seconds[one.stage] > _SLOW:
                left = going[place + 1 :]
                break
        going = following
    done = tuple(one.candidate() for one in making if one not in left)
    return Worked(done, tuple(one.task for one in left))


@contextmanager
def _fewer_collections() -> Iterator[None]:
    """Look for cycles a hundredth as often: models side by side are many objects, and hardly any of them is garbage."""
    usual = gc.get_threshold()
    gc.set_threshold(100 * usual[0], *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)


class _Making:
    """A segment on its way to a candidate."""

    def __init__(self, plan: Plan, task: Task) -> None:
        self.plan = plan
        self.task = task
        self.artifacts = LocalArtifacts(plan.artifacts)
        self.started = system_clock()
        self.seconds: dict[str, float] = {}
        self.rows_trained = 0
        self.rows_held_out = 0
        self.rows_filter: dict[str, Any] = {}
        self.params = {**plan.params, **task.params}
        self.tags: dict[str, str] = {}
        self.stage = ""
        self._said: dict[str, None] = {}
        self._steps = self._make()
        self._done: Candidate | None = None

    def step(self) -> bool:
        """Go through the next stage; whether there is another one after it."""
        begun = perf_counter()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                self.stage = next(self._steps)
            except StopIteration as end:
                self.stage, self._done = "champion", end.value
            except Exception as error:
                self.stage, self._done = "failed", self._failed(error)
        self._said |= dict.fromkeys(f"{item.category.__name__}: {item.message}" for item in caught)
        self.seconds[self.stage] = perf_counter() - begun
        return self._done is None

    def candidate(self) -> Candidate:
        """What came of it, with what is known of a segment whether it failed or not."""
        assert self._done is not None
        return replace(
            self._done,
            started=self.started,
            ended=system_clock(),
            rows_trained=self.rows_trained,
            rows_held_out=self.rows_held_out,
            rows_filter=self.rows_filter,
            origins=self.task.origins,
            tags=self.tags,
            seconds=self.seconds,
            tries=self.task.tries,
            warnings=tuple(self._said)[:_WARNINGS],
        )

    def _failed(self, error: Exception) -> Candidate:
        known = isinstance(error, NotReady)
        return failed(
            self.plan.model,
            self.task.slice.segment,
            str(error) if isinstance(error, ModelworksError) else line(error),
            self.started,
            params=self.params,
            artifacts={} if known else {"traceback": self.artifacts.put(traceback.format_exc().encode())},
            transient=_transient(error),
        )

    def _make(self) -> Generator[str, None, Candidate]:
        """The stages; yields the name of each when it is over. What comes after the last is "champion"."""
        plan, task, artifacts = self.plan, self.task, self.artifacts
        columns = opened(plan.stored)
        rows, time = ordered(columns, task.slice, parent=len(task.slice.segment) < len(plan.per))
        cut = split(time, plan.holdout)
        y = columns.values(TARGET, rows)
        _check(plan, task.slice, y[:cut])
        x = {name: columns.values(name, rows) for name in plan.features}
        learned: Any = slice(0, cut)
        if task.previous is not None:
            self.tags = {"continues": task.previous.ref}
            if plan.learn == "incremental":
                learned = unseen(columns, rows[:cut], time[:cut], task.previous)
        frame = to_frame({name: column[learned] for name, column in x.items()})
        held_out = len(time) - cut
        self.rows_trained, self.rows_held_out = len(frame), held_out
        self.rows_filter = {
            **dict(zip(plan.per, task.slice.segment, strict=False)),
            "time >=": from_microseconds(time[0] if plan.since is None else plan.since).isoformat(),
            "time <": from_microseconds(time[cut]).isoformat(),
        }
        if task.previous is not None and plan.learn == "incremental":
            self.rows_filter["time >="] = min(self.rows_filter["time >="], task.previous.since)
        previous = None if task.previous is None else original(task.previous, artifacts)
        rows_digest = digest(columns, rows)
        yield "rows"

        model = fitted(plan, frame, y[learned], self.params, previous)
        yield "fit"

        takes = signature({name: column[:cut] for name, column in x.items()}, y[:cut], plan.features, model)
        newest = max(held_out, _REFERENCE_ROWS)
        batch = to_batch({name: column[-newest:] for name, column in x.items()}, takes)
        yield "signature"

        asked = packaging.answered(model, takes, batch.take(slice(len(batch) - held_out, None)))
        yield "predict"

        truth = y[cut:]
        metrics = evaluate.metrics(plan.metrics, takes, truth, asked.scores)
        yield "evaluate"

        graph, proof = packaging.proven(model, takes, asked)
        yield "compile and prove"

        reference = _reference(
            batch, takes, asked.scores, truth, Seen.of(x, takes.numbers, takes.texts), graph
        )
        yield "reference"

        package = packaging.stored(
            model,
            takes,
            graph,
            proof,
            artifacts,
            code=plan.code,
            environment=plan.environment,
            reference=reference,
            rows=rows_digest,
        )
        yield "store"

        champion_metrics, paired, theirs = None, None, None
        if task.champion is not None:
            theirs = _champion_scores(task.champion, columns, rows[cut:], artifacts)
            if theirs is not None:
                champion = task.champion.signature
                champion_metrics = evaluate.metrics(plan.metrics, champion, truth, theirs)
                paired = evaluate.paired(truth, (takes, asked.scores), (champion, theirs))
        evidence: Mapping[Need[Any], Any] = {}
        if plan.needs:
            seen = HeldOut(
                takes,
                truth,
                asked.scores,
                batch.take(slice(len(batch) - held_out, None)),
                lambda name: columns.values(name, rows[cut:]),
                package,
                artifacts,
                from_microseconds(time[-1]),
                None if task.champion is None or theirs is None else (task.champion.signature, theirs),
                None if task.champion is None else task.champion.signature,
                "" if task.champion is None else task.champion.code,
            )
            evidence = gather(plan.needs, seen)
        return Candidate(
            task.slice.segment,
            "done",
            self.started,
            self.started,
            params=self.params,
            metrics=metrics,
            champion_metrics=champion_metrics,
            paired=paired,
            package=package,
            evidence=evidence,
        )


def failed(
    model: str,
    segment: Segment,
    reason: str,
    started: datetime,
    *,
    params: Mapping[str, Any] | None = None,
    artifacts: Mapping[str, str] | None = None,
    transient: bool = False,
) -> Candidate:
    """The candidate of a segment that got no model."""
    name = f"{model}[{segment_text(segment)}]" if segment else model
    return Candidate(
        segment,
        "failed",
        started,
        started,
        error=f"{name}: {reason}",
        params=params or {},
        artifacts=artifacts or {},
        transient=transient,
    )


def _check(plan: Plan, part: Slice, y: npt.NDArray[Any]) -> None:
    """Refuse what no model can be learned from.

    Raises:
        NotReady: too few rows, or a target that never changes.
    """
    if part.segment and part.length < plan.min_rows:
        raise NotReady(f"it has {part.length} rows with a target, a model of its own needs {plan.min_rows}")
    if not len(y):
        raise NotReady(
            f"none of its {part.length} rows with a target can be learned from: "
            "they share one time, or are too few to hold some out"
        )
    if y.dtype.kind != "f" and (y == y[0]).all():
        raise NotReady(f"the target is {y[0]!s} in all of the {len(y)} rows to learn from")


def _champion_scores(
    champion: Package, columns: Columns, rows: npt.NDArray[np.int64], artifacts: Artifacts
) -> npt.NDArray[np.float32] | None:
    """What the champion answers on the held-out rows; ``None`` where its inputs are no longer there."""
    names = [column.name for column in champion.signature.inputs]
    if not all(name in columns for name in names):
        return None
    batch = to_batch({name: columns.values(name, rows) for name in names}, champion.signature)
    scores: npt.NDArray[np.float32] = packaging.load(champion, artifacts).predict(batch)
    return scores


def _reference(
    batch: Batch,
    takes: Signature,
    scores: npt.NDArray[np.float32],
    truth: npt.NDArray[Any],
    seen: Seen,
    graph: bytes | None,
) -> bytes:
    """The sketch that monitoring compares later rows with, and servers hold requests against.

    Features are those of the newest rows, learned from and held out: the tests of a shift need as many as there
    are. Outputs are those of the held-out rows, which are not flattered by having been learned from. What features do
    to the outputs does not depend on that: a compiled model, which costs little to ask, is asked about more rows.
    """
    newest = batch.take(slice(-_REFERENCE_ROWS, None))
    outputs = evaluate.main(takes, scores)
    finite = np.isfinite(outputs)
    known = evaluate.truth(truth[finite], scores[finite], takes)
    built = Reference.build(newest, outputs[finite], probabilities=bool(takes.classes), truth=known)
    if graph is not None and len(scores) < _ASKED_ROWS:
        batch = batch.take(slice(-_ASKED_ROWS, None))
        outputs = evaluate.main(takes, CompiledPredictor(graph).predict(batch))
    outputs = outputs[-_ASKED_ROWS:]
    asked = batch.take(np.flatnonzero(np.isfinite(outputs)) + len(batch) - len(outputs))
    effects = main_effects(built.bins(asked), outputs[np.isfinite(outputs)])
    return replace(built, seen=seen, main_effects=effects).to_bytes()


def _transient(error: BaseException | None) -> bool:
    """Whether what was behind an error may have passed: somebody did not answer, or memory was short."""
    while error is not None:
        if isinstance(error, _PASSING):
            return True
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return False
