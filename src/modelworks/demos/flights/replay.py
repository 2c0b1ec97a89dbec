"""An airline's booking page, replayed over HTTP: asked before departure, told after arrival."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import orjson
import polars as pl

from modelworks.core.errors import Unavailable
from modelworks.demos.flights.prepare import COLUMNS

_CONNECTIONS = 4
_TRIES, _LATER = 60, 1.0
"""How often a server is asked that has more to do than it can, and seconds in between: the machine may be busy."""
_ASKED = [name for name in COLUMNS if name != "late"]


class Booking:
    """A client that keeps a few connections open.

    Args:
        host: The server.
        port: Its port.
    """

    def __init__(self, host: str, port: int) -> None:
        self._place = (host, port)
        self._loop = asyncio.new_event_loop()
        self._open: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    def day(self, flights: pl.DataFrame, seed: int) -> list[tuple[str, float]]:
        """One day: a page for each airport and hour, answered; then every outcome, late and in no order.

        Returns:
            Flight id and the probability that the page showed, in the order of asking.
        """
        return self._loop.run_until_complete(self._day(flights, seed))

    async def _day(self, flights: pl.DataFrame, seed: int) -> list[tuple[str, float]]:
        told = flights.with_columns(
            pl.col("sched_dep").dt.strftime("%Y-%m-%dT%H:%M:%SZ"), page=pl.col("hour").floor()
        )
        pages = [page.select(_ASKED) for page in told.partition_by("origin", "page", maintain_order=True)]
        asked = [("/predict/delay", orjson.dumps({"rows": page.to_dicts()})) for page in pages]
        answers = await self._post(asked)
        shown = [
            (name, answer["output"])
            for page, answered in zip(pages, answers, strict=True)
            for name, answer in zip(page["flight_id"], answered["predictions"], strict=True)
        ]
        arrived = flights.filter(pl.col("late").is_not_null())
        outcomes = [
            {"key": name, "model": "delay", "value": late, "time": moment}
            for name, late, moment in arrived.select(
                "flight_id", "late", pl.col("sched_dep").dt.offset_by("4h").dt.strftime("%Y-%m-%dT%H:%M:%SZ")
            ).iter_rows()
        ]
        random.Random(seed).shuffle(outcomes)  # noqa: S311 - only an order
        parts = [outcomes[start : start + 100] for start in range(0, len(outcomes), 100)]
        await self._post([("/outcomes", orjson.dumps({"outcomes": part})) for part in parts])
        return shown

    async def _post(self, requests: Sequence[tuple[str, bytes]]) -> list[Any]:
        """Send requests over the connections; answers in the same order."""
        while len(self._open) < _CONNECTIONS:
            self._open.append(await asyncio.open_connection(*self._place))
        answers: list[Any] = [None] * len(requests)
        left = iter(range(len(requests)))

        async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for number in left:
                path, body = requests[number]
                for _ in range(_TRIES):
                    writer.write(
                        f"POST {path} HTTP/1.1\r\nhost: {self._place[0]}\r\ncontent-type: application/json\r\n"
                        f"content-length: {len(body)}\r\n\r\n".encode()
                        + body
                    )
                    head = await reader.readuntil(b"\r\n\r\n")
                    size = next(
                        int(line.split(b":")[1])
                        for line in head.lower().split(b"\r\n")
                        if line.startswith(b"content-length:")
                    )
                    content = await reader.readexactly(size)
                    if b" 503 " not in head[:16]:
                        break
                    await asyncio.sleep(_LATER)
                if b" 200 " not in head[:16]:
                    raise Unavailable(
                        f"{path} was refused",
                        content.decode(errors="replace")[:500],
                        "see the server's output",
                    )
                answers[number] = orjson.loads(content)

        await asyncio.gather(*(work(*connection) for connection in self._open))
        return answers

    def close(self) -> None:
        """Close the connections."""
        for _, writer in self._open:
            writer.close()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()
