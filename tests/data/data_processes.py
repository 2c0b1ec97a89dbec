"""What the child processes of these tests do; a module of its own, for a child finds it by its name."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from threading import Event
from typing import Any

from data_world import frame, open_station, stream_of_trips, trips

from modelworks.data import ingest as ingesting
from modelworks.stores.tables import DeltaTables


def _die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _on_call(owner: Any, name: str, call: int, *, after: bool) -> None:
    """Make the process die before or after the given call of a function."""
    real, calls = getattr(owner, name), 0

    def counted(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call and not after:
            _die()
        result = real(*args, **options)
        if calls == call:
            _die()
        return result

    setattr(owner, name, counted)


POINTS: dict[str, tuple[Any, str, int, bool]] = {
    "written down": (ingesting, "_begin", 1, True),
    "bad rows committed": (DeltaTables, "append", 1, True),
    "rows committed": (DeltaTables, "append", 2, True),
    "entering": (ingesting, "_enter", 1, False),
    "in the ledger's transaction": (ingesting.graph, "add", 1, True),
    "entered": (ingesting, "_enter", 1, True),
}


def ingest_and_die(root: Path, point: str) -> None:
    owner, name, call, after = POINTS[point]
    _on_call(owner, name, call, after=after)
    station, _ = open_station(root)
    station.ingest(trips())


def push(root: Path, writer: int, gate: Any) -> None:
    station, _ = open_station(root)
    gate.wait()
    for n in range(6):
        assert station.push(trips(), frame(writer * 1000 + n * 10, 4).to_dicts()).rows_added == 4


def ingest(root: Path, gate: Any, results: Any) -> None:
    station, _ = open_station(root)
    gate.wait()
    results.put(station.ingest(trips()).rows_added)


def follow(root: Path, url: str) -> None:
    station, _ = open_station(root)
    station.follow(stream_of_trips(url), Event(), lambda _: None)
