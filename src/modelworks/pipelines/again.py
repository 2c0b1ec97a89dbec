"""Training a version again, in a process of its own: ``python -m modelworks.pipelines.again FOLDER``.

The folder holds what the training rests on (see `reproduce`); what comes of it is written into ``told.json``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from modelworks.core.plain import to_json
from modelworks.core.ref import Segment
from modelworks.data.version import VERSION
from modelworks.models.flavors import FLAVORS
from modelworks.models.package import Package
from modelworks.pipelines.load import load_project
from modelworks.stores.artifacts import LocalArtifacts
from modelworks.track.lock import environment
from modelworks.train import columns, trainer
from modelworks.train.plan import Task, held_out
from modelworks.train.previous import Previous
from modelworks.train.segments import TARGET, chosen, select
from modelworks.train.work import work


@dataclass(frozen=True)
class Job:
    """What to train again.

    Attributes:
        model: Name of the model, as the stored code defines it.
        segment: The segment.
        params: What the fit was given.
        time: Column of the event time.
        since: See `Begun.since`.
        kinds: See `Begun.kinds`.
        package: The version as it is registered.
        needed: Distributions to say of whether they are the same.
        previous: What it goes on from, a `Previous` as plain data; ``None`` where it begins anew.
    """

    model: str
    segment: Segment
    params: Mapping[str, Any]
    time: str
    since: int | None
    kinds: Mapping[str, str]
    package: Mapping[str, Any]
    needed: tuple[str, ...] = ()
    previous: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Told:
    """What came of it.

    Attributes:
        error: Why there is no model; ``""`` where there is one.
        package: The new package.
        metrics: Its metrics.
        rows_filter: Which rows the fit saw.
        code: Digest of the definition's code.
        held_out: Rows that both models answered.
        equal: Whether the answers are the same, bit for bit.
        largest_difference: Between any two answers; ``None`` where they are no numbers.
        environment: Document of the environment.
    """

    error: str = ""
    package: Mapping[str, Any] | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    rows_filter: Mapping[str, Any] = field(default_factory=dict)
    code: str = ""
    held_out: int = 0
    equal: bool = False
    largest_difference: float | None = None
    environment: Mapping[str, Any] = field(default_factory=dict)


def train(folder: Path) -> Told:
    """Train, and let both models answer the held-out rows."""
    told = json.loads((folder / "job.json").read_bytes())
    job = Job(**{**told, "segment": tuple(told["segment"])})
    definition = load_project(folder / "source").model(job.model).definition
    previous = job.previous and Previous(
        **{**job.previous, "package": Package.from_json(job.previous["package"])}
    )
    rows = select(
        replace(definition, window=None),
        _rows(folder, job, definition.target),
        time=job.time,
        extra=[VERSION] if definition.learn == "incremental" else (),
    )
    stored = columns.write(rows.frame, folder / "rows.arrow", columns.learned_from(definition.features))
    artifacts = LocalArtifacts(folder / "artifacts")
    plan = trainer.plan_of(replace(definition, params=job.params), stored, job.since, artifacts)
    (task,) = (Task(part, previous=previous or None) for part in chosen(rows, [job.segment]))
    (candidate,) = work(plan, [task]).candidates
    here = json.loads(environment(job.needed)[1])
    if candidate.package is None:
        return Told(candidate.error or "its training failed", code=definition.code, environment=here)
    answers = []
    for package in (Package.from_json(job.package), candidate.package):
        flavor = FLAVORS[package.flavor]
        model = flavor.load(artifacts.get(package.native))
        batch = held_out(plan, task.slice, package.signature)
        answers.append(flavor.predictor(model, package.signature).predict(batch))
    then, now = answers
    return Told(
        package=candidate.package.to_json(),
        metrics=candidate.metrics,
        rows_filter=candidate.rows_filter,
        code=definition.code,
        held_out=len(now),
        equal=_same(then, now),
        largest_difference=_difference(then, now),
        environment=here,
    )


def _rows(folder: Path, job: Job, target: str) -> pl.DataFrame:
    """The rows, of the types that the fits saw: a number missing elsewhere made whole ones into others."""
    rows = pl.read_parquet(folder / "rows.parquet")
    if job.since is not None:
        rows = rows.filter(pl.col(job.time).dt.epoch("us") >= job.since)
    floats = [target if name == TARGET else name for name, kind in job.kinds.items() if kind == "double"]
    return rows.with_columns(
        pl.col(name).cast(pl.Float64) for name in floats if not rows.schema[name].is_float()
    )


def _same(then: Any, now: Any) -> bool:
    if then.dtype == object:
        return bool(to_json(then.tolist()) == to_json(now.tolist()))
    return bool(then.dtype == now.dtype and then.shape == now.shape and then.tobytes() == now.tobytes())


def _difference(then: Any, now: Any) -> float | None:
    if then.dtype == object or then.shape != now.shape:
        return None
    both = np.isnan(then) & np.isnan(now)
    apart = np.abs(then.astype(np.float64) - now.astype(np.float64))[~both]
    return float(np.max(apart, initial=0.0)) if np.isfinite(apart).all() else float("inf")


if __name__ == "__main__":
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    threadpool_limits(1)
    place = Path(sys.argv[1])
    (place / "told.json").write_bytes(to_json(asdict(train(place))))
