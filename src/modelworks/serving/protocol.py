"""HTTP/1.1 without a detour: predictions are answered where their bytes arrive, all else goes to ASGI.

A subclass of uvicorn's protocol. For the hot paths it makes no task and no ASGI scope; what arrives in one
turn of the event loop is predicted and logged together, see `tick`. A request head that is byte for byte one
that was parsed before is not parsed again: the parser is a function of the bytes, so its result is looked up.

Guards: size of the body (announced and chunked), time for a request to arrive, idle connections, requests
that are pipelined, ``Expect: 100-continue``, ``Connection: close``, HTTP/1.0, clients that do not read, too
many connections.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from modelworks.access.allowance import Allowance
from modelworks.core.errors import Denied, Invalid, ModelworksError, TooMany
from modelworks.serving import paths
from modelworks.serving.about import About, about, origin
from modelworks.serving.data_plane import too_large
from modelworks.serving.replies import Mixed, accepted, busy, error_headers, error_reply
from modelworks.serving.tick import SWEEP, Known, Owed, Tick, response

HOT_BODY = 256 * 1024
"""Larger bodies are decoded in a thread, so that they do not hold up the small ones."""
_MEMO = 4096
_MEMO_HEAD = 4096
_LINGER = 5.0
_END = b"\r\n\r\n"


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
        self._memo: Known | None = None
        self._head = -1  # bytes of JSON before raw tensors
        self._accepts = b""
        self._allowance: Allowance | None = None
        self._about: About | None = None
        self._origin = b""
        self.owed: deque[Owed] = deque()  # answers that are still being made, and those behind them
        self._held = b""  # what arrived behind them
        self._ended = False  # the client sends nothing more
        self._after: list[Callable[[], None]] = []  # what waits for them
        self._since = self._active = self.tick.now
        self.tick.watch(self.loop, self.connections)
        if len(self.connections) > self.tick.limits.connections:
            self.url = b""
            self._refuse(busy(f"{len(self.connections)} connections are open"), 503)

    # -- in --------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        tick = self.tick
        self._active = tick.now
        if self._closing:
            return
        if self.owed:
            self._held += data
            self.flow.pause_reading()
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
                told = None if tick.plane.traces is None else about(tick.plane.traces)
                tick.add(self, known.path, body, True, known.accepts, told, known.origin)
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
        id = trace = b""
        size = len(self.url) + 20
        for name, value in self.headers:
            size += len(name) + len(value) + 4
            if name == b"content-length" and value.isdigit():
                length = int(value)
            elif name == b"authorization":
                authorization = value
            elif name == b"x-request-id":
                id = value
            elif name == b"traceparent":
                trace = value
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
            self._about = about(self.tick.plane.traces, id, trace)
            self._origin = origin("" if self._allowance is None else self._allowance.caller, id, trace)
            self._parts = []
            version = self.parser.get_http_version()
            self._keep = version == "1.1" and self.parser.should_keep_alive()
            if self.expect_100_continue and version == "1.1":
                self.tick.flush(all=True)
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            elif self._keep and size <= _MEMO_HEAD and not (id or trace):  # these heads come once
                self._memo = Known(path, length, self._head, self._accepts, self._allowance, self._origin)
            return
        url, headers, expect = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expect
        self.headers.extend(headers)
        self.tick.flush()
        app = self.app
        if self.owed:
            self.app = self._behind(app)
        try:
            super().on_headers_complete()
            self._asked = True
            if self.tick.plane.leaving:
                self.cycle.keep_alive = False
        except (httptools.HttpParserInvalidURLError, UnicodeDecodeError):
            self._refuse(Invalid("the address of the request is not valid", "", "percent-encode it"), 400)
        finally:
            self.app = app

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
        self.tick.add(self, path, body, self._keep, self._accepts, self._about, self._origin)

    # -- answers that take time -------------------------------------------------------------------------

    def owe(self, owed: Owed) -> None:
        """Send this answer in its turn; nothing more is read until then."""
        self.owed.append(owed)
        self.flow.pause_reading()

    def settle(self) -> None:
        """Send what is ready, in the order in which it was asked, and go on."""
        while self.owed and self.owed[0].ready:
            one = self.owed.popleft()
            rest, self.owed = self.owed, deque()
            one.tick.settle(one)
            self.owed = rest
        if self.owed:
            return
        after, self._after = self._after, []
        for action in after:
            action()
        if self.transport.is_closing():
            return
        self._active = self._since = self.tick.now
        if not self.pipeline:
            self.flow.resume_reading()
        held, self._held = self._held, b""
        if held:
            self.data_received(held)
        if self._ended and not self.owed:
            self.tick.flush(all=True)
            if not self.owed and (self.cycle is None or self.cycle.response_complete):
                self.transport.close()

    def _behind(self, app: Any) -> Any:
        """The application, asked when what was asked before it is answered."""
        before = asyncio.Event()
        self._after.append(before.set)

        async def behind(scope: Any, receive: Any, send: Any) -> None:
            await before.wait()
            await app(scope, receive, send)

        return behind

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`: what is still being made is logged, and sent to nobody."""
        self.owed.clear()
        self._held = b""
        after, self._after = self._after, []
        super().connection_lost(exc)
        for action in after:
            action()

    # -- guards ----------------------------------------------------------------------------------------

    def _refuse(self, error: ModelworksError, status: int) -> None:
        """Answer and end the connection, reading on for a while so that the client sees the answer."""
        self.tick.flush(all=True)
        if self.owed:
            self._after.append(partial(self._refuse, error, status))
            return
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
        headers = [*self.server_state.default_headers, *error_headers(error)]
        self.transport.write(response(headers, status, body, keep=False))
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
            if now - since > limits.request + SWEEP and not self.flow.read_paused:
                error = Invalid(
                    "the request did not arrive in time",
                    f"the limit is {limits.request:g} seconds",
                    "send it faster",
                )
                self._refuse(error, 408)
        elif self.owed:
            return
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
        self._since = self.tick.now  # what was not read meanwhile is not late

    def eof_received(self) -> bool:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        self.tick.flush(all=True)
        self._ended = bool(self.owed)
        return self._ended

    def shutdown(self) -> None:
        """See `HttpToolsProtocol.shutdown`: what is waiting is answered first."""
        self.tick.flush(all=True)
        if self.owed:
            self._after.append(super().shutdown)
        else:
            super().shutdown()


def protocol_for(tick: Tick) -> type[FastProtocol]:
    """The protocol of one server."""
    return type("ServerProtocol", (FastProtocol,), {"tick": tick})
