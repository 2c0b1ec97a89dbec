"""What a server does that is asked for five times what it can do.

Run it with ``make bench-overload``. A forest of 2,000 trees, 30 rows a request, everything logged:

- *peak*: 64 connections, each of which asks again as soon as it is answered.
- *overload*: requests come at five times that rate, whether the earlier ones are answered or not, each on a connection
  that is free, for a minute. The server answers what it can and tells the others to come again (503, 429).
- *after*: as *peak*, at once after the overload.

The load comes from a process of its own, a plain asyncio protocol. It must not be the limit itself: the table says what
it sent.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections import Counter, deque
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench_many import install, serve
from bench_serve import Case, call, start

NAMES = [f"x{number}" for number in range(20)]
ROW = {"at": "s0", **{name: round(0.1 * place - 0.4, 3) for place, name in enumerate(NAMES)}}


def deploy(state: Path, trees: int) -> None:
    """The forest as the only champion."""
    import pandas as pd
    from sklearn.ensemble import RandomForestClassifier

    rng = np.random.default_rng(0)
    x = pd.DataFrame(rng.normal(size=(3000, len(NAMES))), columns=NAMES)
    y = (x.sum(axis=1) + rng.normal(size=3000) > 0).astype(int).to_numpy()
    model = RandomForestClassifier(trees, max_depth=10, random_state=0, n_jobs=2).fit(x, y)
    install(state, [model], x, y, NAMES, 1)


@dataclass
class Load:
    """What was asked and answered.

    Attributes:
        sent: Requests.
        answers: How many had which status; 0 for a connection that broke.
        waits: Seconds until an answer, by status.
    """

    sent: int = 0
    answers: Counter[int] = field(default_factory=Counter)
    waits: dict[int, list[float]] = field(default_factory=dict)

    def heard(self, status: int, seconds: float) -> None:
        """Count an answer."""
        self.answers[status] += 1
        self.waits.setdefault(status, []).append(seconds)


class Caller(asyncio.Protocol):
    """One connection: a request, its answer, and whoever wants to know that it is free."""

    def __init__(self, load: Load, request: bytes, free: Any) -> None:
        self.load, self.request, self.free = load, request, free
        self.sent: float | None = None
        self.transport: Any = None
        self.heard = b""

    def connection_made(self, transport: Any) -> None:
        """See `asyncio.Protocol`."""
        self.transport = transport

    def ask(self) -> None:
        """Send the request."""
        self.load.sent += 1
        self.sent, self.heard = time.perf_counter(), b""
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self.heard += data
        end = self.heard.find(b"\r\n\r\n")
        if end < 0 or self.sent is None:
            return
        at = self.heard.find(b"content-length: ")
        length = int(self.heard[at + 16 : self.heard.index(b"\r\n", at)])
        if len(self.heard) >= end + 4 + length:
            self.load.heard(int(self.heard[9:12]), time.perf_counter() - self.sent)
            self.sent = None
            self.free(self)

    def connection_lost(self, _error: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        if self.sent is not None:
            self.load.heard(0, time.perf_counter() - self.sent)
            self.sent = None


async def closed(port: int, request: bytes, seconds: float, connections: int) -> Load:
    """Each connection asks again when it is answered."""
    load, loop = Load(), asyncio.get_running_loop()
    until = time.perf_counter() + seconds

    def again(caller: Caller) -> None:
        if time.perf_counter() < until:
            caller.ask()

    callers = []
    for _ in range(connections):
        _, caller = await loop.create_connection(lambda: Caller(load, request, again), "127.0.0.1", port)
        callers.append(caller)
    for caller in callers:
        caller.ask()
    while any(caller.sent is not None for caller in callers):
        await asyncio.sleep(0.05)
    for caller in callers:
        caller.transport.close()
    return load


async def opened(port: int, request: bytes, seconds: float, rate: float, most: int) -> Load:
    """Requests come at a rate, answered or not; those for which no connection can be had are not sent."""
    load, loop = Load(), asyncio.get_running_loop()
    free: deque[Caller] = deque()
    callers: list[Caller] = []
    begun = time.perf_counter()
    due = 0
    while (now := time.perf_counter()) < begun + seconds:
        wanted = int((now - begun) * rate)
        while due < wanted:
            due += 1
            while free and free[-1].transport.is_closing():
                free.pop()
            if free:
                free.pop().ask()
            elif len(callers) < most:
                _, caller = await loop.create_connection(
                    lambda: Caller(load, request, free.append), "127.0.0.1", port
                )
                callers.append(caller)
                caller.ask()
        await asyncio.sleep(0.002)
    deadline = time.perf_counter() + 30
    while any(caller.sent is not None for caller in callers) and time.perf_counter() < deadline:
        await asyncio.sleep(0.05)
    for caller in callers:
        caller.transport.close()
    return load


def told(load: Load, seconds: float) -> dict[str, Any]:
    """The figures of a load."""

    def milliseconds(status: int, share: float) -> float:
        waits = sorted(load.waits.get(status, ()))
        return round(1000 * waits[min(int(len(waits) * share), len(waits) - 1)], 1) if waits else 0.0

    refused = load.answers[503] + load.answers[429]
    return {
        "asked_per_second": round(load.sent / seconds),
        "served_per_second": round(load.answers[200] / seconds),
        "refused_per_second": round(refused / seconds),
        "neither": load.sent - load.answers[200] - refused,
        "served_p50_ms": milliseconds(200, 0.5),
        "served_p99_ms": milliseconds(200, 0.99),
        "refused_p50_ms": milliseconds(503, 0.5),
        "refused_p99_ms": milliseconds(503, 0.99),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--times", type=float, default=5.0)
    parser.add_argument("--trees", type=int, default=2000)
    parser.add_argument("--rows", type=int, default=30)
    parser.add_argument("--connections", type=int, default=8000)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--state", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.port, options.state, 0)
        return
    import resource

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    port = 20_000 + os.getpid() % 20_000
    case = Case("forest", "forest", "/predict/many", {"rows": [ROW] * options.rows})
    body = json.dumps(case.body).encode()
    request = (
        b"POST /predict/many HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        print(f"a forest of {options.trees} trees ...", file=sys.stderr)
        deploy(folder / "state", options.trees)
        start(stack, "forest", port, folder / "state", script=__file__)
        call(port, case)
        peaks = [told(asyncio.run(closed(port, request, 5, 64)), 5) for _ in range(3)]
        peak = statistics.median(one["served_per_second"] for one in peaks)
        rate = options.times * peak
        print(f"peak {peak:,.0f}/s; {rate:,.0f}/s for {options.seconds:g} s ...", file=sys.stderr)
        load = told(
            asyncio.run(opened(port, request, options.seconds, rate, options.connections)), options.seconds
        )
        after = told(asyncio.run(closed(port, request, 5, 64)), 5)
    figures = {
        "peak": peaks[1],
        "overload": load,
        "after": after,
        "served_of_peak": round(load["served_per_second"] / peak, 3),
        "asked_of_peak": round(load["asked_per_second"] / peak, 2),
    }
    if options.json:
        print(json.dumps(figures))
        return
    names = list(load)
    print(f"{'':20}" + "".join(f"{one:>12}" for one in ("peak", "overload", "after")))
    for name in names:
        print(f"{name:20}" + "".join(f"{figures[one][name]:>12,}" for one in ("peak", "overload", "after")))
    print(
        f"asked for {figures['asked_of_peak']:.1f} times what it can do, "
        f"it served {figures['served_of_peak']:.2f} of its peak (asked: 0.80)"
    )


if __name__ == "__main__":
    main()
