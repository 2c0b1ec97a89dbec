"""A ledger with real packed models, and a real server process on it: the ground of the serving tests."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sqlalchemy import func, insert, select

from modelworks.core.clock import new_id, system_clock
from modelworks.core.measure import Reference
from modelworks.core.ref import Segment, segment_text
from modelworks.core.schema import Field, Kind
from modelworks.core.seen import Seen
from modelworks.deploy.deployment import Promotion
from modelworks.deploy.station import DeployStation
from modelworks.models.layout import to_batch
from modelworks.models.packaging import pack
from modelworks.models.signature import Signature
from modelworks.models.signature_of import signature
from modelworks.stores import Stores, open_stores
from modelworks.stores.ledger.tables import datasets, model_versions, models

NUMBERS = ["distance", "wind"]
FEATURES = [*NUMBERS, "plane"]
ROW = {"carrier": "UA", "origin": "EWR", "distance": 700.0, "wind": 12.5, "plane": "B737"}
CONTRACT = (
    Field("flight", Kind.TEXT),
    Field("departs", Kind.TIME),
    Field("carrier", Kind.TEXT),
    Field("origin", Kind.TEXT),
    Field("distance", Kind.NUMBER),
    Field("wind", Kind.NUMBER, nullable=True),
    Field("plane", Kind.TEXT),
)


def frame(rows: int = 200, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray[Any, Any]]:
    """Flights, and whether they were late."""
    rng = np.random.default_rng(seed)
    wind = rng.gamma(2, 8, rows)
    wind[::9] = np.nan
    x = pd.DataFrame(
        {"distance": rng.uniform(100, 3000, rows), "wind": wind, "plane": rng.choice(["B737", "A320"], rows)}
    )
    y = (np.nan_to_num(wind, nan=15) + rng.normal(0, 5, rows) > 15).astype(int)
    return x, y


def fit(seed: int = 0, labels: Sequence[Any] = (0, 1)) -> tuple[Any, pd.DataFrame, np.ndarray[Any, Any]]:
    """A pipeline with its rows and targets."""
    x, y = frame(seed=seed)
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    texts = OneHotEncoder(handle_unknown="ignore")
    columns = make_column_transformer((numbers, NUMBERS), (texts, ["plane"]))
    target = np.array(labels)[y if len(labels) == 2 else np.arange(len(y)) % len(labels)]
    return make_pipeline(columns, LogisticRegression()).fit(x, target), x, target


def fit_numbers(seed: int = 0, regression: bool = False) -> tuple[Any, pd.DataFrame, np.ndarray[Any, Any]]:
    """A model of ten numbers without an imputer."""
    rng = np.random.default_rng(seed)
    x = pd.DataFrame(rng.normal(size=(300, 10)), columns=[f"x{n}" for n in range(10)])
    y = x.sum(axis=1).to_numpy() + rng.normal(size=300)
    if regression:
        return LinearRegression().fit(x, y), x, y
    target = (y > 0).astype(int)
    return LogisticRegression().fit(x, target), x, target


def declare(
    stores: Stores,
    name: str,
    features: Sequence[str],
    per: Sequence[str] = (),
    dataset: str | None = None,
    definition: Mapping[str, Any] | None = None,
    contract: Sequence[Field] = CONTRACT,
) -> None:
    """Enter a model, and its dataset where it has one, in the ledger."""
    now = system_clock()
    with stores.ledger.write() as db:
        if dataset is not None:
            db.execute(
                insert(datasets).values(
                    name=dataset,
                    key="flight",
                    time="departs",
                    updated=now,
                    contract=[one.to_json() for one in contract],
                )
            )
        db.execute(
            insert(models).values(
                name=name,
                dataset=dataset,
                target="late",
                features=list(features),
                per=list(per),
                definition=dict(definition or {}),
                code="",
                updated=now,
            )
        )


def register(
    stores: Stores,
    name: str,
    segment: Segment,
    fitted: tuple[Any, pd.DataFrame, Any],
    guarded: bool = False,
) -> int:
    """Pack a model as the next version of a segment; with what its training saw, where it is to be guarded."""
    model, x, y = fitted
    takes = signature(x, y, list(x.columns), model)
    package = pack(
        model,
        takes,
        x.head(50),
        stores.artifacts,
        code="",
        environment="",
        reference=seen(x, takes) if guarded else None,
    )
    key = (model_versions.c.model == name, model_versions.c.segment == segment_text(segment))
    with stores.ledger.write() as db:
        version = (db.scalar(select(func.max(model_versions.c.version)).where(*key)) or 0) + 1
        db.execute(
            insert(model_versions).values(
                model=name,
                segment=segment_text(segment),
                version=version,
                run=new_id(),
                package=package.to_json(),
                metrics={},
                rows_filter={},
                created=system_clock(),
            )
        )
    return version


def seen(x: pd.DataFrame, takes: Signature) -> bytes:
    """The reference of rows that were learned from."""
    columns = {name: x[name].to_numpy() for name in x.columns}
    built = Reference.build(to_batch(x, takes), np.zeros(len(x)), probabilities=True)
    return replace(built, seen=Seen.of(columns, takes.numbers, takes.texts)).to_bytes()


def promote(stores: Stores, name: str, segment: Segment, version: int) -> None:
    """Make a version the champion."""
    with stores.ledger.write() as db:
        DeployStation(stores.ledger, system_clock).promote_many(
            db, [Promotion(name, segment, version, "test")]
        )


def deploy(
    stores: Stores,
    name: str,
    segment: Segment,
    fitted: tuple[Any, pd.DataFrame, Any],
    guarded: bool = False,
) -> int:
    """Register and promote."""
    version = register(stores, name, segment, fitted, guarded)
    promote(stores, name, segment, version)
    return version


def make_world(root: Path) -> Stores:
    """`delay` by carrier and origin, `score` of ten numbers, `price` a regression, `kind` of 3 classes."""
    stores = open_stores(root)
    declare(stores, "delay", FEATURES, ["carrier", "origin"], "flights")
    for seed, segment in enumerate([(), ("UA",), ("UA", "EWR"), ("AA", "JFK")]):
        deploy(stores, "delay", segment, fit(seed))
    declare(stores, "score", [f"x{n}" for n in range(10)])
    deploy(stores, "score", (), fit_numbers())
    declare(stores, "price", [f"x{n}" for n in range(10)])
    deploy(stores, "price", (), fit_numbers(regression=True))
    declare(stores, "kind", FEATURES)
    deploy(stores, "kind", (), fit(labels=["early", "on time", "late"]))
    declare(stores, "planned", FEATURES)
    return stores


def server_command(state: Path, **settings: Any) -> list[str]:
    """The command of a server process."""
    return [
        sys.executable,
        str(Path(__file__).with_name("serve_process.py")),
        str(state),
        json.dumps(settings),
    ]


@contextmanager
def server_process(state: Path, **settings: Any) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A server in a process of its own, and its port; ended (if it still lives) with SIGTERM."""
    process = subprocess.Popen(
        server_command(state, **settings),
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "default"},
    )
    try:
        assert process.stdout is not None
        yield process, int(process.stdout.readline().split()[1])
    finally:
        process.terminate()
        process.wait(20)
        assert process.stdout is not None
        process.stdout.close()


class Servers:
    """Servers one after another, each a process to be killed."""

    def __init__(self, state: Path) -> None:
        self._parent = subprocess.Popen(
            server_command(state, fork=True), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def _line(self) -> str:
        assert self._parent.stdout is not None
        return self._parent.stdout.readline()

    def start(self) -> tuple[int, int]:
        """Process id and port of a new server."""
        assert self._parent.stdin is not None
        self._parent.stdin.write("start\n")
        self._parent.stdin.flush()
        process, port = self._line().split()
        return int(process), int(port)

    def kill(self, process: int) -> None:
        """SIGKILL, and wait until it is gone."""
        os.kill(process, signal.SIGKILL)
        assert self._line() == "ended\n"

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, *_error: object) -> None:
        self._parent.communicate(timeout=20)


def client(port: int) -> httpx.Client:
    """An HTTP client of a server."""
    return httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


class Wire:
    """A raw connection; with a buffer of so many bytes on either side, where that is given."""

    def __init__(self, port: int, buffer: int = 0) -> None:
        self.socket = socket.socket()
        if buffer:  # the system's own may hold tens of megabytes
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        self.socket.settimeout(20)
        self.socket.connect(("127.0.0.1", port))
        self.file = self.socket.makefile("rb")

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        self.file.close()
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def head(self) -> tuple[int, dict[str, str]]:
        status = self.file.readline()
        assert status.startswith(b"HTTP/1.1 "), status
        headers = {}
        while (line := self.file.readline().strip()) != b"":
            name, value = line.decode().split(": ", 1)
            headers[name.lower()] = value
        return int(status.split()[1]), headers

    def answer(self) -> tuple[int, dict[str, str], Any]:
        status, headers = self.head()
        body = self.file.read(int(headers.get("content-length", 0)))
        return status, headers, json.loads(body) if body else None

    def ended(self) -> bool:
        return self.file.read(1) == b""
