"""What runs inside a worker process: takes items from its pipe, sends back results, until the pipe closes."""

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

Start = tuple[bytes, Sequence[str]]
"""Opens a run: the pickled ``(function, initial)``, and the import path."""


def serve(connection: Connection) -> None:
    """Work until the other end is gone.

    A message is a pickled pair: ``("start", Start)`` or ``("item", (position, item))``. The answer to an
    item is ``(position, True, value)`` or ``(position, False, (error line, traceback))``.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    # The fork server has these already, unless somebody else's work in this process had started it before.
    os.environ.update(THREADS)
    threadpool_limits(1)
    function: Callable[[Any], Any] = _not_started
    while True:
        try:
            kind, content = pickle.loads(connection.recv_bytes())  # noqa: S301 - our own parent wrote it
        except (EOFError, OSError):
            return
        if kind == "start":
            function = _open(content)
            continue
        position, item = content
        try:
            connection.send_bytes(_answer(position, function, item))
        except OSError:
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
