"""A tick: what arrives in one turn of the event loop is answered together, and no more than can be in time.

Batches grow with the load and nobody waits for a timer. A turn is cut into slices, between which is looked who has come
meanwhile. A burst is taken as it comes; when the server has been behind for longer than `Limits.wait`, no more may wait
than it answers in that time, and all others are told at once to come again. So a server that is asked for more than it
can do goes on doing what it can, for callers that are still there.

Source: that a queue is judged by how long it stands, not by its length, is of K. Nichols, V. Jacobson, "Controlling
queue delay", ACM Queue 10 (2012).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from modelworks.access.allowance import Allowance
from modelworks.core.errors import ModelworksError, TooMany
from modelworks.serving.about import About
from modelworks.serving.asgi import Authorize, anybody
from modelworks.serving.data_plane import DataPlane, Result
from modelworks.serving.lanes import Lanes
from modelworks.serving.replies import LATE, WORTH, Later, busy, compress, error_headers, error_reply, media

_log = logging.getLogger("modelworks.serving")

SWEEP = 1.0
"""Seconds between two looks at the connections; what a connection remembers of the time is up to that much older."""
_FIRST = 64
"""Requests of the first slice, before anything is known of what they take."""
_MOST = 4096
_LONG = 0.001
"""Seconds of a turn in which many may have come to the door."""
_SLICES = 8
"""How many slices there are in the time that a request may wait."""


@dataclass(frozen=True)
class Limits:
    """What a client may take its time for, and what it may be made to wait for.

    Attributes:
        request: Seconds for a request to arrive whole.
        idle: Seconds that a connection may be silent between requests.
        file: Bytes of a file, the body of a PUT; it may take its time as long as it comes.
        wait: Seconds that a request may wait, once the server has been behind for that long.
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
    origin: bytes


class Connection(Protocol):
    """Where a request of HTTP came from."""

    loop: asyncio.AbstractEventLoop
    transport: Any
    server_state: Any
    owed: deque[Owed]

    def owe(self, owed: Owed) -> None:
        """Send this answer in its turn."""

    def settle(self) -> None:
        """Send what is ready."""


Reception = asyncio.Future["bytes | ModelworksError"]
"""Where what came by another way than HTTP is answered."""
Waiting = tuple["Connection | Reception", bytes, "bytes | TooMany", bool, bytes, About | None, bytes]


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

    Attributes:
        door: Takes in all connections that wait to be accepted. The event loop itself takes one a turn (libuv does so
            since 1.45), which is few when turns are long.

    """

    def __init__(self, plane: DataPlane, authorize: Authorize = anybody, limits: Limits = PATIENT) -> None:
        self.plane = plane
        self.lanes = Lanes(plane, limits.latency, limits.wait)
        self.authorize = authorize
        self.limits = limits
        self.known: dict[bytes, Known] = {}
        self.now = time.monotonic()
        self.door: Callable[[], None] = _shut
        self._waiting: list[Waiting] = []
        self._slice = _FIRST
        self._behind = self._spent = self._done = 0.0
        self._headers: list[tuple[bytes, bytes]] | None = None
        self._ok = b""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connections: set[Any] = set()

    def add(
        self,
        protocol: Connection,
        path: bytes,
        body: bytes | TooMany,
        keep: bool = True,
        accepts: bytes = b"",
        about: About | None = None,
        origin: bytes = b"",
    ) -> None:
        """Answer a request at the end of this turn.

        Args:
            protocol: Where it came from.
            path: Raw, without a query.
            body: As it came; or why it is not answered.
            keep: Whether the connection goes on after the answer.
            accepts: The compression that the client accepts.
            about: What else is known of it.
            origin: Where it came from, as it is logged.
        """
        waiting = self._waiting
        waiting.append((protocol, path, body, keep, accepts, about, origin))
        if len(waiting) == 1:
            self._behind = time.perf_counter()
            protocol.loop.call_soon(self.flush)

    async def ask(self, path: bytes, body: bytes, origin: bytes) -> bytes | ModelworksError:
        """Answer what came by another way than HTTP, together with the rest of this turn."""
        loop = asyncio.get_running_loop()
        reception: Reception = loop.create_future()
        self._waiting.append((reception, path, body, True, b"", None, origin))
        if len(self._waiting) == 1:
            self._behind = time.perf_counter()
            loop.call_soon(self.flush)
        return await reception

    def flush(self, all: bool = False) -> None:
        """Answer what is waiting, in the order in which it came: what fits into a slice, or all of it."""
        begun = time.perf_counter()
        if self._waiting and begun - self._behind > self.limits.wait and self._spent:
            room = max(int(self.limits.wait * self._done / self._spent), self._slice)
            if len(self._waiting) > room:
                self._waiting[room:] = self._refuse(self._waiting[:room], self._waiting[room:])
        while self._waiting:
            some, self._waiting = self._waiting[: self._slice], self._waiting[self._slice :]
            before = time.perf_counter()
            self._answer(some)
            now = time.perf_counter()
            self._learn(len(some), now - before)
            if now - begun > _LONG:
                self.door()
            if self._waiting and not all:
                asyncio.get_running_loop().call_soon(self.flush)  # after a look at who has come meanwhile
                return

    def _learn(self, count: int, seconds: float) -> None:
        """How many requests fit into a slice, and how many are answered in a second, by what the last ones took."""
        share = self.limits.wait / _SLICES
        if seconds > share:
            self._slice = max(int(count * share / seconds), 1)
        elif count >= self._slice and seconds < share / 2:
            self._slice = min(2 * self._slice, _MOST)
        self._done += count
        self._spent += seconds
        if self._spent > self.limits.wait:  # what is long ago counts less and less
            self._done, self._spent = self._done / 2, self._spent / 2

    def _refuse(self, before: Sequence[Waiting], late: Sequence[Waiting]) -> list[Waiting]:
        """Tell the newest, for which there is no time, to come again: now, or in turn behind others of a connection."""
        error = busy(LATE.format(self.limits.wait))
        self.plane.shed += sum(not isinstance(one[2], TooMany) for one in late)
        connections = {one[0] for one in before}
        now = [one for one in late if one[0] not in connections]
        self._reply(now, [one[2] if isinstance(one[2], TooMany) else error for one in now])
        return [
            (one[0], one[1], one[2] if isinstance(one[2], TooMany) else error, *one[3:])
            for one in late
            if one[0] in connections
        ]

    def _answer(self, waiting: Sequence[Waiting]) -> None:
        results: Sequence[Result]
        try:
            asked = [
                (path, body, origin)
                for _, path, body, _, _, _, origin in waiting
                if not isinstance(body, TooMany)
            ]
            results = self.plane.turn(asked, self.lanes.put)
            if len(asked) < len(waiting):  # in the order in which they came, those that were refused as well
                told = iter(results)
                results = [body if isinstance(body, TooMany) else next(told) for _, _, body, *_ in waiting]
        except Exception:
            _log.exception("%d requests could not be answered", len(waiting))
            broken = ModelworksError(
                "the request could not be answered", "an error of the server", "see its log"
            )
            results = [broken] * len(waiting)
        self._reply(waiting, results)

    def _reply(self, waiting: Sequence[Waiting], results: Sequence[Result]) -> None:
        for one, result in zip(waiting, results, strict=True):
            protocol, path, _, keep, accepts, about, _ = one
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
            if keep and type(result) is bytes and about is None and not (accepts and len(result) >= WORTH):
                transport.write(b"%b%d\r\n\r\n%b" % (self._ok, len(result), result))
                continue
            status, body = error_reply(result, path) if isinstance(result, ModelworksError) else (200, result)
            if isinstance(result, ModelworksError):
                headers = [*headers, *error_headers(result)]
            if about is not None:
                headers = [*headers, *about.headers()]
                if about.traced and self.plane.traces is not None:
                    self.plane.traces.tell("POST", path, about, status)
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


def _shut() -> None:
    """Nobody waits."""


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
