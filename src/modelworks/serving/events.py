"""Server-sent events: what a stream gives, as it comes, to one client of HTTP.

Source: the WHATWG's HTML standard, section 9.2, server-sent events.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from modelworks.core.errors import ModelworksError, NotReady
from modelworks.serving.data_plane import DataPlane, Request
from modelworks.serving.limits import Limits
from modelworks.serving.pieces import Given
from modelworks.serving.replies import busy, error_reply
from modelworks.serving.stream import Stream

_log = logging.getLogger("modelworks.serving")

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # a proxy that gathers an answer would hold it back
]
_STILL = b": still here\n\n"


class _Gone(Exception):  # noqa: N818 - it is what happened to the client
    """Nobody reads any more."""


class Streams:
    """The streams of a server.

    A stream has a thread only while it waits for its model: clients that read slowly hold none.

    Args:
        plane: Answers.
        limits: How many, and how patient they are.
    """

    def __init__(self, plane: DataPlane, limits: Limits) -> None:
        self.plane = plane
        self.limits = limits
        self._threads = ThreadPoolExecutor(limits.streams, thread_name_prefix="modelworks-stream")

    async def answer(self, request: Request, receive: Receive, send: Send) -> None:
        """Answer a request.

        Raises:
            ModelworksError: why it is not answered; nothing has been sent then.
        """
        if self.plane.streams >= self.limits.streams:
            self.plane.shed += 1
            raise busy(f"{self.plane.streams} answers are given piece by piece just now")
        self.plane.streams += 1
        gone = asyncio.ensure_future(_left(receive))
        try:
            await _Talk(Stream(self.plane, request), gone, send, self._threads, self.limits).hold()
        finally:
            gone.cancel()
            self.plane.streams -= 1


class _Talk:
    """One of them."""

    def __init__(
        self,
        stream: Stream,
        gone: asyncio.Future[Any],
        send: Send,
        threads: ThreadPoolExecutor,
        limits: Limits,
    ) -> None:
        self.stream = stream
        self._gone = gone
        self._send = send
        self._threads = threads
        self._limits = limits
        self._begun = False

    async def hold(self) -> None:
        """Give what comes until the end, whoever brings it about."""
        loop = asyncio.get_running_loop()
        step = self.stream.begin
        try:
            while some := await self._patient(loop.run_in_executor(self._threads, step)):
                await self._say(b"".join([_event(one) for one in some]))
                step = self.stream.take
            whole = await loop.run_in_executor(self._threads, self.stream.finish)
            await self._say(b"event: done\ndata: %b\n\n" % whole, more=False)
        except ModelworksError as error:
            await loop.run_in_executor(self._threads, self._cut)
            await self._fail(error)
        except _Gone:
            await loop.run_in_executor(self._threads, self._cut)
        except asyncio.CancelledError:
            self._cut()
            await self._fail(NotReady("the answer was cut off", "the server ends", "ask again"))
            raise
        finally:
            self.stream.stop()

    async def _patient(self, work: asyncio.Future[Any]) -> list[Given]:
        """What is worked out; while it takes its time, the client hears now and then that there is somebody."""
        work.add_done_callback(_heard)
        while not work.done():
            await asyncio.wait(
                {work, self._gone}, timeout=self._limits.quiet, return_when=asyncio.FIRST_COMPLETED
            )
            if self._gone.done():
                raise _Gone
            if not work.done():
                await self._say(_STILL)
        some: list[Given] = work.result()
        return some

    def _cut(self) -> None:
        try:
            self.stream.cut()
        except ModelworksError as error:
            _log.warning("what was given of an answer could not be logged: %s", error)

    async def _fail(self, error: ModelworksError) -> None:
        """Say why nothing more comes: by a status, where nothing has come yet."""
        if not self._begun:
            raise error
        with suppress(_Gone):
            await self._say(b"event: error\ndata: %b\n\n" % error_reply(error)[1], more=False)

    async def _say(self, content: bytes, more: bool = True) -> None:
        """Send something; a client that reads nothing for too long has gone."""
        try:
            async with asyncio.timeout(self._limits.idle):
                if not self._begun:
                    self._begun = True
                    await self._send({"type": "http.response.start", "status": 200, "headers": HEADERS})
                await self._send({"type": "http.response.body", "body": content, "more_body": more})
        except TimeoutError:
            raise _Gone from None
        if self._gone.done():
            raise _Gone


def _event(given: Given) -> bytes:
    return b'data: {"row":%d,"piece":%b}\n\n' % given


def _heard(work: asyncio.Future[list[Given]]) -> None:
    """What nobody waits for any more may fail."""
    if not work.cancelled():
        work.exception()


async def _left(receive: Receive) -> None:
    """Return when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
