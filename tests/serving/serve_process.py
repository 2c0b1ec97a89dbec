"""A server process on a state folder; or servers one after another, forked from what is imported once."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from modelworks.access.allowance import Allowance
from modelworks.core.errors import Denied, Unknown
from modelworks.serving import server
from modelworks.serving.asgi import Authorize, anybody
from modelworks.serving.limits import Limits
from modelworks.serving.station import ServeStation
from modelworks.stores import open_stores


def bearer(file: Path) -> Authorize:
    """Lets those in who have the token that stands in a file."""

    allowances: dict[bytes, Allowance] = {}

    def authorize(authorization: bytes | None, model: str | None) -> Allowance | None:
        token, *rate = file.read_bytes().split(b" ")
        if authorization != b"Bearer " + token:
            raise Unknown("this token is not known", "", "ask for one")
        if model == "secret":
            raise Denied("this token may not ask that model", "", "ask for another")
        return allowances.setdefault(token, Allowance("tester", float(rate[0]))) if rate else None

    return authorize


def serve(state: str, settings: dict[str, Any]) -> None:
    """Serve, and print process id and port when ready."""
    station = ServeStation(open_stores(Path(state)), settings.get("max_body", 16 * 1024 * 1024))
    if settings.get("native") == "processes":
        station.apart(settings.get("worker_memory", 0))
    server.run(
        None,
        station.plane,
        port=settings.get("port", 0),
        poll=0.02,
        limits=Limits(
            settings.get("request", 30.0),
            settings.get("idle", 75.0),
            wait=settings.get("wait", 60.0),
            connections=settings.get("connections", 10_000),
            drain=settings.get("drain", 1.0),
            streams=settings.get("streams", 64),
            quiet=settings.get("quiet", 15.0),
        ),
        authorize=bearer(Path(settings["token"])) if "token" in settings else anybody,
        grpc_port=settings.get("grpc_port"),
        ready=lambda port: print(os.getpid(), port, flush=True),
    )


def main() -> None:
    """Arguments: the state folder, settings as JSON. With the setting ``fork``, a server a line of stdin."""
    state, settings = sys.argv[1], json.loads(sys.argv[2])
    if not settings.get("fork"):
        serve(state, settings)
        return
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            serve(state, settings)
            os._exit(0)
        os.waitpid(child, 0)
        print("ended", flush=True)


if __name__ == "__main__":
    main()
