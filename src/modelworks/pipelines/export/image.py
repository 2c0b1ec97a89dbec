"""The content of an image that serves one model: a project with nothing but what answers, its code, its lock.

What is written is a project like any other: a ledger in which this deployment alone stands, and the artifacts
that it needs. ``modelworks up`` serves it as it serves the factory; so an exported model answers as it did there.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select

from modelworks import __version__
from modelworks.core.errors import Conflict, Invalid, NotReady
from modelworks.core.plain import to_json
from modelworks.core.ref import Ref, segment_text
from modelworks.data.features.definition import Expression
from modelworks.deploy.deployment import Promotion
from modelworks.deploy.station import DeployStation
from modelworks.models.package import Package
from modelworks.pipelines.context import Stations
from modelworks.pipelines.export import words
from modelworks.pipelines.export.requirements import needed
from modelworks.pipelines.score import chosen
from modelworks.serving.scoring import Scoring
from modelworks.stores import Stores, open_stores
from modelworks.stores.ledger.portable import chunks
from modelworks.stores.ledger.tables import datasets, model_versions, models

_MARK = "export.json"
_HOUSE = Path(__file__).parents[2]
"""Folder of this package."""


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        ref: What was asked for.
        name: Of the model.
        tag: For the image: the version, or the number of the deployment where it is more than one.
        versions: What answers, by segment.
        folder: Where it is.
        files: Their number.
        bytes: What they take together.
        requirements: How many distributions the image installs.
    """

    ref: str
    name: str
    tag: str
    versions: dict[str, int]
    folder: str
    files: int
    bytes: int
    requirements: int


def image(stations: Stations, ref: Ref, folder: Path, *, port: int = 8000) -> Exported:
    """Write what an image needs that serves a model, or one of its versions, without this factory.

    Args:
        stations: The belt.
        ref: The model with all its champions, or one segment or version.
        folder: Where to; what an earlier export left there is replaced, once the new one is whole.
        port: On which it listens.

    Raises:
        NotFound: there is no such model or version.
        NotReady: nothing of the model is live, or it cannot be served.
        Invalid: a feature needs rows that an image has not.
        Conflict: the folder holds something else, or the versions need environments that do not agree.
    """
    scoring = chosen(stations, ref)
    _check(stations, ref, scoring)
    if folder.exists() and any(folder.iterdir()) and not (folder / _MARK).is_file():
        raise Conflict(
            f"{folder} holds something that is no export", "it is not replaced", "name another folder"
        )
    version, requirements = needed(stations, [one.package for one in scoring.versions.values()])
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        _project(stations, scoring, part / "model", port)
        shutil.copytree(_HOUSE, part / "modelworks", ignore=shutil.ignore_patterns("__pycache__", "demos"))
        versions = {segment_text(segment): one.version for segment, one in scoring.versions.items()}
        single = len(versions) == 1
        tag = str(next(iter(versions.values())) if single else _revision(stations, ref.name))
        texts = {
            "requirements.txt": "".join(f"{line}\n" for line in requirements),
            "Dockerfile": words.DOCKERFILE.format(python=version, port=port),
            ".dockerignore": words.IGNORED,
            "README.md": words.readme(ref.name, tag, versions, port),
            _MARK: to_json(
                {"model": str(ref), "versions": versions, "made": stations.clock(), "with": __version__},
                indent=True,
            ).decode(),
        }
        for name, text in texts.items():
            (part / name).write_text(text)
        files = [path for path in part.rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files)
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return Exported(str(ref), ref.name, tag, versions, str(folder), len(files), size, len(requirements))


def _check(stations: Stations, ref: Ref, scoring: Scoring) -> None:
    """Refuse what could not answer elsewhere."""
    for segment, one in scoring.versions.items():
        if one.package.kept:
            raise NotReady(
                f"{Ref(ref.name, segment, one.version)} cannot be served", one.package.proof.reason, ""
            )
    declared = scoring.declared
    if not declared.features or declared.dataset is None:
        return
    known = stations.data.frames.declared()[declared.dataset].features
    past = [name for name in declared.features if not isinstance(known[name], Expression)]
    if past:
        raise Invalid(
            f"{ref} cannot be exported",
            f"{', '.join(past)} is computed from rows of this factory, which an image does not have",
            "serve it with 'modelworks up', or train it on a column that callers send",
        )


def _project(stations: Stations, scoring: Scoring, root: Path, port: int) -> None:
    """A project that holds this deployment alone."""
    state = root / ".modelworks"
    fresh = open_stores(state)
    try:
        _enter(stations, scoring, fresh)
        for one in scoring.versions.values():
            for digest in _digests(one.package):
                if digest in stations.stores.artifacts:
                    fresh.artifacts.put(stations.stores.artifacts.get(digest))
    finally:
        fresh.ledger.close()
    shutil.rmtree(state / "ledger.db-locks", ignore_errors=True)
    (root / "modelworks.toml").write_text(f"[server]\nport = {port}\n")
    # The user of the image is another one than who exports.
    for path in root.rglob("*"):
        os.chmod(path, 0o755 if path.is_dir() else 0o644)


def _digests(package: Package) -> list[str]:
    """What serving needs of a package, and what tells where it comes from; no pickle where a graph answers."""
    answers = package.native if package.compiled is None else package.compiled
    return [one for one in (answers, package.reference, package.environment, package.code) if one]


def _enter(stations: Stations, scoring: Scoring, fresh: Stores) -> None:
    """Copy the model's lines of the ledger, and deploy."""
    name, dataset = scoring.declared.name, scoring.declared.dataset
    numbers = {segment_text(segment): one.version for segment, one in scoring.versions.items()}
    v = model_versions.c
    rows: dict[Any, list[dict[str, Any]]] = {models: [], datasets: [], model_versions: []}
    with stations.stores.ledger.read() as db:
        asked = [(models, models.c.name == name), (datasets, datasets.c.name == dataset)]
        asked += [(model_versions, (v.model == name) & v.segment.in_(some)) for some in chunks(numbers)]
        for table, where in asked:
            rows[table] += [dict(row._mapping) for row in db.execute(select(table).where(where))]
    rows[model_versions] = [row for row in rows[model_versions] if numbers[row["segment"]] == row["version"]]
    with fresh.ledger.write() as db:
        for table, lines in rows.items():
            if lines:
                db.execute(insert(table), lines)
        DeployStation(fresh.ledger, stations.clock).promote_many(
            db,
            [
                Promotion(name, segment, one.version, "exported")
                for segment, one in sorted(scoring.versions.items())
            ],
        )


def _revision(stations: Stations, model: str) -> int:
    return max(one.revision for one in stations.deploy.state(model))
