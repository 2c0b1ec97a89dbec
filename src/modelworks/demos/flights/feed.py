"""How a day's flights reach the factory: as files in a folder, or as messages of a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from modelworks.demos.broker import Broker, Publisher
from modelworks.demos.flights import prepare

Send = Callable[[pl.DataFrame, str], None]
"""Sends the flights that arrived, under a name."""

_STREAM = "FLIGHTS"


@contextmanager
def files(folder: Path) -> Iterator[Send]:
    """One Parquet file a day below the project's ``data/flights``."""
    yield lambda flights, name: prepare.write(flights, folder / "data" / "flights", name)


@contextmanager
def stream(folder: Path) -> Iterator[Send]:
    """One message a flight, in a NATS server that runs as long as this; the project reads from there.

    Raises:
        NotReady: the server's program is not installed.
    """
    with Broker(folder / ".nats") as broker, Publisher(broker.url, _STREAM) as publisher:
        definition = folder / "factory.py"
        source = definition.read_text(encoding="utf-8")
        of_stream = f'mw.Nats("{_STREAM}", url="{broker.url}")'
        definition.write_text(source.replace('mw.Files("data/flights/*.parquet")', of_stream))
        yield lambda flights, _name: publisher.send(prepare.messages(flights))
