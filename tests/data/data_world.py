"""A small dataset on disk: the ground of the data station's tests."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from modelworks.core.clock import FrozenClock
from modelworks.core.schema import ColumnSpec, Number, Text, Time
from modelworks.data.dataset import Dataset
from modelworks.data.sources.files import Files
from modelworks.data.station import DataStation
from modelworks.data.streams.nats import Nats
from modelworks.stores import Stores, open_stores

NOW = datetime(2024, 5, 1, tzinfo=UTC)
TRIPS: dict[str, ColumnSpec] = {
    "id": str,
    "start": Time(),
    "distance": Number(min=0),
    "colour": Text(allowed=["red", "blue"], nullable=True),
}


def trips(pattern: str = "data/*", **more: Any) -> Dataset:
    """A dataset of trips."""
    return Dataset("trips", source=Files(pattern), contract=TRIPS | more, key="id", time="start")


def stream_of_trips(url: str) -> Dataset:
    """The same from a stream, committed in small pieces."""
    source = Nats("TRIPS", url, rows=200, seconds=0.02)
    return Dataset("trips", source=source, contract=TRIPS, key="id", time="start")


def frame(first: int, count: int = 3, **columns: Any) -> pl.DataFrame:
    """Trips numbered from `first`."""
    ids = [f"t{number}" for number in range(first, first + count)]
    rows = {"id": ids, "start": [NOW] * count, "distance": [1.5] * count, "colour": ["red"] * count}
    return pl.DataFrame({**rows, **columns})


def write(root: Path, name: str, rows: pl.DataFrame) -> Path:
    """Put a Parquet or CSV file where the dataset finds it."""
    path = root / "data" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if name.endswith(".parquet"):
        rows.write_parquet(path)
    else:
        rows.write_csv(path)
    return path


def open_station(root: Path) -> tuple[DataStation, Stores]:
    """The station of the project in `root`."""
    stores = open_stores(root / ".modelworks")
    return DataStation(stores.ledger, stores.tables, root, FrozenClock(NOW)), stores
