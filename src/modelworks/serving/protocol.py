"""HTTP/1.1 without a detour: predictions are answered where their bytes arrive, all else goes to ASGI.

A subclass of uvicorn's protocol. For the hot paths it makes no task and no ASGI scope; what arrives in one
turn of the event loop is predicted and logged together (`Tick`), so batches grow with the load and nobody
waits for a timer. A request head that is byte for byte one that was parsed before is not parsed again: the
parser is a function of the bytes, so its result is looked up.

Guards: size of the body (announced and chunked), time for a request to arrive, idle connections, requests
that are pipelined, ``Expect: 100-continue``, ``Connection: close``, HTTP/1.0, clients that do not read.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from modelworks.access.allowance import Allowance
from modelworks.core.errors import Denied, Invalid, ModelworksError, TooMany
from modelworks.serving import paths
from modelworks.serving.asgi import Authorize, anybody
from modelworks.serving.data_plane import DataPlane, too_large
from modelworks.serving.replies import WORTH, Mixed, accepted, compress, error_reply, media, retry_after

_log = logging.getLogger("modelworks.serving")

HOT_BODY = 256 * 1024
"""Larger bodies are decoded in a thread, so that they do not hold up the small ones."""
_MEMO = 4096
_MEMO_HEAD = 4096
_LINGER = 5.0
_END = b"\r\n\r\n"


@dataclass(frozen=True)
class Limits:
    """What a client may take its time for.

    Attributes:
        request: Seconds for a request to arrive whole.
        idle: Seconds that a connection may be silent between requests.
        file: Bytes of a file, the body of a PUT; it may take its time as long as it comes.
    """

    request: float = 30.0
    idle: float = 75.0
    file: int = 0


PATIENT = Limits()
"""What is usual."""


class _Known(NamedTuple):
    """What the parser said of a head."""

    path: bytes
    length: int
    head: int
    accepts: bytes
    allowance: Allowance | None


Reception = asyncio.Future["bytes | ModelworksError"]
"""Where what came by another way than HTTP is answered."""


class Tick:
    """What arrives in one turn of the event loop, answered at its end.

    Args:
        plane: Answers.
        authorize: Who may predict.
        limits: For slow clients.
    """

    def __init__(self, plane: DataPlane, authorize: Authorize = anybody, limits: Limits = PATIENT) -> None:
        self.plane = plane
        self.authorize = authorize
        self.limits = limits
        self.known: dict[bytes, _Known] = {}
        self.now = time.monotonic()
        self._waiting: list[tuple[FastProtocol | Reception, bytes, bytes | TooMany, bool, bytes]] = []
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
        """Answer what is waiting, in the order in which it came."""
        waiting = self._waiting
        if not waiting:
            return
        self._waiting = []
        results: Sequence[bytes | ModelworksError]
        try:
            asked = [(path, body) for _, path, body, _, _ in waiting if not isinstance(body, TooMany)]
            results = self.plane.results(asked)
            if len(asked) < len(waiting):  # in the order in which they came, those that were refused as well
                told = iter(results)
                results = [body if isinstance(body, TooMany) else next(told) for _, _, body, _, _ in waiting]
        except Exception:
            _log.exception("%d requests could not be answered", len(waiting))
            broken = ModelworksError(
                "the request could not be answered", "an error of the server", "see its log"
            )
            results = [broken] * len(waiting)
        for (protocol, path, _, keep, accepts), result in zip(waiting, results, strict=True):
            if isinstance(protocol, asyncio.Future):
                if not protocol.done():  # its client may be gone
                    protocol.set_result(result)
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
            if keep and type(result) is bytes and not (accepts and len(result) >= WORTH):
                transport.write(b"%b%d\r\n\r\n%b" % (self._ok, len(result), result))
                continue
            status, body = error_reply(result, path) if isinstance(result, ModelworksError) else (200, result)
            if isinstance(result, TooMany):
                headers = [*headers, retry_after(result)]
            transport.write(_response(headers, status, body, keep, accepts))
            if not keep:
                transport.close()

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
            if isinstance(connection, FastProtocol):
                connection.expire(self.now)
        assert self._loop is not None
        self._loop.call_later(1.0, self._sweep)


class FastProtocol(HttpToolsProtocol):
    """One connection. `tick` is set by `protocol_for`."""

    tick: Tick

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self._partial = False  # in the middle of a request
        self._asked = False  # the application is being asked for the request that is arriving
        self._file = False  # what arrives is a file
        self._closing = False  # the last answer of this connection is given
        self._hot: bytes | None = None
        self._keep = True
        self._parts: list[bytes] = []
        self._size = 0
        self._completed = 0
        self._memo: _Known | None = None
        self._head = -1  # bytes of JSON before raw tensors
        self._accepts = b""
        self._allowance: Allowance | None = None
        self._since = self._active = self.tick.now
        self.tick.watch(self.loop, self.connections)

    # -- in --------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        tick = self.tick
        self._active = tick.now
        if self._closing:
            return
        if not self._partial and (self.cycle is None or self.cycle.response_complete) and not self.pipeline:
            end = data.find(_END) + 4
            head = data[:end]
            known = tick.known.get(head)
            if known is not None and len(data) == end + known.length:
                if self.timeout_keep_alive_task is not None:
                    self._unset_keepalive_if_required()
                body: bytes | TooMany = data[end:] if known.head < 0 else Mixed.of(data[end:], known.head)
                if known.allowance is not None:
                    body = known.allowance.spend() or body
                tick.add(self, known.path, body, accepts=known.accepts)
                if len(self.connections) == 1:  # nobody to wait for
                    tick.flush()
                return
            self._feed(data)
            memo = self._memo
            if (
                memo is not None
                and self._completed == 1
                and not self._partial
                and len(data) == end + memo.length
            ):
                if len(tick.known) >= _MEMO:
                    tick.known.clear()
                tick.known[head] = memo
        else:
            self._feed(data)

    def _feed(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        self._completed = 0
        self._memo = None
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            if self._should_upgrade():
                self.handle_websocket_upgrade()
            else:
                self._refuse(Invalid("the connection cannot be upgraded", "", "send plain HTTP/1.1"), 400)
        except httptools.HttpParserError as error:
            if not self._closing:
                self._refuse(Invalid("this is not HTTP/1.1", str(error), "correct the request"), 400)

    def on_message_begin(self) -> None:
        """See `httptools`."""
        if not self._partial:
            self._since = self.tick.now
        self._partial = True
        self._hot = None
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_headers_complete(self) -> None:
        """See `httptools`: decide between the hot path and ASGI."""
        if self._closing:
            return
        length = -1
        plain = True
        authorization = None
        self._head, self._accepts = -1, b""
        size = len(self.url) + 20
        for name, value in self.headers:
            size += len(name) + len(value) + 4
            if name == b"content-length" and value.isdigit():
                length = int(value)
            elif name == b"authorization":
                authorization = value
            elif name == b"accept-encoding":
                self._accepts = accepted(value)
            elif name == b"inference-header-content-length" and value.isdigit() and len(value) < 10:
                self._head = int(value)
            elif name in (
                b"transfer-encoding",
                b"content-encoding",
                b"inference-header-content-length",
                b"upgrade",
            ):
                plain = False
        self._size = 0
        self._asked = False
        self._file = self.parser.get_method() == b"PUT"
        if length > self._most:
            self._refuse(too_large(self._most), 413)
            return
        path = self.url.split(b"?", 1)[0]
        if (
            plain
            and max(self._head, 0) <= length <= HOT_BODY
            and self.parser.get_method() == b"POST"
            and paths.hot(path)
            and (self.cycle is None or self.cycle.response_complete)
            and not self.pipeline
            and self._authorized(authorization, path)
        ):
            self._hot = path
            self._parts = []
            version = self.parser.get_http_version()
            self._keep = version == "1.1" and self.parser.should_keep_alive()
            if self.expect_100_continue and version == "1.1":
                self.tick.flush()
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            elif self._keep and size <= _MEMO_HEAD:
                self._memo = _Known(path, length, self._head, self._accepts, self._allowance)
            return
        url, headers, expect = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expect
        self.headers.extend(headers)
        try:
            super().on_headers_complete()
            self._asked = True
        except (httptools.HttpParserInvalidURLError, UnicodeDecodeError):
            self._refuse(Invalid("the address of the request is not valid", "", "percent-encode it"), 400)

    @property
    def _most(self) -> int:
        """The bytes that the body may have."""
        return max(self.tick.limits.file if self._file else 0, self.tick.plane.max_body)

    def _authorized(self, authorization: bytes | None, path: bytes) -> bool:
        """Whether it may predict; if not, the ASGI application says so."""
        try:
            self._allowance = self.tick.authorize(authorization, paths.model_of(path))
        except Denied:
            return False
        return True

    def on_body(self, body: bytes) -> None:
        """See `httptools`."""
        if self._closing:
            return
        self._size += len(body)
        if self._hot is not None:
            self._parts.append(body)
        elif self._size > self._most:
            self._refuse(too_large(self._most), 413)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """See `httptools`."""
        self._partial = self._asked = False
        self._completed += 1
        if self._closing:
            return
        if self._hot is None:
            super().on_message_complete()
            return
        path, self._hot = self._hot, None
        raw = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts = []
        self._closing = not self._keep
        body: bytes | TooMany = raw if self._head < 0 else Mixed.of(raw, self._head)
        if self._allowance is not None:
            body = self._allowance.spend() or body
        self.tick.add(self, path, body, self._keep, self._accepts)

    # -- guards ----------------------------------------------------------------------------------------

    def _refuse(self, error: ModelworksError, status: int) -> None:
        """Answer and end the connection, reading on for a while so that the client sees the answer."""
        self.tick.flush()
        self._closing = True
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if not self._asked:
                # Earlier requests are still being answered: they are the last ones.
                (self.pipeline[0][0] if self.pipeline else cycle).keep_alive = False
                return
            started, cycle.disconnected = cycle.response_started, True
            cycle.message_event.set()
            if started or self.pipeline:
                self.transport.close()
                return
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        body = error_reply(error, self.url)[1]
        self.transport.write(_response(self.server_state.default_headers, status, body, keep=False))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._since = self._active = self.tick.now

    def expire(self, now: float) -> None:
        """Close the connection if its client takes too long."""
        limits = self.tick.limits
        if self.transport.is_closing():
            return
        if self._closing:
            if now - self._active > _LINGER or now - self._since > limits.request:
                self.transport.close()
        elif self._partial:
            since = self._active if self._file else self._since
            if now - since > limits.request and not self.flow.read_paused:
                error = Invalid(
                    "the request did not arrive in time",
                    f"the limit is {limits.request:g} seconds",
                    "send it faster",
                )
                self._refuse(error, 408)
        elif now - self._active > limits.idle and (self.cycle is None or self.cycle.response_complete):
            self.transport.close()

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`: from a client that does not read, nothing more is taken."""
        super().pause_writing()
        self.flow.pause_reading()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        super().resume_writing()
        self.flow.resume_reading()

    def eof_received(self) -> None:
        """See `asyncio.Protocol`."""
        self.tick.flush()

    def shutdown(self) -> None:
        """See `HttpToolsProtocol.shutdown`: what is waiting is answered first."""
        self.tick.flush()
        super().shutdown()


def protocol_for(tick: Tick) -> type[FastProtocol]:
    """The protocol of one server."""
    return type("ServerProtocol", (FastProtocol,), {"tick": tick})


def _joined(headers: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join(b"%b: %b\r\n" % header for header in headers)


def _response(
    headers: list[tuple[bytes, bytes]], status: int, body: bytes, keep: bool, accepts: bytes = b""
) -> bytes:
    own = media(body)
    if accepts and len(body) >= WORTH:
        own.append((b"content-encoding", accepts))
        body = compress(body, accepts)
    own.append((b"content-length", b"%d" % len(body)))
    if not keep:
        own.append((b"connection", b"close"))
    return b"%b%b%b\r\n%b" % (STATUS_LINE[status], _joined(headers), _joined(own), body)
