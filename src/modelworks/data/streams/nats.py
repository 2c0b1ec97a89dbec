"""NATS JetStream."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, TypeVar

import orjson

from modelworks.core.errors import Invalid, ModelworksError, NotReady, Unavailable
from modelworks.core.schema import Field
from modelworks.data.streams.messages import slice_of
from modelworks.data.streams.port import START, Positions, Taken

T = TypeVar("T")

_PATIENCE = 5.0
"""Seconds within which a broker answers."""
_ASK = 10_000
"""Messages that are asked for at once, and up to twice as many are on their way."""
_MOST_BYTES = 16 * 2**20
"""Bytes of messages that are asked for at once; from as many waiting, no more are asked for.

A broker cuts off a client to which 64 MiB are on their way.
"""
_EXPIRES = 30
_FORGOTTEN = 300
"""Seconds after which the broker forgets a reader that does not ask any more."""


@dataclass(frozen=True)
class Nats:
    """A stream of NATS JetStream: ``mw.Nats("FLIGHTS", url="nats://broker:4222")``.

    Every message is a JSON object with one row. The stream has to keep its messages (retention ``limits``):
    they are read by their sequence number, and nothing is acknowledged, since the table knows how far it is.

    Attributes:
        stream: Name of the stream.
        url: Address of the broker; several, with commas between them.
        subject: Only messages of this subject, where a stream has several; may hold wildcards.
        credentials: File with the credentials of a user.
        rows: Rows from which what came is committed.
        seconds: Time after which it is committed in any case.

    Raises:
        Invalid: a name or a limit that cannot be.
    """

    stream: str
    url: str = field(default="nats://127.0.0.1:4222", repr=False)  # it may hold a password
    subject: str = ""
    credentials: str = ""
    rows: int = 50_000
    seconds: float = 1.0

    def __post_init__(self) -> None:
        if not self.stream or any(sign in self.stream for sign in " .*>/\\"):
            raise Invalid(
                f"{self.stream!r} is no name of a stream",
                "",
                "name the stream, not a subject: mw.Nats('FLIGHTS')",
            )
        if self.rows < 1 or self.seconds <= 0:
            raise Invalid("mw.Nats commits by rows and seconds, both above 0", "", "leave them out")

    def open(self, positions: Positions, expected: Mapping[str, Field]) -> _Reader:
        """See `Stream.open`."""
        return _Reader(self, positions, expected)


class _Reader:
    """An ordered reader: a consumer that begins behind a sequence number and is not acknowledged.

    It lives in a thread of its own, which fetches while what came before is being committed. When anything is
    wrong with its connection it is of no more use: the next one begins where the table is.
    """

    def __init__(self, source: Nats, positions: Positions, expected: Mapping[str, Field]) -> None:
        self._source = source
        self._expected = expected
        self._gone: list[str] = []
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._bytes = 0
        self._asked = 0
        self._behind = 0
        self._said = ""
        self._partition = ""
        self._since = START
        self._enough = 1
        self._error: ModelworksError | None = None
        self._client: Any = None
        self._arrived = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="nats", daemon=True)
        self._thread.start()
        try:
            about = self._call(self._connect())
            self._stand(about, positions)
            self._call(self._listen())
        except BaseException:
            self.close()
            raise

    # -- the port ----------------------------------------------------------------------------------------

    @property
    def behind(self) -> int:
        """See `Reader.behind`."""
        return self._behind + len(self._waiting)

    def take(self, rows: int, seconds: float) -> Taken | None:
        """See `Reader.take`."""
        numbers, payloads = self._call(self._take(rows, seconds))
        if not numbers:
            return None
        gone, self._gone = self._gone, []
        since, self._since = self._since, numbers[-1]
        return Taken([slice_of(self._partition, since, payloads, numbers, self._expected)], gone)

    def close(self) -> None:
        """See `Reader.close`."""
        if self._loop.is_closed():
            return
        try:
            self._call(self._disconnect())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    # -- in the thread -----------------------------------------------------------------------------------

    async def _connect(self) -> dict[str, Any]:
        try:
            nats = import_module("nats")
        except ImportError as error:
            raise NotReady(
                "NATS cannot be read",
                "the package nats-py is not installed",
                "pip install 'modelworks[nats]'",
            ) from error
        source = self._source
        options: dict[str, Any] = {"user_credentials": source.credentials} if source.credentials else {}
        try:
            self._client = await asyncio.wait_for(
                nats.connect(
                    source.url.split(","), name="modelworks", allow_reconnect=False, connect_timeout=_PATIENCE,
                    ping_interval=5, max_outstanding_pings=2, max_reconnect_attempts=1, reconnect_time_wait=0.2,
                    error_cb=self._heard, closed_cb=self._lost, **options,
                ),
                2 * _PATIENCE,
            )  # fmt: skip
            about = await self._ask(f"STREAM.INFO.{source.stream}")
        except (OSError, TimeoutError, nats.errors.Error) as error:
            why = self._said or str(error) or type(error).__name__
            raise Unavailable(
                f"the stream {source.stream} cannot be reached", f"NATS: {why}", "it is tried again"
            ) from error
        kept = about["config"].get("retention", "limits")
        if kept != "limits":
            raise Invalid(
                f"the stream {source.stream} cannot be read twice",
                f"its retention is {kept!r}: what one reader took is gone for all",
                "read from a stream with retention 'limits', for instance one that has this one as its source",
            )
        return about

    def _stand(self, about: Mapping[str, Any], positions: Positions) -> None:
        """Find out where to begin."""
        source = self._source
        # A stream that is made anew counts from 1 again: it is another partition.
        self._partition = f"nats:{source.stream}/{about['created'][:19]}"
        if source.subject:
            self._partition += f"/{source.subject}"
        self._since = positions([self._partition]).get(self._partition, START)
        first, expected = int(about["state"]["first_seq"]), max(self._since, 0) + 1
        if self._since != START and first > expected:
            self._gone.append(
                f"{first - expected:,} messages of {source.stream} were gone before they were read: "
                f"the stream now begins at {first}"
            )

    async def _listen(self) -> None:
        source, begin = self._source, max(self._since, 0) + 1
        made = await self._ask(
            f"CONSUMER.CREATE.{source.stream}",
            stream_name=source.stream,
            config={
                "deliver_policy": "by_start_sequence",
                "opt_start_seq": begin,
                "ack_policy": "none",
                "replay_policy": "instant",
                "mem_storage": True,
                "num_replicas": 1,
                "inactive_threshold": _FORGOTTEN * 10**9,
                **({"filter_subject": source.subject} if source.subject else {}),
            },
        )
        self._behind = int(made["num_pending"])
        self._more = f"$JS.API.CONSUMER.MSG.NEXT.{source.stream}.{made['name']}"
        self._inbox = self._client.new_inbox()
        await self._client.subscribe(
            self._inbox, cb=self._came, pending_msgs_limit=-1, pending_bytes_limit=-1
        )
        await self._fill()

    async def _ask(self, what: str, **body: Any) -> dict[str, Any]:
        """Ask JetStream's own interface: JSON there and back."""
        reply = await self._client.request(
            f"$JS.API.{what}", orjson.dumps(body) if body else b"", timeout=_PATIENCE
        )
        told: dict[str, Any] = orjson.loads(reply.data)
        if "error" in told:
            said = told["error"].get("description", "")
            raise Invalid(
                f"the stream {self._source.stream} cannot be read",
                f"NATS: {said}",
                "check its name, or make it: nats stream add",
            )
        return told

    async def _fill(self) -> None:
        """Ask for more, as long as not too much waits: what is not asked for stays with the broker."""
        while (
            self._asked <= _ASK
            and len(self._waiting) + self._asked < max(2 * _ASK, self._source.rows)
            and self._bytes < _MOST_BYTES
        ):
            self._asked += _ASK
            wanted = {"batch": _ASK, "max_bytes": _MOST_BYTES, "expires": _EXPIRES * 10**9}
            await self._client.publish(self._more, orjson.dumps(wanted), reply=self._inbox)

    async def _came(self, message: Any) -> None:
        if message.headers is not None and not message.reply:
            return await self._told(message.headers)
        # $JS.ACK.[domain.account.]stream.consumer.delivered.sequence.of consumer.time.pending[.token]
        tokens = message.reply.split(".")
        place = 5 if len(tokens) == 9 else 7
        self._waiting.append((int(tokens[place]), message.data))
        self._behind = int(tokens[place + 3])
        self._bytes += len(message.data)
        self._asked -= 1
        if len(self._waiting) >= self._enough or len(self._waiting) == 1 or self._bytes >= _MOST_BYTES:
            self._arrived.set()
        if self._asked == _ASK:
            await self._fill()
        return None

    async def _told(self, headers: Mapping[str, str]) -> None:
        """A word of the broker about a request: it ran out (408), it cannot be kept (409), nobody is there."""
        if headers.get("Status") in ("408", "409", "404") and "Consumer" not in headers.get(
            "Description", ""
        ):
            self._asked -= int(headers.get("Nats-Pending-Messages", self._asked))
            await self._fill()
        else:
            self._fail(headers.get("Description") or "the broker has forgotten the reader")

    async def _heard(self, error: Exception) -> None:
        self._said = str(error)

    async def _lost(self) -> None:
        self._fail("the connection was lost")

    def _fail(self, why: str) -> None:
        self._error = Unavailable(
            f"the stream {self._source.stream} stopped", f"NATS: {why}", "it is tried again"
        )
        self._arrived.set()

    async def _take(self, rows: int, seconds: float) -> tuple[list[int], list[bytes]]:
        until = self._loop.time() + seconds
        began = bool(self._waiting)
        self._enough = rows
        while self._error is None and len(self._waiting) < rows and self._bytes < _MOST_BYTES:
            if self._waiting and not began:
                began, until = True, self._loop.time() + seconds
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), until - self._loop.time())
            except TimeoutError:
                break
        if self._error is not None:
            raise self._error
        came = [self._waiting.popleft() for _ in range(min(rows, len(self._waiting)))]
        self._bytes -= sum(len(payload) for _, payload in came)
        await self._fill()
        return [number for number, _ in came], [payload for _, payload in came]

    async def _disconnect(self) -> None:
        if self._client is not None:
            await self._client.close()
