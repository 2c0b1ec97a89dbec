"""Versions that come as files from elsewhere: registered at once, read beside the server, served when they can be.

A version is registered with its files as they came, *kept*. The worker then reads it as an import does: without
unpickling. What it can read gets its package and can be served; what would have to be unpickled stays kept, with
the reason, until a person who knows its maker says `trust`. An alias ``champion`` that was given meanwhile brings
the version out as soon as it can be served.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert, select

from modelworks.core.clock import new_id
from modelworks.core.errors import Conflict, Denied, Invalid, ModelworksError, NotFound, NotReady
from modelworks.core.plain import plain, to_json
from modelworks.core.ref import Ref, segment_text
from modelworks.lineage import graph
from modelworks.lineage.edge import Edge
from modelworks.models.formats.mlflow import MLMODEL
from modelworks.models.package import Package, kept
from modelworks.pipelines import by_hand
from modelworks.pipelines.bring_in import packaged
from modelworks.pipelines.context import Stations
from modelworks.registry import arrivals
from modelworks.registry.arrivals import Arrival
from modelworks.registry.model_version import CHAMPION, LATEST, Draft, ModelVersion
from modelworks.registry.rows import at
from modelworks.stores.ledger.portable import upsert
from modelworks.stores.ledger.tables import aliases, model_versions, runs
from modelworks.track import logged as logged_models

_WAITS = "it has not been read yet: the worker of 'modelworks up' does"
_DIED = "reading it ended the process that read it"
_BYTES = 4 * 1024**3
"""Of the files of a version that is read."""


def register(
    db: Connection,
    stations: Stations,
    model: str,
    source: str,
    files: Mapping[str, str] | None,
    *,
    run: str | None,
    logged: str | None,
) -> ModelVersion:
    """Make a version of files as they came, in the caller's transaction; it waits to be read.

    Args:
        db: An open transaction.
        stations: The belt.
        model: The model.
        source: Where the files were.
        files: Name to digest; ``None`` where they are not here.
        run: The run that made it.
        logged: The logged model that it was.

    Raises:
        Invalid: there are no files.
    """
    if files is not None and not files:
        raise Invalid(
            f"there is nothing at {source[:200]!r}", "no file was logged there", "log the model first"
        )
    reason = _WAITS
    if files is None:
        reason = f"its files are elsewhere: {source[:200]}"
    elif MLMODEL not in files:
        reason = f"among its files is no {MLMODEL}"
    artifacts, now = stations.stores.artifacts, stations.clock()
    digest = (files or {}).get("requirements.txt") or artifacts.put(b"")
    origin = artifacts.put(to_json({"source": source, "files": files}, indent=True))
    package = kept(files=origin, environment=digest, code=origin, reason=reason)
    maker, name = _maker(db, run)
    draft = Draft(model, (), maker or new_id(), package, _metrics(db, run, logged))
    if maker is None:
        db.execute(
            insert(runs).values(
                id=draft.run, name=name or model, segment="", kind="import", status="done", params={},
                metrics=plain(draft.metrics), tags={"source": source[:500]}, artifacts={}, parent=run,
                started=now, ended=now,
            )
        )  # fmt: skip
    (version,) = stations.registry.register_many(db, [draft])
    state: Any = "waiting" if reason == _WAITS else "kept"
    arrivals.add(db, Arrival(version.ref, source[:2000], run, logged, files or {}, state))
    edges = [Edge(f"run:{draft.run}", "made", f"model:{version.ref}")]
    if maker is None and run is not None:
        edges.append(Edge(f"run:{run}", "made", f"model:{version.ref}"))
    graph.add(db, edges, now)
    return version


def _maker(db: Connection, run: str | None) -> tuple[str | None, str]:
    """The run, if it is here and has made no version yet: a run makes one at most."""
    if run is None:
        return None, ""
    name = db.scalar(select(runs.c.name).where(runs.c.id == run))
    made = select(model_versions.c.version).where(model_versions.c.run == run).limit(1)
    free = name is not None and db.scalar(made) is None
    return (run if free else None), name or ""


def _metrics(db: Connection, run: str | None, logged: str | None) -> Mapping[str, float | None]:
    """What is known of how good it is: what was said of the model, or else of its run."""
    said: Mapping[str, float | None] = {}
    if logged is not None:
        said = next((row["metrics"] for row in logged_models.of(db, [logged])), {})
    return said or (db.scalar(select(runs.c.metrics).where(runs.c.id == run)) if run else None) or {}


def read_waiting(stations: Stations) -> int:
    """Read what waits, one after the other; returns how many were read.

    One process at a time is at it. What it reads is marked before: if reading ends the process, the version is
    not tried again.
    """
    ledger = stations.stores.ledger
    with ledger.read() as db:
        if not arrivals.in_state(db, "waiting", 1) and not arrivals.in_state(db, "reading", 1):
            return 0
    done = 0
    with ledger.alone("arrivals"):
        with ledger.read() as db:
            cut_off = arrivals.in_state(db, "reading")
        for one in cut_off:
            _after_death(stations, one)
        while True:
            with ledger.read() as db:
                waiting = arrivals.in_state(db, "waiting", 20)
            if not waiting:
                return done
            for one in waiting:
                with ledger.write() as db:
                    arrivals.mark(db, one.ref, "reading")
                done += _read(stations, one)


def _read(stations: Stations, one: Arrival) -> bool:
    try:
        _take(stations, one, trust=False, example=None)
    except Denied as error:
        _keep(
            stations,
            one.ref,
            f"{error.what}: {error.why}; modelworks models trust '{one.ref}' reads it all the same",
        )
    except ModelworksError as error:
        _keep(stations, one.ref, f"{error.what}; {error.why}" if error.why else error.what)
    else:
        return True
    return False


def trust(stations: Stations, ref: Ref, example: Path | None = None) -> dict[str, Any]:
    """Read a version that was kept as it came, even if that runs what its maker put in; deploy it if it is to answer.

    Raises:
        NotFound: there is no such version.
        Conflict: it can be served already.
        Invalid: it cannot be read, or its files are not here.
    """
    version = stations.registry.get(ref)
    if not version.package.kept:
        raise Conflict(f"{version.ref} can be served already", "", f"modelworks deploy '{version.ref}'")
    ledger = stations.stores.ledger
    with ledger.alone("arrivals"), ledger.read() as db:
        one = arrivals.get(db, version.ref)
    return _take(stations, one, trust=True, example=example)


def _take(stations: Stations, one: Arrival, *, trust: bool, example: Path | None) -> dict[str, Any]:
    """Read a version's files, package the model, and give the version its package."""
    stores = stations.stores
    if not one.files:
        raise Invalid(f"{one.ref} has no files here", f"they are at {one.source[:200]}", "log the model here")
    with tempfile.TemporaryDirectory(prefix="modelworks-") as place:
        folder = Path(place) / one.ref.name
        _write(stations, one.files, folder)
        made = packaged(stations, folder, trust, example, origin={"source": one.source})
    package = made.package
    with stores.ledger.write() as db:
        arrivals.unpacked(db, one.ref, package)
        arrivals.mark(db, one.ref, "reading")  # until it is deployed, where it was named champion
        graph.add(
            db, [Edge(f"environment:{package.environment}", "hosted", f"model:{one.ref}")], stations.clock()
        )
    chosen = _done(stations, one.ref)
    return {
        "ref": str(one.ref),
        "format": made.format,
        "flavor": package.flavor,
        "task": package.signature.task,
        "inputs": [field.name for field in package.signature.inputs],
        "compiled": package.compiled is not None,
        "proof": vars(package.proof),
        "deployed": chosen,
    }


def _done(stations: Stations, ref: Ref) -> bool:
    """Deploy a version that has its package now, if it was named champion meanwhile, and note that it was read."""

    def read(db: Connection) -> None:
        arrivals.mark(db, ref, "read")

    with stations.stores.ledger.write() as db:
        named = select(aliases.c.version).where(at(aliases, ref), aliases.c.alias == CHAMPION)
        chosen = db.scalar(named) == ref.at
        if not chosen:
            read(db)
    if chosen:
        try:
            by_hand.deploy(stations, ref, "it was named champion, and can be served now", also=read)
        except ModelworksError:  # it would be so every time
            with stations.stores.ledger.write() as db:
                read(db)
            raise
    return chosen


def _after_death(stations: Stations, one: Arrival) -> None:
    """What becomes of a version whose reader died: nothing more, unless it had read it and was only to deploy it."""
    try:
        version = stations.registry.get(one.ref)
    except NotFound:
        return
    if version.package.kept:
        _keep(stations, one.ref, _DIED)
        return
    with suppress(ModelworksError):
        _done(stations, one.ref)


def _write(stations: Stations, files: Mapping[str, str], folder: Path) -> None:
    """The files of a version in a folder; their names were checked when they came."""
    total = sum(stations.stores.artifacts.size(digest) for digest in files.values())
    if total > _BYTES:
        raise Invalid(
            f"its files have {total / 1024**3:.1f} GiB", f"the limit is {_BYTES / 1024**3:.0f} GiB", ""
        )
    for name, digest in files.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise Invalid(f"{name[:200]!r} lies outside of the folder", "", "log the model anew")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.writelines(stations.stores.artifacts.chunks(digest))


def _keep(stations: Stations, ref: Ref, reason: str) -> None:
    """Say why a version stays as it came."""
    try:
        package: Package = stations.registry.get(ref).package
    except NotFound:  # it was deleted, or renamed, while it was read
        return
    with stations.stores.ledger.write() as db:
        arrivals.unpacked(db, ref, package.because(reason[:1000]))
        arrivals.mark(db, ref, "kept")


def set_alias(stations: Stations, ref: Ref, alias: str) -> None:
    """Give a version a name. ``champion`` deploys it, at once or as soon as it can be served.

    Raises:
        NotFound: there is no such version.
        Invalid: it is no name, or ``latest``.
    """
    version = stations.registry.get(ref)
    if alias == LATEST:
        raise Invalid(
            "the alias 'latest' cannot be set", "it follows from what is registered", "choose another"
        )
    if alias != CHAMPION:
        with stations.stores.ledger.write() as db:
            stations.registry.set_alias(db, ref.name, ref.segment, alias, version.version)
        return
    try:
        by_hand.deploy(stations, version.ref, "it was named champion")
    except NotReady:
        row = {
            "model": ref.name,
            "segment": segment_text(ref.segment),
            "alias": alias,
            "version": version.version,
        }
        with stations.stores.ledger.write() as db:
            upsert(db, aliases, [{**row, "updated": stations.clock()}])
        if not stations.registry.get(version.ref).package.kept:  # it was read in this very moment
            by_hand.deploy(stations, version.ref, "it was named champion")
