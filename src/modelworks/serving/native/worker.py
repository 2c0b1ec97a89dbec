"""What runs in a worker process: models of one flavor, asked over one socket while others are loaded over a second.

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
from typing import Any

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from modelworks.core.errors import Invalid, ModelworksError
from modelworks.models.flavors import FLAVORS
from modelworks.models.flavors.port import Flavor
from modelworks.models.predictor import Predictor
from modelworks.models.signature import Signature
from modelworks.serving.native import wire
from modelworks.serving.residency import allocated


class Desk:
    """Does what it is told.

    Args:
        flavor: Of all its models.
    """

    def __init__(self, flavor: Flavor) -> None:
        self._flavor = flavor
        self._models: dict[str, Predictor] = {}
        self._warm = False

    def hear(self, message: list[Any]) -> list[Any]:
        """Answer a message."""
        kind, name, *content = message
        try:
            return [wire.DONE, self._do(kind, name, content)]
        except ModelworksError as error:
            return [wire.ERROR, *(getattr(error, part) for part in ("code", "what", "why", "fix"))]
        except (ImportError, AttributeError) as error:
            if kind != wire.LOAD:
                return [wire.FAILED, type(error).__name__, str(error)]
            return [wire.ERROR, "not_ready", "the model cannot be loaded in this environment", str(error), ""]
        except Exception as error:
            return [wire.FAILED, type(error).__name__, str(error)]

    def _do(self, kind: int, name: str, content: list[Any]) -> Any:
        if kind == wire.LOAD:
            return self._load(name, *content)
        if kind == wire.DROP:
            return self._models.pop(name, None) and None
        try:
            return wire.answers(self._models[name].predict(wire.batch(*content)))
        except TypeError as error:
            raise Invalid("the model gives what cannot be JSON", str(error), "roll back") from error

    def _load(self, name: str, model: bytes, signature: str) -> int:
        """Have a model; returns its memory in bytes."""
        takes = Signature.from_json(json.loads(signature))
        if not self._warm:  # what the framework takes is no model's
            self._flavor.predictor(self._flavor.load(model), takes)
            self._warm = True
        before = allocated()
        self._models[name] = self._flavor.predictor(self._flavor.load(model), takes)
        return max(allocated() - before, 0)


def _serve(connection: socket.socket, desk: Desk) -> None:
    with contextlib.suppress(wire.Gone):
        while True:
            wire.send(connection, desk.hear(wire.receive(connection)))
    os._exit(0)


def _end_with_parent() -> None:
    """Let the system end this process when its standard input is closed, also in the middle of a call."""
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([0], [], [], 0)[0]:  # it was closed before
        os._exit(0)


def main() -> None:
    """Arguments: the flavor, the sockets' descriptors, the import path as JSON."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's to handle
    _end_with_parent()
    flavor, asks, loads, path = sys.argv[1:]
    sys.path.extend(entry for entry in json.loads(path) if entry not in sys.path)
    threadpool_limits(1)
    desk = Desk(FLAVORS[flavor])
    other = socket.socket(fileno=int(loads))
    threading.Thread(target=_serve, args=(other, desk), name="loads", daemon=True).start()
    _serve(socket.socket(fileno=int(asks)), desk)


if __name__ == "__main__":
    main()
