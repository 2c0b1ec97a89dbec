"""What a worker does for one segment: rows, fit, package, judge.

The model that is evaluated is the one that is packaged; it is not fitted again on all rows. So the numbers
that the gates see are those of the very model that will answer, the compiled model is proven on rows that it
has never seen, and a segment costs one fit. The price is that a model has not learned from the newest
`holdout` share of its rows.
"""

from __future__ import annotations

import pickle
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from modelworks.core.clock import system_clock
from modelworks.core.errors import Invalid, ModelworksError, NotReady
from modelworks.core.measure import Reference
from modelworks.core.ref import Segment, segment_text
from modelworks.models import packaging
from modelworks.models.definition import Fit
from modelworks.models.layout import to_batch
from modelworks.models.package import Package
from modelworks.models.signature_of import signature
from modelworks.stores.artifacts import Artifacts, LocalArtifacts
from modelworks.train import evaluate
from modelworks.train.candidate import Candidate
from modelworks.train.columns import Columns, Stored, opened
from modelworks.train.segments import TARGET, TIME, Slice, split

if TYPE_CHECKING:
    import pandas as pd

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WARNINGS = 5
_REFERENCE_ROWS = 5_000
"""Rows, the newest, of which a reference is made at most: more would not make it sharper."""


@dataclass(frozen=True)
class Plan:
    """What all segments of one training share.

    Attributes:
        model: Name of the model.
        fit: The fit function, pickled by value.
        features: Columns that the fit sees.
        per: Columns of the segment.
        holdout: Share of the rows, the newest, kept from the fit.
        metrics: Names of the metrics.
        params: Passed to the fit.
        min_rows: Rows a segment needs.
        since: Where the window begins, microseconds since 1970; ``None`` without a window.
        stored: The rows.
        artifacts: Folder of the artifact store.
        code: Digest of the code.
        environment: Digest of the environment.
    """

    model: str
    fit: bytes
    features: tuple[str, ...]
    per: tuple[str, ...]
    holdout: float
    metrics: tuple[str, ...]
    params: Mapping[str, Any]
    min_rows: int
    since: int | None
    stored: Stored
    artifacts: Path
    code: str
    environment: str


@dataclass(frozen=True)
class Task:
    """One segment, and the champion that its candidate is compared with."""

    slice: Slice
    champion: Package | None = None


@dataclass
class _Progress:
    """What is known so far of a segment that may still fail."""

    seconds: dict[str, float] = field(default_factory=dict)
    rows_trained: int = 0
    rows_held_out: int = 0
    rows_filter: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        begun = perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + perf_counter() - begun


def work(plan: Plan, task: Task) -> Candidate:
    """Train one segment; whatever goes wrong in it becomes a failed candidate."""
    started = system_clock()
    progress = _Progress()
    artifacts = LocalArtifacts(plan.artifacts)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            candidate = _train(plan, task, artifacts, progress, started)
        except Exception as error:
            candidate = failed(
                plan.model,
                task.slice.segment,
                str(error) if isinstance(error, ModelworksError) else _line(error),
                started,
                params=plan.params,
                artifacts={}
                if isinstance(error, NotReady)
                else {"traceback": artifacts.put(traceback.format_exc().encode())},
            )
    said = tuple(dict.fromkeys(f"{item.category.__name__}: {item.message}" for item in caught))[:_WARNINGS]
    return replace(
        candidate,
        ended=system_clock(),
        rows_trained=progress.rows_trained,
        rows_held_out=progress.rows_held_out,
        rows_filter=progress.rows_filter,
        seconds=progress.seconds,
        warnings=said,
    )


def failed(
    model: str,
    segment: Segment,
    reason: str,
    started: datetime,
    *,
    params: Mapping[str, Any] | None = None,
    artifacts: Mapping[str, str] | None = None,
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
    )


def _train(plan: Plan, task: Task, artifacts: Artifacts, progress: _Progress, started: datetime) -> Candidate:
    with progress.stage("rows"):
        columns = opened(plan.stored)
        rows, time = _ordered(columns, task.slice, parent=len(task.slice.segment) < len(plan.per))
        cut = split(time, plan.holdout)
        y = columns.values(TARGET, rows)
        _check(plan, task.slice, y[:cut])
        frame = columns.frame(plan.features, rows)
        progress.rows_trained, progress.rows_held_out = cut, len(time) - cut
        progress.rows_filter = {
            **dict(zip(plan.per, task.slice.segment, strict=False)),
            "time >=": _moment(time[0] if plan.since is None else plan.since),
            "time <": _moment(time[cut]),
        }
    with progress.stage("fit"):
        model = _loaded(plan.fit)(frame.iloc[:cut], y[:cut], dict(plan.params))
    if model is None:
        raise Invalid("its fit returned nothing", "", "return the fitted model")
    held_out, truth = frame.iloc[cut:], y[cut:]
    with progress.stage("signature"):
        takes = signature(frame.iloc[:cut], y[:cut], plan.features, model)
    with progress.stage("package"):
        packed = packaging.pack(
            model, takes, held_out, artifacts, code=plan.code, environment=plan.environment, reference=None
        )
    with progress.stage("evaluate"):
        metrics = evaluate.metrics(plan.metrics, takes, truth, packed.scores)
    with progress.stage("reference"):
        package = _with_reference(packed.package, frame, packed.scores, artifacts)
    champion_metrics, paired = None, None
    if task.champion is not None:
        with progress.stage("champion"):
            theirs = _champion_scores(task.champion, columns, rows[cut:], artifacts)
            if theirs is not None:
                champion = task.champion.signature
                champion_metrics = evaluate.metrics(plan.metrics, champion, truth, theirs)
                paired = evaluate.paired(truth, (takes, packed.scores), (champion, theirs))
    return Candidate(
        task.slice.segment,
        "done",
        started,
        started,
        params=dict(plan.params),
        metrics=metrics,
        champion_metrics=champion_metrics,
        paired=paired,
        package=package,
    )


def _ordered(
    columns: Columns, part: Slice, parent: bool
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Row numbers of a segment in the order of time, and their times.

    A segment of the lowest level lies in the file in that order; a parent's rows are its children's, one
    after the other.
    """
    rows = np.arange(part.offset, part.offset + part.length)
    time = columns.raw[TIME][part.offset : part.offset + part.length]
    if parent:
        order = np.argsort(time, kind="stable")
        rows, time = rows[order], time[order]
    return rows, time


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
    batch = to_batch(columns.frame(names, rows), champion.signature)
    scores: npt.NDArray[np.float32] = packaging.load(champion, artifacts).predict(batch)
    return scores


def _with_reference(
    package: Package, frame: pd.DataFrame, scores: npt.NDArray[np.float32], artifacts: Artifacts
) -> Package:
    """The package with the sketch that monitoring compares later rows with.

    Features are those of all rows, learned from and held out: the tests of a shift need as many as there are.
    Outputs are those of the held-out rows, which are not flattered by having been learned from.
    """
    batch = to_batch(frame.iloc[-_REFERENCE_ROWS:], package.signature)
    regression = package.signature.task == "regression"
    reference = Reference.build(batch, evaluate.main(package.signature, scores), probabilities=not regression)
    return replace(package, reference=artifacts.put(reference.to_bytes()))


@lru_cache(maxsize=16)
def _loaded(content: bytes) -> Fit:
    """A fit function, unpickled once a worker."""
    fit: Callable[..., Any] = pickle.loads(content)  # noqa: S301 - the trainer of this run wrote it
    return fit


def _line(error: Exception) -> str:
    return traceback.format_exception_only(error)[-1].strip()


def _moment(microseconds: Any) -> str:
    return (_EPOCH + timedelta(microseconds=int(microseconds))).isoformat()
