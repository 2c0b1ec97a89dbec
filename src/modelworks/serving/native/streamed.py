"""The answer of a model in a worker process, piece by piece, over a connection of its own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from modelworks.core.errors import ModelworksError
from modelworks.serving.native import wire
from modelworks.serving.native.process import Process, Stopped
from modelworks.serving.pieces import Given

_OVER: list[Any] = [wire.DONE, 0.0]
"""What is heard at the end where nothing is said."""


class Streamed:
    """See `Pieces`. Nothing is read before it is asked for, so that the model waits for a slow reader.

    Args:
        process: Where the model is.
        message: What it is asked.
        limit: Seconds that a piece may take.
        about: The model.
        died: Gives the error for a process that has ended.
        refused: Gives the error for what the worker says instead of an answer, by its kind and content.

    Raises:
        ModelworksError: as these are; the model is not there.
    """

    def __init__(
        self,
        process: Process,
        message: Sequence[Any],
        limit: float,
        about: Any,
        died: Callable[[wire.Gone], ModelworksError],
        refused: Callable[[int, Sequence[Any]], ModelworksError],
    ) -> None:
        self._process, self._limit, self._about = process, limit, about
        self._died, self._refused = died, refused
        self._rest = bytearray()
        self._last: list[Any] | None = None
        self._lock = threading.Lock()
        self._reading = self._closed = self._ended = False
        try:
            self._connection = process.open()
        except wire.Gone as error:
            raise died(error) from error
        try:
            wire.send(self._connection, message)
            kind, seconds, *content = wire.receive(self._connection, process.looking(limit))
        except wire.Gone as error:
            self._end()
            raise self._gone(error) from error
        process.took(about, seconds)
        if kind != wire.DONE:
            self._end()
            raise refused(kind, content)

    def __next__(self) -> list[Given]:
        """See `Pieces`."""
        with self._lock:
            if self._closed:
                raise StopIteration
            self._reading = True
        try:
            messages = [] if self._last is not None else self._some()
        finally:
            with self._lock:
                self._reading = False
                if self._closed or self._last is not None:
                    self._end()
        if messages:
            return [(place, piece) for _, _, place, piece in messages]
        kind, _, *content = self._last or _OVER
        if kind == wire.DONE:
            raise StopIteration
        raise self._refused(kind, content)

    def _some(self) -> list[list[Any]]:
        try:
            messages = wire.receive_some(self._connection, self._rest, self._process.looking(self._limit))
        except wire.Gone as error:
            self._last = _OVER
            if self._closed:
                return []
            raise self._gone(error) from error
        self._process.took(self._about, sum(seconds for _, seconds, *_ in messages))
        if messages[-1][0] != wire.PIECE:
            self._last = messages.pop()
        return messages

    def close(self) -> None:
        """See `Pieces.close`: who waits for the next piece sees that none will come, and so does the worker."""
        with self._lock:
            self._closed = True
            if not self._ended:
                with suppress(OSError):
                    self._connection.shutdown(socket.SHUT_RDWR)
            if not self._reading:
                self._end()

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._connection.close()
            self._process.ended()

    def _gone(self, error: wire.Gone) -> ModelworksError:
        reason = (
            error
            if isinstance(error, Stopped)
            else wire.Gone(self._process.retired or self._process.reason())
        )
        return self._died(reason)
