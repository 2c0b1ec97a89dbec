"""Going on from a version with outcomes, one by one: first answer, then learn. What a worker does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from modelworks.core.batch import Batch
from modelworks.core.clock import system_clock
from modelworks.core.errors import Invalid
from modelworks.core.main_effects import main_effects
from modelworks.core.measure import Reference
from modelworks.core.ref import Segment
from modelworks.core.seen import MOST, Seen
from modelworks.models import packaging
from modelworks.models.flavors import FLAVORS
from modelworks.models.package import Package, Proof
from modelworks.models.predictor import Learning
from modelworks.registry.gates.evidence import Need
from modelworks.stores.artifacts import LocalArtifacts
from modelworks.train import evaluate
from modelworks.train.candidate import Candidate
from modelworks.train.evidence import HeldOut, gather

LEARNED = "learned.msgpack"
"""Name of the list of what was learned among the artifacts of a run."""


@dataclass(frozen=True, eq=False)
class Lesson:
    """What one segment has to learn.

    Attributes:
        segment: Which.
        ref: The version that goes on, in full.
        package: That version.
        batch: Rows in the order in which their truths came, as it takes them.
        truth: Their targets.
        names: What each row is known by.
        received: When the truth of the newest came.
        champion: What answers now.
        champion_batch: The rows, as that takes them.
        rows_filter: For the version that comes of it.
    """

    segment: Segment
    ref: str
    package: Package
    batch: Batch
    truth: tuple[Any, ...]
    names: tuple[str, ...]
    received: datetime
    champion: Package
    champion_batch: Batch
    rows_filter: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Course:
    """What all lessons of a turn share.

    Attributes:
        metrics: Names of the metrics.
        artifacts: Folder of the artifact store.
        environment: Digest of the environment.
        needs: What the gates want to be looked at.
    """

    metrics: tuple[str, ...]
    artifacts: Path
    environment: str
    needs: tuple[Need[Any], ...] = ()


def learn(course: Course, lesson: Lesson) -> Candidate:
    """Answer each row, then learn it; the answers judge what comes of it.

    So the gates see losses on rows that were not learned yet when they were answered, and the champion's on the
    same ones, none of which it has learned.

    Raises:
        Invalid: the model is of a kind that does not go on learning row by row.
    """
    started, begun = system_clock(), perf_counter()
    artifacts, package = LocalArtifacts(course.artifacts), lesson.package
    flavor, takes = FLAVORS[package.flavor], package.signature
    model = flavor.load(artifacts.get(package.native))
    going = flavor.predictor(model, takes)
    if not isinstance(going, Learning):
        raise Invalid(
            f"{lesson.ref} cannot learn online",
            f"models of the flavor {package.flavor} do not learn row by row",
            'return one of River\'s, or use learn="incremental"',
        )
    scores = going.learn(lesson.batch, lesson.truth)
    truth = np.array(lesson.truth, dtype=object if isinstance(lesson.truth[0], str) else None)
    theirs = packaging.load(lesson.champion, artifacts).predict(lesson.champion_batch)
    signature = lesson.champion.signature
    fresh = packaging.stored(
        model,
        takes,
        None,
        Proof(0, None, packaging.TOLERANCE, "it goes on learning, and is served natively"),
        artifacts,
        code=package.code,
        environment=course.environment,
        reference=_reference(lesson, scores, artifacts),
        rows=sha256("\n".join([package.rows, *lesson.names]).encode()).hexdigest(),
    )
    rows = HeldOut(
        takes,
        truth,
        scores,
        lesson.batch,
        lambda name: _column(lesson, name),
        fresh,
        artifacts,
        lesson.received,
        (signature, theirs),
        signature,
    )
    return Candidate(
        lesson.segment,
        "done",
        started,
        system_clock(),
        metrics=evaluate.metrics(course.metrics, takes, truth, scores),
        champion_metrics=evaluate.metrics(course.metrics, signature, truth, theirs),
        paired=evaluate.paired(truth, (takes, scores), (signature, theirs)),
        rows_trained=len(truth),
        rows_held_out=len(truth),
        rows_filter=lesson.rows_filter,
        package=fresh,
        origins=((f"model:{lesson.ref}", "continued"),),
        tags={"continues": lesson.ref},
        artifacts={LEARNED: artifacts.put(msgspec.msgpack.encode(lesson.names))},
        seconds={"learn": perf_counter() - begun},
        evidence=gather(course.needs, rows) if course.needs else {},
    )


def losses(candidate: Candidate) -> tuple[float | None, float | None]:
    """Mean loss by row of the one that learned, and of the champion: log loss, or squared error."""
    found = []
    for metrics in (candidate.metrics, candidate.champion_metrics or {}):
        rmse = metrics.get("rmse")
        found.append(metrics.get("log_loss") if rmse is None else rmse**2)
    return found[0], found[1]


def _column(lesson: Lesson, name: str) -> npt.NDArray[Any]:
    takes = lesson.package.signature
    if name in takes.numbers:
        return lesson.batch.numbers[:, takes.numbers.index(name)].astype(np.float64)
    if name in takes.texts:
        return lesson.batch.texts[:, takes.texts.index(name)]
    raise Invalid(f"the log is not looked at for {name!r}", "only the features are", "")


def _reference(lesson: Lesson, scores: npt.NDArray[Any], artifacts: LocalArtifacts) -> bytes:
    """Of what was learned last; what was seen is also what those before it have seen."""
    takes = lesson.package.signature
    outputs = evaluate.main(takes, scores)
    finite = np.isfinite(outputs)
    built = Reference.build(lesson.batch, outputs[finite], probabilities=bool(takes.classes))
    effects = main_effects(built.bins(lesson.batch)[:, finite], outputs[finite])
    columns = {name: _column(lesson, name) for name in (*takes.numbers, *takes.texts)}
    seen = Seen.of(columns, takes.numbers, takes.texts)
    if lesson.package.reference is not None:
        before = Reference.from_bytes(artifacts.get(lesson.package.reference)).seen
        seen = seen if before is None else _together(before, seen)
    return replace(built, seen=seen, main_effects=effects).to_bytes()


def _together(one: Seen, other: Seen) -> Seen:
    texts = []
    for mine, more in zip(one.texts, other.texts, strict=True):
        every = None if mine is None or more is None else mine | more
        texts.append(every if every is not None and len(every) <= MOST else None)
    return Seen(np.fmin(one.lows, other.lows), np.fmax(one.highs, other.highs), tuple(texts))
