"""What runs inside a worker: it takes messages with items, and answers with results."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import cloudpickle
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

THREADS = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "BLIS_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "POLARS_MAX_THREADS",
    ),
    "1",
)
"""A worker has one core: more threads only wait for each other."""

READY = b""
"""What a worker says when it knows its run: only from then on does the time of its items count."""

Start = tuple[bytes, Sequence[str]]
"""Opens a run: the pickled ``(function, initial)``, and the import path."""


class Desk:
    """Where a worker takes one message after the other."""

    def __init__(self) -> None:
        # The fork server has these already, unless somebody else's work in this process had started it before.
        os.environ.update(THREADS)
        threadpool_limits(1)
        self._function: Callable[[Any], Any] = _not_started

    def hear(self, message: bytes) -> bytes:
        """Begin a run, or do an item.

        A message is a pickled pair: ``("start", Start)`` or ``("item", (position, item))``. The answer to a
        start is `READY`, to an item a pickle of ``(position, True, value)`` or ``(position, False, (error
        line, traceback))``.
        """
        kind, content = pickle.loads(message)  # noqa: S301 - our own parent wrote it
        if kind == "start":
            self._function = _open(content)
            return READY
        position, item = content
        return _answer(position, self._function, item)


def serve(connection: Connection) -> None:
    """Work in a process until the other end of its pipe is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    desk = Desk()
    while True:
        try:
            connection.send_bytes(desk.hear(connection.recv_bytes()))
        except (EOFError, OSError):
            return


def _open(start: Start) -> Callable[[Any], Any]:
    """The run's function, bound to what its items share; one that only raises if it can't be loaded."""
    content, path = start
    sys.path.extend(entry for entry in path if entry not in sys.path)
    try:
        function, initial = pickle.loads(content)  # noqa: S301
    except Exception as error:
        line, trace = f"the work cannot be loaded in a worker: {type(error).__name__}: {error}", error

        def broken(_item: Any) -> Any:
            raise RuntimeError(line) from trace

        return broken
    return lambda item: function(initial, item)


def _answer(position: int, function: Callable[[Any], Any], item: Any) -> bytes:
    try:
        return bytes(cloudpickle.dumps((position, True, function(item))))
    except Exception as error:
        line = f"{type(error).__name__}: {error}".rstrip(": ")
        return pickle.dumps((position, False, (line, traceback.format_exc())))


def _not_started(_item: Any) -> Any:
    raise RuntimeError("an item came before its run was opened")
