"""The data plane as an ASGI application, before another one: for what the fast protocol leaves to it."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from modelworks.access.allowance import Allowance
from modelworks.core.errors import Busy, ModelworksError, NotFound, TooLarge
from modelworks.serving import paths
from modelworks.serving.about import About, about, origin
from modelworks.serving.data_plane import DataPlane, FullReply, too_large
from modelworks.serving.replies import LATE, busy, error_headers, error_reply

_THREADS = min(32, (os.cpu_count() or 1) + 4)
"""Of `asyncio.to_thread`."""
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

Authorize = Callable[[bytes | None, str | None], Allowance | None]
"""Takes the value of the Authorization header, and the model that is asked, if it is one. Raises `Denied` if it may
not be; gives the caller's allowance, which every request takes from, ``None`` where callers have no names. Must be
quick."""


def anybody(_authorization: bytes | None, _model: str | None) -> None:
    """Let everybody predict, as often as they like."""


class DataPlaneApp:
    """Answers the data plane's paths and passes everything else on.

    Args:
        plane: The data plane.
        rest: The application for all other paths; without one they are not found.
        authorize: Who may predict.
        wait: Seconds that a request may wait for a thread, by what the last ones took.
    """

    def __init__(
        self,
        plane: DataPlane,
        rest: Application | None = None,
        authorize: Authorize = anybody,
        wait: float = math.inf,
    ) -> None:
        self.plane = plane
        self.rest = rest
        self.authorize = authorize
        self.wait = wait
        self._inside = 0
        self._seconds = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification, version 3."""
        if scope["type"] == "http":
            path: bytes = scope.get("raw_path") or scope["path"].encode()
            headers = {name.lower(): value for name, value in scope["headers"]}
            told = about(
                self.plane.traces, headers.get(b"x-request-id", b""), headers.get(b"traceparent", b"")
            )
            if told is not None:
                scope["state"] = {**scope.get("state", {}), "about": told}
                send = self._saying(send, told, scope["method"], path.split(b"?", 1)[0])
            if paths.ours(path):
                await _send(send, await self._answer(scope, path, headers, receive))
                return
        if self.rest is not None:
            await self.rest(scope, receive, send)
        elif scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http":
            error = NotFound(
                f"there is no {scope['path'][:120]!r}", "", "POST /predict/MODEL, or see GET /v2"
            )
            status, body = error_reply(error)
            await _send(send, (status, [(b"content-type", b"application/json")], body))

    def _saying(self, send: Send, told: About, method: str, path: bytes) -> Send:
        """Sends an answer with the name that its request came with, and tells its span."""

        async def saying(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *told.headers()]
                if told.traced and self.plane.traces is not None:
                    self.plane.traces.tell(method, path, told, message["status"])
            await send(message)

        return saying

    async def _answer(
        self, scope: Scope, path: bytes, headers: Mapping[bytes, bytes], receive: Receive
    ) -> FullReply:
        try:
            model = paths.model_of(path)
            allowance = self.authorize(headers.get(b"authorization"), model)
            if allowance is not None and model and scope["method"] == "POST" and (no := allowance.spend()):
                raise no
            if self._inside * self._seconds > self.wait * _THREADS:
                self.plane.shed += 1
                raise busy(LATE.format(self.wait))
            body = await self._body(headers, receive) if scope["method"] == "POST" else b""
            caller = "" if allowance is None else allowance.caller
            came = origin(caller, headers.get(b"x-request-id", b""), headers.get(b"traceparent", b""))
        except ModelworksError as error:
            status, content = error_reply(error, path)
            extra = error_headers(error)
            if isinstance(error, TooLarge | Busy):  # its body is not read
                extra.append((b"connection", b"close"))
            return status, [(b"content-type", b"application/json"), *extra], content
        self._inside += 1
        try:
            return await asyncio.to_thread(self._handle, scope["method"], path, headers, body, came)
        finally:
            self._inside -= 1

    def _handle(
        self, method: str, path: bytes, headers: Mapping[bytes, bytes], body: bytes, came: bytes
    ) -> FullReply:
        begun = time.perf_counter()
        reply = self.plane.handle(method, path, headers, body, came)
        self._seconds += 0.1 * (time.perf_counter() - begun - self._seconds)
        return reply

    async def _body(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        limit = self.plane.max_body
        announced = headers.get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > limit:
            raise too_large(limit)
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return b""
            part: bytes = message.get("body", b"")
            size += len(part)
            if size > limit:
                raise too_large(limit)
            parts.append(part)
            if not message.get("more_body"):
                return b"".join(parts)


async def _send(send: Send, reply: FullReply) -> None:
    status, headers, body = reply
    length = [] if status == 204 else [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *length]})
    await send({"type": "http.response.body", "body": body})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
