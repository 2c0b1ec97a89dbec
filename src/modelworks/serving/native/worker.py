"""What runs in a worker process: models of one flavor, asked over one socket while others are loaded over a second.

Over a third come the ends of further ones: each is a stream, the answers to some rows piece by piece.

It ends with its parent, however that ends: the system sends it a signal when its standard input is closed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from modelworks.core.batch import Batch
from modelworks.core.errors import ModelworksError, NotReady
from modelworks.models.flavors import FLAVORS
from modelworks.models.flavors.port import Flavor
from modelworks.models.predictor import Predictor, Streaming
from modelworks.models.signature import Signature
from modelworks.serving.native import wire
from modelworks.serving.pieces import encoded, no_json
from modelworks.serving.residency import allocated


class Account:
    """Divides what this process takes of the processor among those that it works for.

    Who is at work alone took all that nobody has told of: also threads of a model's own, and starting the process.
    Where several are, each took what its thread did.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at_work = 0
        self._told = 0.0

    @contextlib.contextmanager
    def work(self) -> Iterator[Callable[[], float]]:
        """Be at work; gives a function that tells the seconds since it was last called."""
        before = time.thread_time()

        def since() -> float:
            nonlocal before
            now = time.thread_time()
            with self._lock:
                took, before = now - before, now
                if self._at_work == 1:
                    took = max(took, time.process_time() - self._told)
                self._told += took
            return took

        with self._lock:
            self._at_work += 1
        try:
            yield since
        finally:
            with self._lock:
                self._at_work -= 1


class Desk:
    """Does what it is told.

    Args:
        flavor: Of all its models.
    """

    def __init__(self, flavor: Flavor) -> None:
        self._flavor = flavor
        self._models: dict[str, tuple[Predictor, threading.Lock]] = {}
        self._warm = False
        self._account = Account()

    def serve(self, connection: socket.socket) -> None:
        """Answer messages until nobody sends any more."""
        with contextlib.suppress(wire.Gone):
            while True:
                message = wire.receive(connection)
                with self._account.work() as took:
                    kind, *content = self.hear(message)
                    wire.send(connection, [kind, took(), *content])

    def hear(self, message: list[Any]) -> list[Any]:
        """Answer a message."""
        kind, name, *content = message
        try:
            return [wire.DONE, self._do(kind, name, content)]
        except Exception as error:
            if kind == wire.LOAD and isinstance(error, ImportError | AttributeError):
                error = NotReady("the model cannot be loaded in this environment", str(error), "")
            return _told(error)

    def stream(self, connection: socket.socket) -> None:
        """Answer rows piece by piece, over a connection of their own; at its end there is nobody to answer.

        A piece is worked out when the one before it has been taken: sending waits for who reads.
        """
        with connection, contextlib.suppress(wire.Gone), self._account.work() as took:
            _, name, *content = wire.receive(connection)
            try:
                model, turn = self._models[name]
                assert isinstance(model, Streaming)
                wire.send(connection, [wire.DONE, took(), None])  # it is held now, also when it is let go of
                for piece in _steps(model, wire.batch(*content), turn):
                    wire.send(connection, [wire.PIECE, took(), *piece])
                kind, *last = wire.DONE, None
            except wire.Gone:
                raise
            except Exception as error:
                kind, *last = _told(error)
            wire.send(connection, [kind, took(), *last])

    def _do(self, kind: int, name: str, content: list[Any]) -> Any:
        if kind == wire.LOAD:
            return self._load(name, *content)
        if kind == wire.DROP:
            return self._models.pop(name, None) and None
        model, turn = self._models[name]
        with turn:
            answers = model.predict(wire.batch(*content))
        try:
            return wire.answers(answers)
        except TypeError as error:
            raise no_json(error) from error

    def _load(self, name: str, model: bytes, signature: str) -> int:
        """Have a model; returns its memory in bytes."""
        takes = Signature.from_json(json.loads(signature))
        if not self._warm:  # what the framework takes is no model's
            self._flavor.predictor(self._flavor.load(model), takes)
            self._warm = True
        before = allocated()
        # One at a time asks a model, if only for the next piece: not all of them bear more.
        self._models[name] = self._flavor.predictor(self._flavor.load(model), takes), threading.Lock()
        return max(allocated() - before, 0)


def _steps(model: Streaming, batch: Batch, turn: threading.Lock) -> Iterator[tuple[int, bytes]]:
    """What a model gives, each piece in its turn: the position of its row, and JSON."""
    with contextlib.closing(model.stream(batch)) as pieces:
        while True:
            with turn:
                found = next(pieces, None)
            if found is None:
                return
            place, piece = found
            yield place, encoded(piece)


def _told(error: Exception) -> list[Any]:
    """An error, as it goes over."""
    if isinstance(error, ModelworksError):
        return [wire.ERROR, *(getattr(error, part) for part in ("code", "what", "why", "fix"))]
    return [wire.FAILED, type(error).__name__, str(error)]


def _open(opens: socket.socket, desk: Desk) -> None:
    """Take the connections of streams, each in a thread of its own."""
    while True:
        content, descriptors, _, _ = socket.recv_fds(opens, 1, 1)
        if not content:
            return
        for descriptor in descriptors:
            connection = socket.socket(fileno=descriptor)
            threading.Thread(target=desk.stream, args=(connection,), name="stream", daemon=True).start()


def _serve(connection: socket.socket, desk: Desk) -> None:
    desk.serve(connection)
    os._exit(0)


def _end_with_parent() -> None:
    """Let the system end this process when its standard input is closed, also in the middle of a call."""
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([0], [], [], 0)[0]:  # it was closed before
        os._exit(0)


def main() -> None:
    """Arguments: the flavor, the descriptors of three sockets, the import path as JSON."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's to handle
    _end_with_parent()
    flavor, asks, loads, opens, path = sys.argv[1:]
    sys.path.extend(entry for entry in json.loads(path) if entry not in sys.path)
    threadpool_limits(1)
    desk = Desk(FLAVORS[flavor])
    other = socket.socket(fileno=int(loads))
    threading.Thread(target=_serve, args=(other, desk), name="loads", daemon=True).start()
    streams = socket.socket(fileno=int(opens))
    threading.Thread(target=_open, args=(streams, desk), name="opens", daemon=True).start()
    _serve(socket.socket(fileno=int(asks)), desk)


if __name__ == "__main__":
    main()
