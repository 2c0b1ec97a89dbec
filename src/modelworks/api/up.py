"""`modelworks up`: one server process or several, and beside them a worker that moves the log and turns the loop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from modelworks.api import logs, processes
from modelworks.api.guard import guard_of
from modelworks.api.kept import Kept, outlived
from modelworks.core.duration import duration
from modelworks.core.errors import Invalid, ModelworksError
from modelworks.data.version import IngestReport
from modelworks.factory import Factory


def up(
    factory: Factory,
    *,
    host: str | None = None,
    port: int | None = None,
    workers: int | None = None,
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
        workers: Server processes on that port; the setting by default, 0 for one a core.
        worker: Whether to run the worker beside it.
        only_predict: Answer predictions, outcomes, probes and metrics, and nothing by which anything is changed.
        open: With `only_predict`: listen anywhere without a token, as long as there is none.
        ready: Called with the port when connections are accepted, by all processes.

    Raises:
        Invalid: it would listen beyond loopback without a token; or everything would be open.
        Unavailable: the port is taken.
    """
    settings = factory.config.settings
    host = host or settings.server_host
    port = settings.server_port if port is None else port
    if open and not only_predict:
        raise Invalid(
            "usage: a factory is never open to everybody", "", "say --only-predict as well, or make a token"
        )
    guard = guard_of(factory.stores.ledger, host, settings.server_token, open)
    logs.configure(settings.server_log)
    if settings.server_native not in ("processes", "threads"):
        raise Invalid(
            f"server.native cannot be {settings.server_native!r}", "", "set it to 'processes' or 'threads'"
        )
    count = count_of(settings.server_workers if workers is None else workers)
    _ = factory.stations  # what is wrong with the project is said once, before anything is started
    helper = _worker(str(factory.config.root)) if worker else None
    try:
        if count == 1:
            # The server's libraries are loaded where it runs, not in a process that only keeps others.
            from modelworks.api.process import serve

            serve(factory, guard, host=host, port=port, only_predict=only_predict, ready=ready)
        else:
            processes.run(
                factory, count, host=host, port=port, only_predict=only_predict, open=open, ready=ready
            )
    finally:
        if helper is not None:
            helper.stop(signal.SIGTERM)
            helper.join(10)


def count_of(workers: int) -> int:
    """How many server processes are meant.

    Raises:
        Invalid: fewer than none.
    """
    if workers < 0:
        raise Invalid(f"there cannot be {workers} server processes", "", "set server.workers to 1 or more")
    return workers or os.cpu_count() or 1


def _worker(root: str) -> Kept:
    """The worker process."""
    command = [sys.executable, "-m", "modelworks.cli", "--project", root, "worker"]
    return Kept(
        "worker-keeper", lambda: subprocess.Popen(command, stdin=subprocess.PIPE), sound=60.0, wait=0.5
    )


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


def _told(channels: Mapping[str, Any]) -> None:
    """A line for a channel that did not take alerts."""
    for name, told in channels.items():
        if isinstance(told, str):
            print(f"worker: alerts by {name}: {told}", file=sys.stderr, flush=True)


def work(factory: Factory) -> None:
    """Take in streams; every second move the log into the tables, and rollouts on; turn the loop as the settings say.

    Ends when its standard input closes: the server that started it is gone.
    """
    gone = threading.Event()

    outlived(gone.set)
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
            _told(factory.notify())
            if time.monotonic() >= due:
                due = time.monotonic() + every
                for name, why in factory.apply().failed.items():
                    print(f"worker: {name}: {why}", file=sys.stderr, flush=True)
                factory.tidy()
        except ModelworksError as error:
            print(f"worker: {error}", file=sys.stderr, flush=True)
