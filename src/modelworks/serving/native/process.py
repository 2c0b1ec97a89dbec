"""One worker process, and the conversations with it: two that last, and one for each stream."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from modelworks.jobs import fresh
from modelworks.jobs.executors.worker import THREADS
from modelworks.serving.native import wire

_RUNAWAY = 1.5
"""Times the memory that a worker may have, at which it is ended in the middle of a call."""
_OFTEN = 0.5
_AHEAD = 64 * 1024
"""Bytes that a stream may be ahead of who reads it."""


class Line:
    """A conversation, one message and its answer at a time.

    Attributes:
        about: The model that it is just about, if any.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self.about: Any = None

    def call(self, about: Any, message: Sequence[Any], look: Callable[[], None]) -> list[Any]:
        """Say something and hear the answer.

        Args:
            about: The model that it is about.
            message: See `wire`.
            look: Called again and again while the answer does not come; what it raises ends the conversation.

        Raises:
            Gone: the process has ended.
        """
        with self._lock:
            self.about = about
            wire.send(self._connection, message)
            answer = wire.receive(self._connection, look)
            self.about = None
            return answer

    def close(self) -> None:
        """End it: who waits for an answer sees that none will come."""
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._connection.close()


class Stopped(wire.Gone):
    """We end it ourselves."""


class Process:
    """A worker process.

    Args:
        flavor: Of the models that it answers.
        exe: Its interpreter; ``None`` for this one.
        memory: Bytes that it may have.

    Attributes:
        loaded: Names of the models that it has.
        told: Seconds of the processor that it said it took.
        born: When it gave its first answer; ``None`` before.
        retired: Why it was ended by us; ``""`` where it was not.
    """

    def __init__(self, flavor: str, exe: Path | None, memory: int) -> None:
        self.memory = memory
        self.loaded: set[str] = set()
        self.told = 0.0
        self.born: float | None = None
        self.retired = ""
        self._looked = 0.0
        self._streams = 0
        self._counting = threading.Lock()
        self._opens, theirs_too = socket.socketpair()
        asks, theirs = socket.socketpair()
        loads, others = socket.socketpair()
        path = [] if exe is not None else [entry or os.getcwd() for entry in sys.path]
        surroundings = {**os.environ, **THREADS}
        if exe is not None:
            surroundings["PYTHONPATH"] = str(fresh.house(exe))
            surroundings.pop("VIRTUAL_ENV", None)
        command = [str(exe or sys.executable), "-m", "modelworks.serving.native.worker", flavor]
        with theirs, others, theirs_too:
            ends = [one.fileno() for one in (theirs, others, theirs_too)]
            self._process = subprocess.Popen(
                [*command, *map(str, ends), json.dumps(path)],
                pass_fds=ends,
                stdin=subprocess.PIPE,  # closes when this process ends, however it ends
                stdout=2,  # what a model prints is none of our answers
                env=surroundings,
                start_new_session=True,
            )
        self._watched = psutil.Process(self._process.pid)
        self.asks, self.loads = Line(asks), Line(loads)

    @property
    def id(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def size(self) -> int:
        """Bytes that it has in memory."""
        try:
            return int(self._watched.memory_info().rss)
        except psutil.Error:
            return 0

    def took(self, about: Any, seconds: float) -> None:
        """It said that it took some seconds of the processor for a model."""
        with self._counting:
            self.told += seconds
        about.spend(seconds)

    def untold(self) -> float:
        """Seconds of the processor that it took and has not told of; 0 where nobody can tell any more."""
        try:
            times = self._watched.cpu_times()
        except psutil.Error:
            return 0.0
        return max(float(times.user + times.system) - self.told, 0.0)

    def call(self, line: Line, about: Any, message: Sequence[Any], limit: float) -> list[Any]:
        """See `Line.call`; a call that takes more than `limit` seconds, or too much memory, ends the process.

        Raises:
            Gone: the process has ended; the reason is for users to read.
        """
        try:
            kind, seconds, *content = line.call(about, message, self.looking(limit))
        except Stopped:
            raise
        except wire.Gone:
            raise wire.Gone(self.retired or self.reason()) from None
        if self.born is None:
            self.born = time.monotonic()
        self.took(about, seconds)
        return [kind, *content]

    def looking(self, limit: float) -> Callable[[], None]:
        """What `wire` calls while nothing comes: it raises `Stopped` after `limit` seconds, or at too much memory."""
        until = time.monotonic() + limit

        def look() -> None:
            if time.monotonic() > until:
                raise Stopped(f"it did not answer within {limit:g} s")
            if (size := self.size()) > _RUNAWAY * self.memory:
                raise Stopped(f"it took {size:,} bytes, {self.memory:,} are allowed")

        return look

    def open(self) -> socket.socket:
        """Begin a conversation of its own, for one stream; `ended` is said at its end.

        Raises:
            Gone: the process has ended.
        """
        mine, theirs = socket.socketpair()
        with theirs:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _AHEAD)
            try:
                socket.send_fds(self._opens, [b"+"], [theirs.fileno()])
            except OSError as error:
                mine.close()
                raise wire.Gone(self.retired or self.reason()) from error
        with self._counting:
            self._streams += 1
        return mine

    def ended(self) -> None:
        """A stream is over; if it was the last of a process that is to end, that ends."""
        with self._counting:
            self._streams -= 1
            over = bool(self.retired) and not self._streams
        if over:
            self.kill()

    def retire(self, reason: str) -> None:
        """End it as soon as nothing streams."""
        with self._counting:
            self.retired = reason
            over = not self._streams
        if over:
            self.kill()

    def grown(self) -> int:
        """Bytes that it has, where they are more than it may have; else 0. Looks now and then."""
        now = time.monotonic()
        if now - self._looked < _OFTEN:
            return 0
        self._looked = now
        size = self.size()
        return size if size > self.memory else 0

    def reason(self) -> str:
        """How it ended."""
        try:
            code = self._process.wait(2)
        except subprocess.TimeoutExpired:
            return "it does not speak any more"
        if code >= 0:
            return f"it exited with status {code}"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        return f"it was killed by {name}"

    def kill(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        for line in (self.asks, self.loads):
            line.close()
        self._opens.close()
        self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()
