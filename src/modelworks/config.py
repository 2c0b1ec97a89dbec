"""Settings: defaults, then ``modelworks.toml``, then ``MODELWORKS_*``; each remembers where it came from."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

from modelworks.core.errors import Invalid, NotFound

FILE = "modelworks.toml"
STATE = ".modelworks"


@dataclass(frozen=True)
class Settings:
    """What can be set; a name ``a_b`` is ``b`` in the section ``[a]`` of the TOML and ``MODELWORKS_A_B``.

    Attributes:
        ledger_url: SQLAlchemy URL; empty for SQLite in the project's state folder.
        ledger_lease: How long a process may be silent before another one goes on with its work, for instance ``"60s"``;
            one that dies is noticed at once.
        tables_url: Folder or ``s3://bucket/prefix`` of the Delta tables; empty for the state folder.
        artifacts_url: Folder of the artifacts; empty for the state folder.
        server_host: Address to listen on.
        server_port: Port to listen on; 0 lets the system choose.
        server_workers: Server processes on that port; 0 for one a core.
        server_token: Token that callers must send; needed to listen beyond loopback.
        server_model_memory: Bytes that loaded models may take together: those that were not used for longest make
            room, and are loaded again when they are asked; 0 for any.
        server_max_body: Largest request body, or message of gRPC, bytes.
        server_max_wait: Seconds that a request for a prediction may have to wait: when there is more to do than that,
            the newest are told at once to come again (503).
        server_max_connections: How many connections there may be at once; further ones are told to come again.
        server_max_streams: How many answers there may be at once that are given piece by piece; further ones are told
            to come again.
        server_drain: Seconds for which a server that is told to end goes on answering, each connection once more.
        server_log: Form of the server's log on standard error: ``"text"``, or ``"json"``, an object a line, and one for
            each request but predictions.
        server_traces: Collector of OpenTelemetry that is told of requests, for instance ``"http://127.0.0.1:4318"``;
            empty for none.
        server_trace_share: Share of the requests that begin a trace; those that come with one follow it.
        server_native: Where models are answered that are not compiled: in ``"processes"`` of their own, or in
            ``"threads"`` of the server.
        server_worker_memory: Bytes that one of these processes may have before it is started again; 0 for half of the
            machine's.
        server_batch_latency: Milliseconds that a batch of requests to such models may take.
        server_grpc_port: Port of the Open Inference Protocol over gRPC, for instance 8001; 0 for none.
        server_log_sync: ``"fsync"`` has answers and outcomes on the disk before they are acknowledged, one flush for
            all that came together, so that they survive a power loss; ``"none"`` leaves that to the operating
            system, so that they survive the death of the server.
        server_max_artifact: Largest file that a client of MLflow may send, bytes.
        server_pickles: ``"accept"`` lets the server take models as pickles from runs elsewhere: reading one runs
            whatever its sender put in.
        train_workers: Workers that train; 0 for one a core.
        train_executor: Where they work: ``"processes"`` of this machine, ``"ray"``, or ``"inline"``, in this process.
        train_ray_address: Where a Ray cluster answers; empty for one of this machine, started when it is needed.
        train_retries: How often a segment is begun again whose worker died, or whose fit failed for a passing reason.
        train_limit: How long a segment may take, for instance ``"10m"``; empty for as long as it needs.
        serve_poll: Seconds between two looks at the ledger for new champions.
        lineage_to: File or URL that is told of the lineage as OpenLineage events, as it happens; empty for nobody.
        lineage_namespace: Namespace of these events.
        lineage_token: Bearer token for that URL.
        alerts_webhook: URL that is told of alerts as JSON.
        alerts_secret: Signs what is sent there.
        alerts_slack: Incoming webhook of Slack, or of what takes the same, that is told of alerts.
        alerts_email: Addresses that are told of alerts, separated by commas.
        alerts_smtp: Server for e-mail: ``smtp://USER:PASSWORD@HOST:PORT``, or ``smtps://...``.
        alerts_sender: Address of the sender; the first receiver's by default.
        alerts_least: The least severity that is told: ``"info"``, ``"warning"`` or ``"critical"``.
        learn_trainings: Trainings of segments that the policies of all models together may begin in a day (UTC); 0 for
            any.
        learn_minutes: Minutes of workers that they may take in a day; 0 for any.
        value_cpu_hour: What an hour of a processor costs, in the unit of the models' values.
        monitor_every: How often the factory monitors and decides about retraining, for instance ``"1h"``.
    """

    ledger_url: str = ""
    ledger_lease: str = "60s"
    tables_url: str = ""
    artifacts_url: str = ""
    server_host: str = "127.0.0.1"
    server_port: int = 8000
    server_workers: int = 1
    server_token: str = ""
    server_max_body: int = 16 * 1024 * 1024
    server_model_memory: int = 0
    server_max_wait: float = 0.5
    server_max_connections: int = 10_000
    server_max_streams: int = 64
    server_drain: float = 1.0
    server_log: str = "text"
    server_traces: str = ""
    server_trace_share: float = 0.01
    server_native: str = "processes"
    server_worker_memory: int = 0
    server_batch_latency: float = 50.0
    server_grpc_port: int = 0
    server_log_sync: str = "none"
    server_max_artifact: int = 2 * 1024**3
    server_pickles: str = "refuse"
    train_workers: int = 0
    train_executor: str = "processes"
    train_ray_address: str = ""
    train_retries: int = 1
    train_limit: str = ""
    serve_poll: float = 0.5
    lineage_to: str = ""
    lineage_namespace: str = "modelworks"
    lineage_token: str = ""
    alerts_webhook: str = ""
    alerts_secret: str = ""
    alerts_slack: str = ""
    alerts_email: str = ""
    alerts_smtp: str = "smtp://localhost:25"
    alerts_sender: str = ""
    alerts_least: str = "warning"
    learn_trainings: int = 0
    learn_minutes: float = 0.0
    value_cpu_hour: float = 0.05
    monitor_every: str = "1h"


@dataclass(frozen=True)
class Config:
    """The settings of one project.

    Attributes:
        root: The project's folder.
        settings: The values.
        sources: Where each value came from: ``default``, a file, or an environment variable.
    """

    root: Path
    settings: Settings
    sources: Mapping[str, str]

    @property
    def state(self) -> Path:
        """Folder of the embedded state."""
        return self.root / STATE


def find_root(start: Path) -> Path:
    """The nearest folder, from `start` upward, that holds ``factory.py``, ``modelworks.toml`` or a state.

    Raises:
        NotFound: none does; the message lists the folders that were searched.
    """
    start = start.resolve()
    looked = [start, *start.parents]
    for folder in looked:
        if (folder / "factory.py").is_file() or (folder / FILE).is_file() or (folder / STATE).is_dir():
            return folder
    raise NotFound(
        f"there is no Modelworks project in {start}",
        f"looked for factory.py, {FILE} or {STATE} in " + ", ".join(str(folder) for folder in looked),
        "run 'modelworks init' to make one here, or name its folder with --project",
    )


def load(root: Path, environ: Mapping[str, str] = os.environ) -> Config:
    """Read the settings of the project in `root`.

    Raises:
        Invalid: a file that is not TOML, an unknown setting, a value of the wrong type.
    """
    path = root / FILE
    values: dict[str, Any] = {}
    sources = {field.name: "default" for field in fields(Settings)}
    if path.is_file():
        try:
            document = tomllib.loads(path.read_text())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise Invalid(f"{path} is not valid TOML", str(error), "mend the line it names") from error
        for section, entries in document.items():
            if not isinstance(entries, dict):
                raise _unknown(section, str(path))
            for key, value in entries.items():
                name = f"{section}_{key}"
                if name not in sources:
                    raise _unknown(f"[{section}] {key}", str(path))
                values[name], sources[name] = value, str(path)
    types = get_type_hints(Settings)
    for name in sources:
        variable = f"MODELWORKS_{name.upper()}"
        if variable in environ:
            values[name], sources[name] = environ[variable], variable
        if name in values:
            values[name] = _typed(name, values[name], types[name], sources[name])
    return Config(root.resolve(), Settings(**values), sources)


def _typed(name: str, value: Any, kind: type, source: str) -> Any:
    """`value` as the setting's type; text from the environment is read, a TOML value must fit."""
    try:
        if isinstance(value, bool) or (kind is str and not isinstance(value, str)):
            raise TypeError
        typed = kind(value)
        if not isinstance(value, str) and typed != value:
            raise ValueError
        return typed
    except (TypeError, ValueError):
        raise Invalid(
            f"the setting {name} must be {'a number' if kind is not str else 'text'}",
            f"{source} has {value!r}",
            "correct it there",
        ) from None


def _unknown(name: str, source: str) -> Invalid:
    known = ", ".join(field.name.replace("_", ".", 1) for field in fields(Settings))
    return Invalid(f"there is no setting {name}", f"it stands in {source}", f"use one of {known}")
