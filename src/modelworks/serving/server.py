"""The server process: the fast protocol, the data plane, and whatever application stands behind them."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import uvicorn
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from modelworks.core.errors import Unavailable
from modelworks.serving.asgi import Application, Authorize, DataPlaneApp, anybody
from modelworks.serving.data_plane import DataPlane
from modelworks.serving.limits import PATIENT, Limits
from modelworks.serving.protocol import protocol_for
from modelworks.serving.tick import Tick

if TYPE_CHECKING:
    from modelworks.serving.grpc_server import GrpcServer

_SPARE = 200
"""File descriptors that are kept for models, the ledger, the log."""
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def run(
    app: Application | None,
    plane: DataPlane,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    listener: socket.socket | None = None,
    poll: float = 0.5,
    authorize: Authorize = anybody,
    limits: Limits = PATIENT,
    grpc_port: int | None = None,
    ready: Callable[[int], None] = lambda _port: None,
    settle: Callable[[], None] = lambda: None,
) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        app: Answers every path that is not the data plane's; ``None`` for nothing but the data plane.
        plane: The data plane; closed at the end.
        host: Address to listen on.
        port: Port to listen on; 0 lets the system choose.
        listener: A socket that listens already, shared with other processes, instead of host and port; the port of
            the gRPC server is shared with them as well.
        poll: Seconds between two looks at the ledger.
        authorize: Who may predict.
        limits: For slow clients, and for too many.
        grpc_port: Port of the gRPC server; ``None`` for none, 0 lets the system choose.
        ready: Called with the port when connections are accepted.
        settle: Called at each look at the ledger, and at the end.

    Raises:
        Unavailable: the port is taken.
    """
    # One thread a request path: a library's own pool only makes neighbours wait for each other.
    for name in _ONE_THREAD:
        os.environ.setdefault(name, "1")
    shared = listener is not None
    with threadpool_limits(1), listener or listen(host, port) as listener:
        plane.fleet.refresh()
        limits = replace(limits, connections=min(limits.connections, _descriptors() - _SPARE))
        tick = Tick(plane, authorize, limits)

        def after() -> None:
            # A token that was revoked must not be remembered with a request head for longer than one look.
            if authorize is not anybody:
                tick.forget()
            if plane.features is not None:
                plane.features.refresh()
            settle()

        plane.fleet.follow(poll, after)
        config = uvicorn.Config(
            DataPlaneApp(plane, app, authorize, limits),
            http=protocol_for(tick),
            loop="uvloop",
            lifespan="on",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_keep_alive=round(limits.idle),
            timeout_graceful_shutdown=5,
        )
        # What was made at the start stays: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        if threading.current_thread() is threading.main_thread():
            # uvicorn raises the signal again when all is answered; what is to be closed then is closed.
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        beside = None if grpc_port is None else _grpc_server(tick, host, grpc_port, shared)
        try:
            _Server(config, lambda: ready(listener.getsockname()[1]), tick, beside).run(sockets=[listener])
        finally:
            tick.lanes.close()
            plane.fleet.close()
            plane.close()
            settle()
            gc.unfreeze()


class _Server(uvicorn.Server):
    """uvicorn's, with the gRPC server in its event loop, and an end in two steps."""

    def __init__(
        self, config: uvicorn.Config, ready: Callable[[], None], tick: Tick, beside: GrpcServer | None
    ) -> None:
        super().__init__(config)
        self._ready = ready
        self._tick = tick
        self._beside = beside

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See `uvicorn.Server.startup`."""
        if self._beside is not None:
            await self._beside.start()
        await super().startup(sockets)
        if self.started:
            self._tick.door = self._door((sockets or [])[0])
            self._ready()

    def _door(self, listener: socket.socket) -> Callable[[], None]:
        """See `Tick.door`."""
        loop = asyncio.get_running_loop()
        arriving: set[asyncio.Task[Any]] = set()

        def protocol() -> asyncio.Protocol:
            kind: Any = self.config.http_protocol_class
            made: asyncio.Protocol = kind(
                config=self.config, server_state=self.server_state, app_state=self.lifespan.state
            )
            return made

        def accept() -> None:
            while True:
                try:
                    arrived, _ = listener.accept()
                except OSError:  # nobody else; or there are no descriptors left, or the door is closed
                    return
                arrived.setblocking(False)
                arrived.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                task = loop.create_task(loop.connect_accepted_socket(protocol, arrived))
                arriving.add(task)
                task.add_done_callback(arriving.discard)

        listener.setblocking(False)
        return accept

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See `uvicorn.Server.shutdown`; before that, every connection may end with an answer.

        A client whose request is on its way while its idle connection is closed would see an error.
        """
        self._tick.plane.leaving = True
        until = time.monotonic() + self._tick.limits.drain
        while self.server_state.connections and time.monotonic() < until and not self.force_exit:
            await asyncio.sleep(0.02)  # as uvicorn waits
        if self._beside is not None:
            await self._beside.stop()
        await super().shutdown(sockets)


def _grpc_server(tick: Tick, host: str, port: int, shared: bool) -> GrpcServer:
    # gRPC is loaded where it is served.
    from modelworks.serving.grpc_server import GrpcServer

    return GrpcServer(tick, host, port, shared)


def _descriptors() -> int:
    """File descriptors that this process may have; as many as it may allow itself."""
    try:
        import resource
    except ImportError:  # Windows
        return 2**20
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2**20 if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def listen(host: str, port: int, setting: str = "server.port", backlog: int | None = 2048) -> socket.socket:
    """A socket that listens.

    Args:
        host: Address.
        port: Port; 0 lets the system choose.
        setting: Where it comes from.
        backlog: Connections that may wait; ``None`` for a socket that is only bound.

    Raises:
        Unavailable: the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        if backlog is not None:
            listener.listen(backlog)
    except OSError as error:
        listener.close()
        raise Unavailable(
            f"cannot listen on {host}:{port}",
            str(error),
            f"stop what uses it, or choose another with {setting}",
        ) from error
    return listener
