"""`modelworks up`: the server, and beside it a worker that moves the log and turns the loop."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from modelworks.api import logs
from modelworks.api.app import create_app
from modelworks.api.guard import Guard
from modelworks.api.mlflow.app import MlflowApp, mounted
from modelworks.api.probes import predictions_only
from modelworks.core.duration import duration
from modelworks.core.errors import Invalid, ModelworksError
from modelworks.data.version import IngestReport
from modelworks.factory import Factory
from modelworks.serving import server
from modelworks.serving.about import Traces
from modelworks.serving.limits import Limits


def up(
    factory: Factory,
    *,
    host: str | None = None,
    port: int | None = None,
    worker: bool = True,
    only_predict: bool = False,
    open: bool = False,
    ready: Callable[[int], None] = lambda _port: None,
) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        factory: What to serve.
        host: Address; the setting by default.
        port: Port; the setting by default, 0 lets the system choose.
        worker: Whether to run the worker beside it.
        only_predict: Answer predictions, outcomes, probes and metrics, and nothing by which anything is changed.
        open: With `only_predict`: listen anywhere without a token, as long as there is none.
        ready: Called with the port when connections are accepted.

    Raises:
        Invalid: it would listen beyond loopback without a token; or everything would be open.
        Unavailable: the port is taken.
    """
    settings = factory.config.settings
    host = host or settings.server_host
    if open and not only_predict:
        raise Invalid(
            "usage: a factory is never open to everybody", "", "say --only-predict as well, or make a token"
        )
    # What is open is guarded as on this machine alone: as soon as there is a token, it is asked for.
    guard = Guard(factory.stores.ledger, "localhost" if open else host, settings.server_token)
    logs.configure(settings.server_log)
    if settings.server_native not in ("processes", "threads"):
        raise Invalid(
            f"server.native cannot be {settings.server_native!r}", "", "set it to 'processes' or 'threads'"
        )
    if settings.server_native == "processes":
        factory.stations.serve.apart(settings.server_worker_memory, factory.config.state / "environments")
    plane = factory.stations.serve.plane
    if settings.server_traces:
        plane.traces = Traces(settings.server_traces, settings.server_trace_share)
    if only_predict:
        app = predictions_only(plane, guard)
    else:
        app = mounted(create_app(factory, guard), MlflowApp(factory, guard))
    helper = _Worker(str(factory.config.root)) if worker else None
    try:
        server.run(
            app,
            plane,
            host=host,
            port=settings.server_port if port is None else port,
            poll=settings.serve_poll,
            limits=Limits(
                file=settings.server_max_artifact,
                wait=settings.server_max_wait,
                connections=settings.server_max_connections,
                streams=settings.server_max_streams,
                drain=settings.server_drain,
                latency=settings.server_batch_latency / 1000,
            ),
            authorize=guard.predict,
            grpc_port=settings.server_grpc_port or None,
            ready=ready,
            settle=guard.settle,
        )
    finally:
        if helper is not None:
            helper.stop()


class _Worker:
    """The worker process, started again when it dies."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep, name="worker-keeper", daemon=True)
        self._thread.start()

    def _keep(self) -> None:
        wait = 0.5
        while not self._stopping.is_set():
            started = time.monotonic()
            # Its standard input closes when this process ends, however it ends: that is how it knows.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "modelworks.cli", "--project", self._root, "worker"],
                stdin=subprocess.PIPE,
            )
            self._process.wait()
            wait = 0.5 if time.monotonic() - started > 60 else min(wait * 2, 30)
            self._stopping.wait(wait)

    def stop(self) -> None:
        """End it, and do not start it again."""
        self._stopping.set()
        if self._process is not None:
            self._process.terminate()
        self._thread.join(10)


def _follow(factory: Factory, dataset: str, stop: threading.Event) -> None:
    """Take in what comes of a stream; a line when it stops coming, and one when it comes again."""
    failing = False

    def hear(told: IngestReport | ModelworksError) -> None:
        nonlocal failing
        if isinstance(told, ModelworksError) and not failing:
            print(f"worker: {told}", file=sys.stderr, flush=True)
        elif failing and not isinstance(told, ModelworksError):
            print(f"worker: {dataset} comes in again", file=sys.stderr, flush=True)
        failing = isinstance(told, ModelworksError)

    factory.follow(dataset, stop, hear)


def work(factory: Factory) -> None:
    """Take in streams; every second move the log into the tables, and rollouts on; turn the loop as the settings say.

    Ends when its standard input closes: the server that started it is gone.
    """
    gone = threading.Event()

    def watch() -> None:
        while os.read(0, 4096):
            pass
        gone.set()

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
    for name in factory.streams():
        threading.Thread(
            target=_follow, args=(factory, name, gone), name=f"follow-{name}", daemon=True
        ).start()
    every = duration(factory.config.settings.monitor_every).total_seconds()
    due = time.monotonic() + every
    while not gone.wait(1.0):
        try:
            factory.drain()
            factory.roll()
            factory.read_arrivals()
            if time.monotonic() >= due:
                due = time.monotonic() + every
                factory.apply()
                factory.tidy()
        except ModelworksError as error:
            print(f"worker: {error}", file=sys.stderr, flush=True)
