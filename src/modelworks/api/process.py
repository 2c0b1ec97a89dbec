"""One server process: alone, or one of several that share a port."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack, suppress

from modelworks.api import logs
from modelworks.api.app import create_app
from modelworks.api.guard import Guard, guard_of
from modelworks.api.kept import outlived
from modelworks.api.mlflow.app import MlflowApp, mounted
from modelworks.api.probes import predictions_only
from modelworks.api.seat import Seat
from modelworks.factory import Factory
from modelworks.serving import server
from modelworks.serving.about import Traces
from modelworks.serving.gathered import Gathered
from modelworks.serving.limits import Limits
from modelworks.serving.metering import Meter


def take(factory: Factory, seat: Seat) -> None:
    """Serve as one of several, until SIGTERM, or until the process that started this one is gone."""
    outlived(lambda: os.kill(os.getpid(), signal.SIGTERM))
    for inherited in (seat.listener, seat.ready):
        os.set_inheritable(inherited, False)  # whoever is started here must not keep the port
    settings = factory.config.settings
    logs.configure(settings.server_log)
    serve(
        factory,
        guard_of(factory.stores.ledger, seat.host, settings.server_token, seat.open),
        host=seat.host,
        only_predict=seat.only_predict,
        ready=lambda _port: _say(seat.ready),
        seat=seat,
    )


def _say(pipe: int) -> None:
    with suppress(BrokenPipeError):  # nobody may be left to hear it
        os.write(pipe, b".")
    os.close(pipe)


def serve(
    factory: Factory,
    guard: Guard,
    *,
    host: str,
    port: int = 0,
    only_predict: bool = False,
    ready: Callable[[int], None] = lambda _port: None,
    seat: Seat | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        factory: What to serve.
        guard: Who may call.
        host: Address to listen on.
        port: Port to listen on; 0 lets the system choose.
        only_predict: See `api.up`.
        ready: Called with the port when connections are accepted.
        seat: Where it sits among several; then their socket is listened on.

    Raises:
        Unavailable: the port is taken.
    """
    settings = factory.config.settings
    station = factory.stations.serve
    if seat is not None:
        station.share(seat.of)
    if settings.server_native == "processes":
        station.apart(settings.server_worker_memory, factory.config.state / "environments")
    plane = station.plane
    if settings.server_traces:
        plane.traces = Traces(settings.server_traces, settings.server_trace_share)
    with ExitStack() as stack:
        stack.enter_context(Meter(plane.fleet.counters, factory.stores.ledger, plane.fleet.spent))
        metrics = plane.metrics_text
        listener = None
        if seat is not None:
            folder = factory.config.state / "servers"
            metrics = stack.enter_context(Gathered(metrics, folder, seat.group)).text
            listener = socket.socket(fileno=seat.listener)
        if only_predict:
            app = predictions_only(plane, guard, metrics)
        else:
            app = mounted(create_app(factory, guard, metrics), MlflowApp(factory, guard))
        server.run(
            app,
            plane,
            host=host,
            port=port,
            listener=listener,
            poll=settings.serve_poll,
            limits=Limits(
                file=settings.server_max_artifact,
                wait=settings.server_max_wait,
                connections=settings.server_max_connections,
                streams=settings.server_max_streams,
                drain=settings.server_drain,
                latency=settings.server_batch_latency / 1000,
            ),
            authorize=guard.predict,
            grpc_port=settings.server_grpc_port or None,
            ready=ready,
            settle=guard.settle,
        )
