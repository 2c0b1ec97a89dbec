"""MLflow's artifacts: files of runs, logged models and registered versions, by their paths.

A path is ``EXPERIMENT/RUN/artifacts/NAME``, ``EXPERIMENT/models/MODEL/artifacts/NAME`` or
``registry/NAME/VERSION/artifacts/NAME``; the first two are written to. What lies there is a name in the ledger
and a blob in the artifact store: no path ever becomes one of the file system.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, select

from modelworks.api.mlflow.calls import Door, Json, call
from modelworks.api.mlflow.runs import living
from modelworks.core.errors import Invalid, NotFound
from modelworks.core.ref import Ref
from modelworks.registry import arrivals
from modelworks.stores.ledger.tables import runs
from modelworks.track import book, logged
from modelworks.track.entry import Entry, check, check_field

_PLACES = re.compile(
    r"(?:\d+/(?P<run>[0-9a-f]{26,32})|\d+/models/(?P<model>m-[0-9a-f]{26})|registry/(?P<version>[^/]+/\d{1,9}))"
    r"/artifacts(?:/(?P<name>.*))?"
)


@dataclass(frozen=True)
class Place:
    """Where a file lies.

    Attributes:
        kind: What it belongs to.
        owner: The id of that; of a version ``NAME/VERSION``.
        name: Its name there; ``""`` for all of it.
    """

    kind: Literal["run", "model", "version"]
    owner: str
    name: str


def place(path: str) -> Place:
    """Read a path.

    Raises:
        Invalid: it is none.
    """
    clean = path.strip("/")
    found = _PLACES.fullmatch(clean)
    if found is None:
        raise Invalid(
            f"{path[:200]!r} is no place of artifacts", "it is not under a run or a model",
            "use the artifact_uri that the run or model says",
        )  # fmt: skip
    name = found["name"] or ""
    if name:
        _checked(name)
    for kind in ("run", "model", "version"):
        if found[kind]:
            return Place(kind, found[kind], name)
    raise AssertionError(path)


def _checked(name: str) -> str:
    """Return a name if it is one."""
    check_field(name)
    if any(part in ("", ".", "..") for part in name.split("/")) or "\\" in name:
        raise Invalid(f"{name[:200]!r} cannot name an artifact", "a part of the path is empty or dots", "")
    return name


def files(db: Connection, at: Place) -> Mapping[str, str]:
    """The files of a run, a logged model or a version: name to digest.

    Raises:
        NotFound: there is no such thing.
    """
    if at.kind == "model":
        found: Mapping[str, str] = logged.get(db, at.owner)["artifacts"]
        return found
    if at.kind == "version":
        name, _, version = at.owner.rpartition("/")
        ref = Ref.parse(name)
        return arrivals.get(db, Ref(ref.name, ref.segment, int(version))).files
    of_run: Mapping[str, str] | None = db.scalar(select(runs.c.artifacts).where(runs.c.id == at.owner))
    if of_run is None:
        raise NotFound(f"there is no run {at.owner}", "", "")
    return of_run


def under(found: Mapping[str, str], name: str) -> dict[str, str]:
    """The files in a folder, by their names from there."""
    if not name:
        return dict(found)
    folder = f"{name}/"
    return {one.removeprefix(folder): digest for one, digest in found.items() if one.startswith(folder)}


def put(door: Door, path: str, digest: str) -> None:
    """Enter a file whose content is in the store.

    Raises:
        Invalid: it cannot lie there.
        NotFound: there is no such run or model.
    """
    at = place(path)
    if not at.name:
        raise Invalid("a file has a name", f"{path[:200]!r} has none", "")
    _write(door, at, {at.name: digest})


def remove(door: Door, path: str) -> None:
    """Take a file, or a folder with all that is in it, away.

    Raises:
        NotFound: there is none.
    """
    at = place(path)
    with door.stores.ledger.read() as db:
        found = files(db, at)
    gone: dict[str, str | None] = {
        name: None for name in found if not at.name or name == at.name or name.startswith(f"{at.name}/")
    }
    if not gone:
        raise NotFound(f"there is nothing at {path[:200]!r}", "", "")
    _write(door, at, gone)


def _write(door: Door, at: Place, changed: Mapping[str, str | None]) -> None:
    if at.kind == "version":
        raise Invalid("a registered version is not changed", "", "register another one")
    now = door.now()
    with door.stores.ledger.write() as db:
        if at.kind == "model":
            logged.keep(db, at.owner, changed, now)
            return
        living(db, at.owner)
        entry = Entry(at.owner, round(now.timestamp() * 1e6), artifacts=dict(changed))
        check(entry)
        book.enter(db, [entry])


def digest_at(door: Door, path: str) -> str:
    """The digest of the file at a path.

    Raises:
        NotFound: there is none.
    """
    at = place(path)
    with door.stores.ledger.read() as db:
        found = files(db, at).get(at.name)
    if found is None:
        raise NotFound(f"there is no file {path[:200]!r}", "", "")
    return found


def listed(door: Door, found: Mapping[str, str], folder: str, prefix: str = "") -> list[Json]:
    """The files and folders right in a folder; of a file, nothing.

    Args:
        door: The door.
        found: All files: name to digest.
        folder: The folder.
        prefix: What is put before the names.
    """
    told: dict[str, Json] = {}
    for name, digest in under(found, folder).items():
        first, deeper, _ = name.partition("/")
        if deeper:
            told[first] = {"path": prefix + first, "is_dir": True}
        else:
            told[first] = {
                "path": prefix + first,
                "is_dir": False,
                "file_size": door.stores.artifacts.size(digest),
            }
    return [told[name] for name in sorted(told)]


@call("GET", "mlflow-artifacts/artifacts")
def list_at(door: Door, path: str = "") -> Json:
    """What lies right in a folder, by a path."""
    at = place(path)
    with door.stores.ledger.read() as db:
        found = files(db, at)
    return {"files": listed(door, found, at.name)}


@call("GET", "mlflow/artifacts/list")
def list_of_run(
    door: Door, run_id: str = "", run_uuid: str = "", path: str = "", page_token: str = ""
) -> Json:
    """What lies right in a folder of a run."""
    run, folder = run_id or run_uuid, path.strip("/")
    with door.stores.ledger.read() as db:
        found = files(db, Place("run", run, ""))
    if folder:
        _checked(folder)
    return {
        "root_uri": f"mlflow-artifacts:/0/{run}/artifacts",
        "files": listed(door, found, folder, f"{folder}/" if folder else ""),
    }


@call("GET", "mlflow/logged-models/{model_id}/artifacts/directories")
def list_of_model(door: Door, model_id: str, artifact_directory_path: str = "", page_token: str = "") -> Json:
    """What lies right in a folder of a logged model."""
    folder = artifact_directory_path.strip("/")
    if folder:
        _checked(folder)
    with door.stores.ledger.read() as db:
        row = logged.get(db, model_id)
    return {
        "root_uri": f"mlflow-artifacts:/{row['experiment']}/models/{model_id}/artifacts",
        "files": listed(door, row["artifacts"], folder, f"{folder}/" if folder else ""),
    }
