"""What the child processes of these tests do; a module of its own, for a child finds it by its name."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from threading import Event
from typing import Any

from data_world import frame, open_station, stream_of_trips, trips, write

from modelworks.core.schema import Number, Text, Time
from modelworks.data import ingest as ingesting
from modelworks.data.dataset import Dataset
from modelworks.data.sources.sql import Sql
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


def ingest_sql_and_die(root: Path, url: str, point: str) -> None:
    owner, name, call, after = POINTS[point]
    _on_call(owner, name, call, after=after)
    station, _ = open_station(root)
    contract = {"id": int, "updated": Time(), "amount": Number(min=0), "note": Text(nullable=True)}
    source = Sql(url, table="orders", cursor="updated")
    station.ingest(Dataset("orders", source=source, contract=contract, time="updated"))


def replay_and_die(root: Path, point: str) -> None:
    """Give every row a colour that fits: two of three come in, one stays."""
    owner, name, call, after = POINTS[point]
    _on_call(owner, name, call, after=after)
    station, _ = open_station(root)
    station.replay(trips(), values={"colour": "blue"})


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


def bring_files(root: Path, gate: Any) -> None:
    station, _ = open_station(root)
    gate.wait()
    for n in range(8):
        write(root, f"{n}.parquet", frame(10_000 + n * 10, 7))
        assert station.ingest(trips()).rows_added == 7


def push_and_correct(root: Path, gate: Any) -> None:
    station, _ = open_station(root)
    gate.wait()
    for n in range(8):
        rows = frame(20_000 + n * 10, 5)
        assert station.push(trips(), rows.to_dicts()).rows_added == 5
        corrected = rows.with_columns(distance=7.0).head(2)
        assert station.push(trips(), corrected.to_dicts()).rows_replaced == 2


def tidy(root: Path, done: Any) -> None:
    """Pack and delete, with the least of patience, until told that the others are done."""
    station, stores = open_station(root)
    while not done.is_set():
        if station.latest_or_none("trips"):
            station.compact("trips", ["colour"])
            station.vacuum("trips", None, ())
    stores.ledger.close()
