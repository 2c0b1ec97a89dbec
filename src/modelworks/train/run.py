"""A run recorded by hand: parameters, metrics, artifacts, a model; one row of the ledger when it ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import Connection, insert, update

from modelworks.core.clock import Clock, new_id, system_clock
from modelworks.core.errors import Conflict, Invalid
from modelworks.core.plain import plain, to_json
from modelworks.core.ref import Ref, check_name
from modelworks.models import packaging
from modelworks.models.signature_of import signature
from modelworks.registry.model_version import Draft, ModelVersion
from modelworks.registry.station import RegistryStation
from modelworks.stores import Stores
from modelworks.stores.ledger.tables import runs
from modelworks.train.environment import environment

if TYPE_CHECKING:
    import pandas as pd


class Run:
    """What is recorded of one execution; made by `run`.

    Attributes:
        id: Its id in the ledger.
        name: Its name; many runs may share one.
    """

    def __init__(self, name: str, stores: Stores, registry: RegistryStation, started: datetime) -> None:
        self.id = new_id()
        self.name = check_name(name, "run name")
        self._stores = stores
        self._registry = registry
        self._started = started
        self._params: dict[str, Any] = {}
        self._metrics: dict[str, float | None] = {}
        self._steps: dict[str, list[tuple[int, float | None]]] = {}
        self._tags: dict[str, str] = {}
        self._artifacts: dict[str, str] = {}
        self._logged: Ref | None = None
        self._written = False

    def log_params(self, params: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Record parameters; one given again takes the new value."""
        self._params.update(plain({**(params or {}), **more}))

    def log_metrics(
        self, metrics: Mapping[str, float] | None = None, /, *, step: int | None = None, **more: float
    ) -> None:
        """Record metrics: the last value of each; with `step` also their course, as ``metrics.json``.

        Raises:
            Invalid: a value is not a number.
        """
        for name, given in {**(metrics or {}), **more}.items():
            try:
                number = float(given)
            except (TypeError, ValueError):
                raise Invalid(f"metric {name!r} is not a number", f"got {given!r}", "give a number") from None
            value = number if np.isfinite(number) else None
            self._metrics[name] = value
            if step is not None:
                self._steps.setdefault(name, []).append((step, value))

    def log_tags(self, tags: Mapping[str, str] | None = None, /, **more: str) -> None:
        """Record short texts by which runs are found again."""
        self._tags.update({name: str(value) for name, value in {**(tags or {}), **more}.items()})

    def log_artifact(self, content: bytes | str | Path, name: str | None = None) -> str:
        """Store a file or bytes.

        Args:
            content: Bytes, or the path of a file.
            name: Name within the run; the file's by default.

        Returns:
            Its digest.

        Raises:
            Invalid: bytes without a name.
        """
        if isinstance(content, bytes):
            if name is None:
                raise Invalid("an artifact of bytes has no name", "", "give one with name=")
            digest = self._stores.artifacts.put(content)
        else:
            digest = self._stores.artifacts.put(Path(content).read_bytes())
        self._artifacts[name or Path(str(content)).name] = digest
        return digest

    def log_model(self, model: Any, name: str, example: pd.DataFrame, y: Any = None) -> ModelVersion:
        """Package a fitted model, prove its compiled form on `example`, and register it as a new version.

        The version stands in the ledger at once, together with what the run has recorded so far.

        Args:
            model: A fitted model of one of the flavors.
            name: Name of the model.
            example: Rows as the model takes them; the more, and the more like real ones, the more the proof
                is worth.
            y: Their targets, if they are at hand: the labels of a model that does not know them itself.

        Raises:
            Conflict: the run has made a version already.
            Invalid: the model cannot be packaged.
        """
        if self._logged is not None:
            raise Conflict(
                f"run {self.name!r} has logged a model already",
                f"it is {self._logged}",
                "start a run for each model",
            )
        targets = None if y is None else np.asarray(y)
        takes = signature(example, targets, tuple(map(str, example.columns)), model)
        digest, content = environment()
        artifacts = self._stores.artifacts
        artifacts.put(content)
        code = artifacts.put(f"logged by run {self.name}\n".encode())
        package = packaging.pack(
            model, takes, example, artifacts, code=code, environment=digest, reference=None
        )
        with self._stores.ledger.write() as db:
            self._write(db, "running", None, None)
            draft = Draft(name, (), self.id, package, dict(self._metrics))
            version = self._registry.register_many(db, [draft])[0]
        self._logged = version.ref
        return version

    def _write(self, db: Connection, status: str, error: str | None, ended: datetime | None) -> None:
        if self._steps:
            self._artifacts["metrics.json"] = self._stores.artifacts.put(to_json(self._steps))
        row = {
            "status": status,
            "params": self._params,
            "metrics": self._metrics,
            "tags": self._tags,
            "artifacts": self._artifacts,
            "error": error,
            "ended": ended,
        }
        if self._written:
            db.execute(update(runs).where(runs.c.id == self.id).values(row))
        else:
            born = {
                "id": self.id,
                "name": self.name,
                "segment": "",
                "kind": "experiment",
                "started": self._started,
            }
            db.execute(insert(runs).values({**row, **born}))
        self._written = True


@contextmanager
def run(name: str, stores: Stores, registry: RegistryStation, clock: Clock = system_clock) -> Iterator[Run]:
    """Record what happens in a ``with`` block as a run.

    Nothing is written until the block ends (or a model is logged): a call inside it costs microseconds. A
    block that raises, or is interrupted, is recorded as failed with its last line.

    Raises:
        Invalid: `name` cannot name a run.
    """
    current = Run(name, stores, registry, clock())
    status, error = "failed", None
    try:
        yield current
        status = "done"
    except BaseException as raised:
        error = f"{type(raised).__name__}: {raised}".rstrip(": ")
        raise
    finally:
        with stores.ledger.write() as db:
            current._write(db, status, error, clock())
