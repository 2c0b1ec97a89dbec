"""Ledgers of both kinds, and runs of this process that no other test sees."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from modelworks.core.clock import FrozenClock
from modelworks.sdk import standalone
from modelworks.stores import Stores, open_stores
from modelworks.track.local import LocalSink
from modelworks.track.station import TrackStation

NOW = datetime(2026, 1, 10, tzinfo=UTC)


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
