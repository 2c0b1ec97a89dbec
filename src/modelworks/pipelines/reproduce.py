"""Doing a training again from its lineage: the data version, the code as it was, the parameters, the environment.

First everything that the version rests on is held against its digests; data that was tampered with is said to be
so, and nothing is trained on it. Then the stored code runs on the rows of that very data version, in an
environment that has what the stored one had, and both models answer the held-out rows.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any, Literal

import polars as pl
from sqlalchemy import select

from modelworks.core.errors import Invalid, NotFound, NotReady
from modelworks.core.plain import to_json
from modelworks.core.ref import Ref
from modelworks.data.features.definition import from_json
from modelworks.data.verify import Verified
from modelworks.jobs import fresh
from modelworks.jobs.executors.worker import THREADS
from modelworks.pipelines import sources
from modelworks.pipelines.again import Job, Told
from modelworks.pipelines.basis import ARTIFACT, Basis
from modelworks.pipelines.context import Progress, Stations, silent
from modelworks.registry.model_version import ModelVersion
from modelworks.stores.artifacts import LocalArtifacts
from modelworks.stores.ledger.tables import runs
from modelworks.track import lock
from modelworks.train import environment
from modelworks.train.previous import Previous

Verdict = Literal["equal", "close", "differs", "tampered", "failed"]
_HOUSE = Path(__file__).parents[1]
_STAGES = 4


@dataclass(frozen=True)
class Reproduced:
    """What came of doing it again.

    Attributes:
        ref: The version.
        verdict: ``"equal"``: the same answers, bit for bit. ``"close"``: within the tolerance that was allowed.
            ``"differs"``. ``"tampered"``: what it rests on is not what it was; nothing was trained. ``"failed"``:
            the training failed.
        reason: Why, one sentence.
        data: What a look at each of the data versions found.
        artifacts: What is wrong with its stored parts.
        rows: Whether the fit saw the very rows that it saw then; ``None`` where it was not known.
        held_out: Rows that both models answered.
        largest_difference: Between any two answers.
        same_model: Whether also the stored models are the same, byte for byte.
        metrics: Metric to what it was and what it is.
        code: Whether the stored code has the digest that the version was made with.
        environment: Where it ran, and in what that is another environment than then.
        notes: What a person should know.
        seconds: Wall time by stage.
    """

    ref: str
    verdict: Verdict
    reason: str
    data: Sequence[Verified] = ()
    artifacts: Sequence[str] = ()
    rows: bool | None = None
    held_out: int = 0
    largest_difference: float | None = None
    same_model: bool = False
    metrics: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)
    code: bool = False
    environment: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)


def reproduce(
    stations: Stations,
    ref: Ref,
    *,
    environments: Path,
    here: bool = False,
    tolerance: float = 0.0,
    progress: Progress = silent,
) -> Reproduced:
    """Train a version again, and compare.

    Args:
        stations: The belt.
        ref: The version.
        environments: Where environments are kept.
        here: Use the current environment.
        tolerance: Difference between two answers that still is ``"close"``.
        progress: Told of each stage.

    Raises:
        NotFound: there is no such version, or the rows it learned from are not kept any more.
        NotReady: it was not trained by the factory, or its environment cannot be made.
    """
    laps = _Laps(progress)
    version = stations.registry.get(ref)
    run, basis = _basis(stations, version)
    with laps.lap("verify"):
        data = [stations.data.verify(f"{name}@{at}") for name, at in basis.inputs.items()]
        wrong, notes = _parts(stations, version, basis), _notes(stations, basis, data)
    found = Reproduced(str(version.ref), "tampered", "", data=data, artifacts=wrong, notes=notes)
    broken = [one.version for one in data if not one.intact]
    if broken or wrong:
        reason = f"{', '.join(broken)} is not what it was" if broken else wrong[0]
        return replace(found, reason=reason, seconds=laps.seconds)
    document = lock.read(stations.stores.artifacts.get(version.package.environment))
    with TemporaryDirectory(prefix="modelworks-again-") as name:
        folder = Path(name)
        with laps.lap("rows"):
            _prepare(stations, folder, version, basis, run, document)
        with laps.lap("environment"):
            exe = Path(sys.executable) if here else _python(environments, document)
        with laps.lap("train"):
            told = _train(folder, exe, here)
    where = "here" if here else str(exe.parents[1])
    return _judged(found, version, told, document, where, tolerance, laps.seconds)


def _basis(stations: Stations, version: ModelVersion) -> tuple[Mapping[str, Any], Basis]:
    with stations.stores.ledger.read() as db:
        run = db.execute(select(runs).where(runs.c.id == version.run)).mappings().one()
    digest = run["artifacts"].get(ARTIFACT)
    if digest is None:
        how = {"import": "it was imported", "online": "it learned from outcomes as they came"}.get(
            run["kind"], "a run logged it by itself"
        )
        raise NotReady(
            f"{version.ref} cannot be trained again",
            f"{how}, so there is no training that could be repeated",
            f"'modelworks runs show {version.run}' says where it came from",
        )
    return dict(run), Basis.read(stations.stores.artifacts.get(digest))


def _parts(stations: Stations, version: ModelVersion, basis: Basis) -> list[str]:
    """What is wrong with the stored parts of a version."""
    package, wrong = version.package, []
    parts = {
        "the model": package.native, "the compiled model": package.compiled, "the reference": package.reference,
        "the code": package.code, "the project's code": basis.source, "the environment": package.environment,
    }  # fmt: skip
    for name, digest in parts.items():
        try:
            if digest is not None:
                stations.stores.artifacts.get(digest)
        except (Invalid, NotFound) as error:
            wrong.append(f"{name}: {error.what}")
    for name, digest in basis.digests.items():
        made = stations.data.version_of(Ref(name, at=basis.inputs[name])).digest
        if made != digest:
            wrong.append(f"the ledger says of {name}@{basis.inputs[name]} that it is another one than it was")
    return wrong


def _notes(stations: Stations, basis: Basis, data: Sequence[Verified]) -> list[str]:
    notes = [
        f"{one.erased:,} rows of forgotten subjects are gone from {one.version}: the model may differ for that"
        for one in data
        if one.erased
    ]
    if basis.strange:
        notes.append(
            f"not kept with the code, for it is neither the project's nor of a distribution: {', '.join(basis.strange)}"
        )
    return notes


def _prepare(
    stations: Stations,
    folder: Path,
    version: ModelVersion,
    basis: Basis,
    run: Mapping[str, Any],
    document: Mapping[str, Any],
) -> None:
    """Put into a folder what the training needs."""
    artifacts = LocalArtifacts(folder / "artifacts")
    artifacts.put(stations.stores.artifacts.get(version.package.native))
    sources.lay_out(json.loads(stations.stores.artifacts.get(basis.source))["files"], folder / "source")
    shape = environment.shape(stations.stores.artifacts.get(version.package.code))
    features = {name: from_json(how) for name, how in shape.get("computed", {}).items()}
    frames = stations.data.frames.as_declared(basis.dataset, features, basis.time)
    mine = pl.lit(value=True)
    for name, value in zip(shape["per"], version.segment, strict=False):
        mine &= pl.col(name).cast(pl.String).fill_null("") == value
    wanted = [*shape["per"], *shape["features"], shape["target"], basis.time]
    rows = frames.frame(basis.dataset, wanted, mine if version.segment else None, basis.inputs)
    rows.write_parquet(folder / "rows.parquet", compression="lz4")
    job = Job(
        model=version.model,
        segment=version.segment,
        params=run["params"],
        time=basis.time,
        since=basis.since,
        kinds=basis.kinds,
        package=version.package.to_json(),
        needed=tuple(document["packages"]),
        previous=_previous(stations, run),
    )
    if job.previous is not None:
        artifacts.put(stations.stores.artifacts.get(job.previous["package"]["native"]))
    (folder / "job.json").write_bytes(to_json(job))


def _previous(stations: Stations, run: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the training went on from, as plain data; ``None`` where it began anew."""
    continued = run["tags"].get("continues")
    if continued is None:
        return None
    previous = Previous.of(stations.registry.get(Ref.parse(continued)))
    return {**vars(previous), "package": previous.package.to_json()}


def _python(environments: Path, document: Mapping[str, Any]) -> Path:
    return fresh.python(environments, document["python"], lock.requirements(document), _HOUSE)


def _train(folder: Path, exe: Path, here: bool) -> Told:
    """Train in a process of its own."""
    surroundings = {**os.environ, **THREADS, "PYTHONPATH": str(_HOUSE.parent if here else fresh.house(exe))}
    surroundings.pop("VIRTUAL_ENV", None)
    command = [str(exe), "-m", "modelworks.pipelines.again", str(folder)]
    done = subprocess.run(command, cwd=folder, env=surroundings, capture_output=True, text=True, check=False)
    told = folder / "told.json"
    if done.returncode or not told.is_file():
        return Told(
            error=" ".join(done.stderr.strip().splitlines()[-1:]) or f"it ended with {done.returncode}"
        )
    return Told(**json.loads(told.read_bytes()))


def _judged(
    found: Reproduced,
    version: ModelVersion,
    told: Told,
    document: Mapping[str, Any],
    where: str,
    tolerance: float,
    seconds: Mapping[str, float],
) -> Reproduced:
    """Compare what came of it with what is registered."""
    package = told.package or {}
    metrics = {name: (value, told.metrics.get(name)) for name, value in version.metrics.items()}
    rows = package["rows"] == version.package.rows if package and version.package.rows else None
    verdict, reason = _verdict(told, rows, metrics, tolerance)
    return replace(
        found,
        verdict=verdict,
        reason=reason,
        rows=rows,
        held_out=told.held_out,
        largest_difference=told.largest_difference,
        same_model=package.get("native") == version.package.native,
        metrics=metrics,
        code=told.code == version.package.code,
        environment={"where": where, "differences": lock.differences(document, told.environment)},
        seconds=seconds,
    )


def _verdict(
    told: Told, rows: bool | None, metrics: Mapping[str, tuple[Any, Any]], tolerance: float
) -> tuple[Verdict, str]:
    if told.error:
        return "failed", told.error
    many, apart = f"{told.held_out:,} held-out rows", told.largest_difference
    if told.equal and all(then == now for then, now in metrics.values()):
        return "equal", f"both models give the same answers to {many}, bit for bit"
    if rows is False:
        return "differs", "the rows that it learns from are not those that it learned from then"
    if apart is not None and apart <= tolerance:
        return "close", f"the answers to {many} differ by up to {apart:.2g}"
    by = "" if apart is None else f" by up to {apart:.2g}"
    return "differs", f"the answers to {many} differ{by}"


class _Laps:
    """Wall time by stage, told to whoever waits."""

    def __init__(self, progress: Progress) -> None:
        self.seconds: dict[str, float] = {}
        self._progress = progress

    @contextmanager
    def lap(self, name: str) -> Iterator[None]:
        self._progress(f"reproduce: {name}", len(self.seconds), _STAGES)
        begun = monotonic()
        yield
        self.seconds[name] = round(monotonic() - begun, 3)
