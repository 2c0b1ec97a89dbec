"""What answering costs: the processor's seconds, by model, whoever else writes them down."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest

from modelworks.core.batch import Batch
from modelworks.models.packaging import pack
from modelworks.models.signature_of import signature
from modelworks.serving.metering import BUSY, Meter
from modelworks.serving.metrics import Counters
from modelworks.serving.native.pool import Apart, Died, Limits
from modelworks.serving.native.pools import Pools
from modelworks.stores import Stores, open_stores
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


KILLED = """
import os, sys, time
from pathlib import Path
from modelworks.serving.metering import BUSY, Meter
from modelworks.serving.metrics import Counters
from modelworks.stores import open_stores

counters = {"a": Counters()}
with Meter(counters, open_stores(Path(sys.argv[1])).ledger, look=0.05):
    begun = time.process_time()
    counters["a"].answered(1, 0.1)
    while time.process_time() < begun + BUSY + 0.1:
        pass
    print("worked", flush=True)
    sys.stdin.read()
"""


@pytest.mark.fault
def test_a_busy_server_that_is_killed_has_told_of_all_but_the_last(tmp_path: Path) -> None:
    """It would write an entry after a minute, or when it ends."""
    stores = open_stores(tmp_path)
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "worked\n"
        end = time.monotonic() + 30
        while "a" not in spent(stores.ledger):
            assert time.monotonic() < end
        os.kill(process.pid, signal.SIGKILL)
    assert spent(stores.ledger)["a"]["serve"][0] >= BUSY
    stores.ledger.close()


def test_one_that_has_little_to_do_writes_seldom(tmp_path: Path) -> None:
    stores = open_stores(tmp_path)
    looks = threading.Semaphore(0)

    def workers() -> dict[str, float]:
        looks.release()
        return {"a": BUSY / 2}

    with Meter({}, stores.ledger, workers, look=0.01):
        for _ in range(5):
            looks.acquire()
        assert spent(stores.ledger) == {}
    assert spent(stores.ledger)["a"] == {"serve": (BUSY / 2, 0)}
    stores.ledger.close()


# -- worker processes ----------------------------------------------------------------------------------------

FRAME = pd.DataFrame({"x": np.arange(5.0) / 1e4})


def works(frame: pd.DataFrame) -> Any:
    """Takes so many seconds of the processor, half of them in a thread of its own; at 99 some, then it hangs."""
    import threading
    import time

    def work(seconds: float) -> None:
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            pass

    long = float(frame["x"].iloc[0])
    if long == 99:
        work(0.3)
        time.sleep(3600)
    other = threading.Thread(target=work, args=(long / 2,))
    other.start()
    other.join()
    work(long / 2)
    return np.zeros(len(frame))


def gives(row: dict[str, Any]) -> Iterator[int]:
    """Three pieces, each of which takes so many seconds."""
    import time

    for number in range(3):
        end = time.thread_time() + float(row["x"])
        while time.thread_time() < end:
            pass
        yield number


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    found = open_stores(tmp_path)
    yield found
    found.ledger.close()


def model(stores: Stores, pools: Pools, ref: str, function: Any) -> Apart:
    """A function in a worker process."""
    made = signature(FRAME, np.zeros(len(FRAME)), ["x"], function)
    package = pack(function, made, FRAME, stores.artifacts, code="", environment="", reference=None)
    return pools.predictor(ref, package)


def row(x: float) -> Batch:
    return Batch(np.array([[x]], np.float32), np.empty((1, 0), dtype=object))


def test_what_a_worker_took_is_the_model_s_that_was_asked(stores: Stores, pools: Pools) -> None:
    busy, quick = model(stores, pools, "busy[a]@1", works), model(stores, pools, "quick@1", works)
    quick.predict(row(0.0))
    busy.predict(row(0.0))
    before = pools.spent()
    for _ in range(3):
        busy.predict(row(0.2))
        quick.predict(row(0.0))
    found = pools.spent()
    assert found["busy"] - before["busy"] == pytest.approx(0.6, abs=0.15)
    assert found["quick"] - before["quick"] < 0.1
    # All that the process has taken is told: it was started for the first.
    (pool,) = pools
    assert pool.worker is not None
    times = psutil.Process(pool.worker.id).cpu_times()
    assert sum(found.values()) == pytest.approx(times.user + times.system, abs=0.05)
    assert before["quick"] > before["busy"]

    with Meter({"busy": Counters()}, stores.ledger, pools.spent, every=3600):
        busy.predict(row(0.2))
    told = spent(stores.ledger)
    assert told["busy"]["serve"][0] == pytest.approx(found["busy"] + 0.2, abs=0.1)
    assert told["quick"]["serve"] == (pytest.approx(found["quick"]), 0)


def test_pieces_are_paid_by_the_model_that_gives_them(stores: Stores, pools: Pools) -> None:
    slow, quick = model(stores, pools, "slow@1", gives), model(stores, pools, "quick@1", works)
    quick.predict(row(0.0))
    slow.settle()
    before = pools.spent()
    pieces = slow.stream(row(0.1))
    assert next(pieces)
    quick.predict(row(0.0))
    while next(pieces, None):
        pass
    found = pools.spent()
    assert found["slow"] - before["slow"] == pytest.approx(0.3, abs=0.1)
    assert found["quick"] - before["quick"] < 0.1


@pytest.mark.fault
def test_a_call_that_is_ended_is_paid_for_too(stores: Stores, pools: Pools) -> None:
    hangs = model(stores, pools, "hangs@1", works)
    hangs.pool.limits = Limits(2**40, seconds=1.5)
    hangs.predict(row(0.0))
    before = pools.spent()["hangs"]
    with pytest.raises(Died, match="did not answer"):
        hangs.predict(row(99))
    assert pools.spent()["hangs"] - before == pytest.approx(0.3, abs=0.1)
