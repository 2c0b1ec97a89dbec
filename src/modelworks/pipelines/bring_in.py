"""Bring in a model that was made elsewhere: read, package, prove, register."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import file_digest, sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert

from modelworks.core.clock import new_id
from modelworks.core.errors import Invalid, ModelworksError, NotFound
from modelworks.core.plain import to_json
from modelworks.core.ref import check_name
from modelworks.lineage import graph
from modelworks.lineage.edge import Edge
from modelworks.models import formats, packaging
from modelworks.models.layout import to_batch
from modelworks.models.package import Package, Proof
from modelworks.pipelines.context import Stations
from modelworks.registry.model_version import Draft
from modelworks.stores.ledger.tables import runs
from modelworks.track.lock import environment

if TYPE_CHECKING:
    import pandas as pd

_ROWS = 10_000
"""Of an example, at most."""
_UNPROVEN = "no rows came with the model to prove a compiled form on: give some with --example"


def bring_in(
    stations: Stations, path: Path, name: str | None = None, trust: bool = False, example: Path | None = None
) -> dict[str, Any]:
    """Make a version of a model's file or folder; nothing is deployed.

    Args:
        stations: The belt.
        path: See `formats.read`.
        name: Of the model; that of the file by default.
        trust: See `formats.read`.
        example: A Parquet, CSV or JSON file with rows that the model can answer: they prove its compiled form.

    Raises:
        NotFound: there is no such file.
        Invalid: it cannot be read, or not be served.
        Denied: it needs trust.
    """
    started = stations.clock()
    name = check_name(name or path.resolve().name.split(".")[0], "model name")
    origin = {"file": path.name, "sha256": _digest(path)}
    made = packaged(stations, path, trust, example, origin)
    package = made.package
    run = new_id()
    with stations.stores.ledger.write() as db:
        db.execute(
            insert(runs).values(
                id=run, name=name, segment="", kind="import", status="done", params={}, metrics={},
                tags={"format": made.format, "file": path.name}, artifacts={"origin.json": package.code},
                started=started, ended=stations.clock(),
            )
        )  # fmt: skip
        (version,) = stations.registry.register_many(db, [Draft(name, (), run, package, {})])
        edges = [
            Edge(f"file:{path.name}#{origin['sha256']}", "imported", f"run:{run}"),
            Edge(f"environment:{package.environment}", "hosted", f"run:{run}"),
        ]
        graph.add(db, edges, stations.clock())
    return {
        "ref": str(version.ref),
        "format": made.format,
        "flavor": package.flavor,
        "task": package.signature.task,
        "inputs": [one.name for one in package.signature.inputs],
        "compiled": package.compiled is not None,
        "proof": vars(package.proof),
    }


@dataclass(frozen=True)
class Packaged:
    """A model that was made elsewhere, packaged.

    Attributes:
        package: It.
        format: In what form it came, for people.
    """

    package: Package
    format: str


def packaged(
    stations: Stations, path: Path, trust: bool, example: Path | None, origin: Mapping[str, Any]
) -> Packaged:
    """Read a model, package it, and prove its compiled form where there are rows to prove it on.

    Args:
        stations: The belt.
        path: See `formats.read`.
        trust: See `formats.read`.
        example: See `bring_in`.
        origin: Where it comes from.

    Raises:
        NotFound: there is no such file.
        Invalid: it cannot be read, or not be served.
        Denied: it needs trust.
    """
    found = formats.read(path, trust)
    rows = found.example if example is None else _rows(example, found)
    takes = formats.signature_of(found, rows)
    artifacts = stations.stores.artifacts
    made_with, content = environment()
    artifacts.put(content)
    code = artifacts.put(to_json({"format": found.format, **origin, "trusted": trust}, indent=True))
    if rows is None:
        made, proof = None, Proof(0, None, packaging.TOLERANCE, _UNPROVEN)
    else:
        asked = packaging.answered(found.model, takes, to_batch(rows, takes))
        made, proof = packaging.proven(found.model, takes, asked)
    package = packaging.stored(
        found.model, takes, made, proof, artifacts, code=code, environment=made_with, reference=None
    )
    return Packaged(package, found.format)


def _digest(path: Path) -> str:
    """Of a file's content; of a folder's, with the names of its files."""
    if path.is_file():
        with path.open("rb") as file:
            return _hashed(file)
    whole = sha256()
    for one in sorted(path.rglob("*")):
        if one.is_file():
            with one.open("rb") as file:
                whole.update(f"{one.relative_to(path)} {_hashed(file)}\n".encode())
    return whole.hexdigest()


def _hashed(file: Any) -> str:
    return file_digest(file, "sha256").hexdigest()


def _rows(path: Path, found: formats.Read) -> pd.DataFrame:
    """The rows of an example, the columns that the model takes.

    Raises:
        NotFound: there is no such file.
        Invalid: it cannot be read.
    """
    import pandas as pd

    readers: dict[str, Any] = {
        ".parquet": pd.read_parquet, ".csv": lambda file: pd.read_csv(file, nrows=_ROWS), ".json": pd.read_json,
    }  # fmt: skip
    if not path.is_file():
        raise NotFound(f"there is no file {path}", "", "name a file of rows")
    try:
        frame: pd.DataFrame = readers[path.suffix.lower()](path).head(_ROWS)
    except ModelworksError:
        raise
    except Exception as error:
        raise Invalid(
            f"the rows of {path.name} cannot be read", f"{type(error).__name__}: {error}",
            "give a .parquet, .csv or .json file",
        ) from error  # fmt: skip
    inputs = [one.name for one in formats.inputs_of(found) or ()]
    if inputs and set(inputs) <= set(frame.columns):
        frame = frame[inputs].copy()
    for name in frame.columns:
        if frame[name].dtype.kind not in "fiub":
            frame[name] = frame[name].astype(object)
    return frame
