"""A tick: what arrives in one turn of the event loop is answered together, and no more than can be in time.

Batches grow with the load and nobody waits for a timer. What has arrived and waits is all there is of a queue: when
answering it would take longer than `Limits.wait`, the newest are told at once to come again, so that a server that is
asked for more than it can do goes on doing what it can, for callers that still wait.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from modelworks.access.allowance import Allowance
from modelworks.core.errors import ModelworksError, TooMany
from modelworks.serving.asgi import Authorize, anybody
from modelworks.serving.data_plane import DataPlane, Result
from modelworks.serving.lanes import Lanes
from modelworks.serving.replies import LATE, WORTH, Later, busy, compress, error_reply, media, retry_after

if TYPE_CHECKING:
    from modelworks.serving.protocol import FastProtocol

_log = logging.getLogger("modelworks.serving")

SWEEP = 1.0
"""Seconds between two looks at the connections; what a connection remembers of the time is up to that much older."""
_FIRST = 64
"""Requests of the first slice, before anything is known of what they take."""
_MOST = 4096
_SLICES = 8
"""Into how many slices a tick is cut that takes as long as one may."""


@dataclass(frozen=True)
class Limits:
    """What a client may take its time for, and what it may be made to wait for.

    Attributes:
        request: Seconds for a request to arrive whole.
        idle: Seconds that a connection may be silent between requests.
        file: Bytes of a file, the body of a PUT; it may take its time as long as it comes.
        wait: Seconds for which the requests of a tick are answered; what is left then is told to come again.
        connections: How many there may be at once.
        drain: Seconds for which a server that ends goes on answering, until nobody is connected.
        latency: Seconds that a batch of requests may take whose models are not compiled.
    """

    request: float = 30.0
    idle: float = 75.0
    file: int = 0
    wait: float = 0.5
    connections: int = 10_000
    drain: float = 1.0
    latency: float = 0.05


PATIENT = Limits()
"""What is usual."""


class Known(NamedTuple):
    """What the parser said of a head."""

    path: bytes
    length: int
    head: int
    accepts: bytes
    allowance: Allowance | None


Reception = asyncio.Future["bytes | ModelworksError"]
"""Where what came by another way than HTTP is answered."""
Waiting = tuple["FastProtocol | Reception", bytes, "bytes | TooMany", bool, bytes]


class Owed:
    """An answer that a connection waits for, or that waits for those before it.

    Args:
        tick: Sends it.
        waiting: The request.
        result: The answer, if there is one.
    """

    def __init__(self, tick: Tick, waiting: Waiting, result: Result) -> None:
        self.tick = tick
        self.waiting = waiting
        self.result = result
        if isinstance(result, Later):
            result.then = self._told

    @property
    def ready(self) -> bool:
        """Whether there is an answer."""
        return not isinstance(self.result, Later)

    def _told(self, answer: bytes | ModelworksError) -> None:
        self.result = answer
        protocol = self.waiting[0]
        assert not isinstance(protocol, asyncio.Future)
        protocol.settle()


class Tick:
    """What arrives in one turn of the event loop, answered at its end.

    Args:
        plane: Answers.
        authorize: Who may predict.
        limits: For slow clients, and for too many.
    """

    def __init__(self, plane: DataPlane, authorize: Authorize = anybody, limits: Limits = PATIENT) -> None:
        self.plane = plane
        self.lanes = Lanes(plane, limits.latency, limits.wait)
        self.authorize = authorize
        self.limits = limits
        self.known: dict[bytes, Known] = {}
        self.now = time.monotonic()
        self._waiting: list[Waiting] = []
        self._slice = _FIRST
        self._headers: list[tuple[bytes, bytes]] | None = None
        self._ok = b""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connections: set[Any] = set()

    def add(
        self,
        protocol: FastProtocol,
        path: bytes,
        body: bytes | TooMany,
        keep: bool = True,
        accepts: bytes = b"",
    ) -> None:
        """Answer a request at the end of this turn.

        Args:
            protocol: Where it came from.
            path: Raw, without a query.
            body: As it came; or why it is not answered.
            keep: Whether the connection goes on after the answer.
            accepts: The compression that the client accepts.
        """
        waiting = self._waiting
        waiting.append((protocol, path, body, keep, accepts))
        if len(waiting) == 1:
            protocol.loop.call_soon(self.flush)

    async def ask(self, path: bytes, body: bytes) -> bytes | ModelworksError:
        """Answer what came by another way than HTTP, together with the rest of this turn."""
        loop = asyncio.get_running_loop()
        reception: Reception = loop.create_future()
        self._waiting.append((reception, path, body, True, b""))
        if len(self._waiting) == 1:
            loop.call_soon(self.flush)
        return await reception

    def flush(self) -> None:
        """Answer what is waiting, in the order in which it came, as far as there is time for it."""
        waiting = self._waiting
        if not waiting:
            return
        self._waiting = []
        if len(waiting) <= self._slice:
            begun = time.perf_counter()
            self._answer(waiting)
            self._learn(len(waiting), time.perf_counter() - begun)
            return
        begun = time.perf_counter()
        done = 0
        while done < len(waiting):
            some = waiting[done : done + self._slice]
            before = time.perf_counter()
            self._answer(some)
            now = time.perf_counter()
            self._learn(len(some), now - before)
            done += len(some)
            room = max(int((begun + self.limits.wait - now) * done / (now - begun)), 0)
            if len(waiting) - done > room:
                waiting[done + room :] = self._refuse(waiting[done : done + room], waiting[done + room :])

    def _learn(self, count: int, seconds: float) -> None:
        """How many requests fit into a slice, by what the last ones took."""
        share = self.limits.wait / _SLICES
        if seconds > share:
            self._slice = max(int(count * share / seconds), 1)
        elif count >= self._slice and seconds < share / 2:
            self._slice = min(2 * self._slice, _MOST)

    def _refuse(self, before: Sequence[Waiting], late: Sequence[Waiting]) -> list[Waiting]:
        """Tell the newest, for which there is no time, to come again: now, or in turn behind others of a connection."""
        error = busy(LATE.format(self.limits.wait))
        self.plane.shed += sum(not isinstance(one[2], TooMany) for one in late)
        connections = {one[0] for one in before}
        now = [one for one in late if one[0] not in connections]
        self._reply(now, [one[2] if isinstance(one[2], TooMany) else error for one in now])
        return [
            (protocol, path, body if isinstance(body, TooMany) else error, keep, accepts)
            for protocol, path, body, keep, accepts in late
            if protocol in connections
        ]

    def _answer(self, waiting: Sequence[Waiting]) -> None:
        results: Sequence[Result]
        try:
            asked = [(path, body) for _, path, body, _, _ in waiting if not isinstance(body, TooMany)]
            results = self.plane.turn(asked, self.lanes.put)
            if len(asked) < len(waiting):  # in the order in which they came, those that were refused as well
                told = iter(results)
                results = [body if isinstance(body, TooMany) else next(told) for _, _, body, _, _ in waiting]
        except Exception:
            _log.exception("%d requests could not be answered", len(waiting))
            broken = ModelworksError(
                "the request could not be answered", "an error of the server", "see its log"
            )
            results = [broken] * len(waiting)
        self._reply(waiting, results)

    def _reply(self, waiting: Sequence[Waiting], results: Sequence[Result]) -> None:
        for one, result in zip(waiting, results, strict=True):
            protocol, path, _, keep, accepts = one
            if isinstance(protocol, asyncio.Future):
                if isinstance(result, Later):
                    result.then = partial(_receive, protocol)
                else:
                    _receive(protocol, result)
                continue
            if isinstance(result, Later) or protocol.owed:
                protocol.owe(Owed(self, one, result))
                continue
            transport = protocol.transport
            protocol.server_state.total_requests += 1
            if transport.is_closing():
                continue
            headers = protocol.server_state.default_headers
            if headers is not self._headers:  # uvicorn makes a new list each second
                self._headers = headers
                self._ok = (
                    STATUS_LINE[200]
                    + _joined(headers)
                    + b"content-type: application/json\r\ncontent-length: "
                )
            if self.plane.leaving:  # the connection ends with this answer
                keep = False
            if keep and type(result) is bytes and not (accepts and len(result) >= WORTH):
                transport.write(b"%b%d\r\n\r\n%b" % (self._ok, len(result), result))
                continue
            status, body = error_reply(result, path) if isinstance(result, ModelworksError) else (200, result)
            if isinstance(result, TooMany):
                headers = [*headers, retry_after(result)]
            transport.write(response(headers, status, body, keep, accepts))
            if not keep:
                transport.close()

    def settle(self, owed: Owed) -> None:
        """Send an answer that was put aside."""
        self._reply([owed.waiting], [owed.result])

    def forget(self) -> None:
        """Parse every head anew, and ask again who may predict."""
        self.known = {}

    def watch(self, loop: asyncio.AbstractEventLoop, connections: set[Any]) -> None:
        """Begin to look after slow and idle connections, once a second."""
        if self._loop is not loop:
            self._loop, self._connections = loop, connections
            self._sweep()

    def _sweep(self) -> None:
        self.now = time.monotonic()
        for connection in list(self._connections):
            expire = getattr(connection, "expire", None)  # a WebSocket has none
            if expire is not None:
                expire(self.now)
        assert self._loop is not None
        self._loop.call_later(SWEEP, self._sweep)


def _receive(reception: Reception, result: bytes | ModelworksError) -> None:
    if not reception.done():  # its client may be gone
        reception.set_result(result)


def response(
    headers: list[tuple[bytes, bytes]], status: int, body: bytes, keep: bool, accepts: bytes = b""
) -> bytes:
    """A response of HTTP/1.1 in bytes.

    Args:
        headers: Besides those of the body.
        status: Of HTTP.
        body: Plain; it is compressed here where the client accepts it and it is worth it.
        keep: Whether the connection goes on.
        accepts: The compression that the client accepts.
    """
    own = media(body)
    if accepts and len(body) >= WORTH:
        own.append((b"content-encoding", accepts))
        body = compress(body, accepts)
    own.append((b"content-length", b"%d" % len(body)))
    if not keep:
        own.append((b"connection", b"close"))
    return b"%b%b%b\r\n%b" % (STATUS_LINE[status], _joined(headers), _joined(own), body)


def _joined(headers: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join(b"%b: %b\r\n" % header for header in headers)
