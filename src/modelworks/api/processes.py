"""Several server processes on one port: started, kept, told to end."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from queue import SimpleQueue
from typing import Literal

from modelworks.api.kept import Kept
from modelworks.api.seat import Seat
from modelworks.core.errors import Unavailable
from modelworks.core.plain import to_json
from modelworks.factory import Factory
from modelworks.serving import gathered
from modelworks.serving.server import listen

_log = logging.getLogger("modelworks.api")
_SOUND = 5.0
"""Seconds of life after which a server process that dies is followed by another at once."""
_PATIENCE = 30.0
"""Seconds beyond `server.drain` after which a process that does not end is killed."""

Event = tuple[Literal["ready", "ended", "signal"], int]


def run(
    factory: Factory,
    count: int,
    *,
    host: str,
    port: int,
    only_predict: bool,
    open: bool,
    ready: Callable[[int], None],
) -> None:
    """Serve with `count` processes until SIGINT or SIGTERM; see `api.up` for the rest.

    The socket is bound here and inherited: what waits in its queue when a process dies is answered by another.

    Raises:
        Unavailable: a port is taken; or a process ended before all of them answered.
    """
    settings = factory.config.settings
    folder, group = factory.config.state / "servers", str(os.getpid())
    events: SimpleQueue[Event] = SimpleQueue()
    with ExitStack() as stack:
        listener = stack.enter_context(listen(host, port))
        if settings.server_grpc_port:
            stack.enter_context(_reserved(host, settings.server_grpc_port))
        hears, says = os.pipe()
        stack.callback(os.close, says)
        gathered.tidy(folder, group)
        stack.callback(gathered.tidy, folder, group)
        stack.enter_context(_signals(events))
        threading.Thread(target=_hear, args=(hears, events), name="ready", daemon=True).start()
        seat = Seat(listener.fileno(), says, count, group, host, only_predict, open)
        command = [sys.executable, "-m", "modelworks.cli", "--project", str(factory.config.root), "server"]
        command.append(to_json(asdict(seat)).decode())
        kept = [
            Kept(
                f"server-{number}",
                partial(_started, command, (seat.listener, seat.ready)),
                sound=_SOUND,
                wait=0.0,
                ended=lambda status: events.put(("ended", status)),
            )
            for number in range(1, count + 1)
        ]
        try:
            _wait(events, count, lambda: ready(listener.getsockname()[1]))
        finally:
            _end(kept, events, settings.server_drain + _PATIENCE)


def _started(command: list[str], inherited: tuple[int, int]) -> subprocess.Popen[bytes]:
    # In a session of its own: Ctrl-C is told to this process alone, which tells the others once.
    return subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=inherited, start_new_session=True)


def _wait(events: SimpleQueue[Event], count: int, ready: Callable[[], None]) -> None:
    """Until a signal comes; says when all are ready.

    Raises:
        Unavailable: a process ended before.
    """
    answering = 0
    while True:
        kind, status = events.get()
        if kind == "signal":
            return
        if kind == "ready":
            answering += 1
            if answering == count:
                ready()
        elif answering < count:
            raise Unavailable(
                "the server did not start",
                f"one of its {count} processes ended with {status} before all of them answered",
                "what it printed above says why",
            )
        else:
            _log.warning("a server process ended with %d; another one takes its place", status)


def _end(kept: list[Kept], events: SimpleQueue[Event], patience: float) -> None:
    """Tell all to end, and wait; a second Ctrl-C is told to them as well, and ends what is under way."""
    until = time.monotonic() + patience
    for one in kept:
        one.stop(signal.SIGTERM)
    while not all(one.join(0.0) for one in kept):
        if time.monotonic() > until:
            for one in kept:
                one.stop(signal.SIGKILL)
        for one in kept:
            if not one.join(0.1):
                break
        while not events.empty():
            kind, number = events.get()
            if kind == "signal" and number == signal.SIGINT:
                for one in kept:
                    one.stop(signal.SIGINT)


def _hear(pipe: int, events: SimpleQueue[Event]) -> None:
    with os.fdopen(pipe, "rb", buffering=0) as file:
        while said := file.read(64):
            for _ in said:
                events.put(("ready", 0))


@contextmanager
def _signals(events: SimpleQueue[Event]) -> Iterator[None]:
    """Have signals told among the events."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    told = lambda number, _frame: events.put(("signal", number))  # noqa: E731
    before = {one: signal.signal(one, told) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


@contextmanager
def _reserved(host: str, port: int) -> Iterator[None]:
    """Hold a port that the processes will listen on, each with a socket of its own; it takes no connection itself.

    Raises:
        Unavailable: somebody else has it.
    """
    with listen(host, port, "server.grpc_port", backlog=None):
        pass  # two servers on one port would take turns unnoticed
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind((host, port))
        yield
