"""What answering costs: the processor's seconds, by model, whoever else writes them down."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from modelworks.serving.metering import Meter
from modelworks.serving.metrics import Counters
from modelworks.stores import open_stores
from modelworks.stores.ledger import Ledger, usage

NOW = datetime(2024, 3, 1, 13, tzinfo=UTC)
EVER = (datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC))


def spent(ledger: Ledger) -> dict[str, dict[str, tuple[float, int]]]:
    with ledger.read() as db:
        return usage.total(db, *EVER)


def test_what_is_added_by_several_at_once_is_the_sum(ledger_url: str, tmp_path: Path) -> None:
    ledger = Ledger(ledger_url or f"sqlite:///{tmp_path / 'ledger.db'}")

    def add() -> None:
        for _ in range(20):
            with ledger.write() as db:
                usage.add(db, "serve", {"a": (0.5, 2), "b": (0.25, 1)}, NOW)

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with ledger.write() as db:
        usage.add(db, "watch", {"a": (1.0, 0)}, NOW + timedelta(days=1))
        usage.add(db, "watch", {}, NOW)
    assert spent(ledger) == {
        "a": {"serve": (pytest.approx(40), 160), "watch": (pytest.approx(1), 0)},
        "b": {"serve": (pytest.approx(20), 80)},
    }
    with ledger.read() as db:
        assert usage.total(db, NOW, EVER[1]) == {"a": {"watch": (1.0, 0)}}
    ledger.close()


def test_a_server_tells_what_its_models_took_and_what_served_nobody(tmp_path: Path) -> None:
    stores = open_stores(tmp_path)
    counters = {"a": Counters(), "b": Counters(), "quiet": Counters()}
    begun = time.process_time()
    with Meter(counters, stores.ledger, every=3600):
        counters["a"].answered(30, 0.1)
        counters["b"].answered(10, 0.1)
        while time.process_time() < begun + 0.05:
            pass
    took = time.process_time() - begun
    found = spent(stores.ledger)
    assert found.keys() == {"a", "b"}
    assert found["a"]["serve"][1] == 30
    assert found["a"]["serve"][0] == pytest.approx(3 * found["b"]["serve"][0])
    assert 0 < sum(kinds["serve"][0] for kinds in found.values()) <= took
    with Meter({"quiet": Counters()}, stores.ledger, every=3600):
        pass
    assert spent(stores.ledger)[""]["serve"][1] == 0
    stores.ledger.close()
