"""Champions change and workers are killed under load: who asks sees neither, and the log has every answer once."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import psutil
import pytest
import serve_world as world

from modelworks.serving import prediction_log
from modelworks.stores import open_stores

CHANGES = 40
KILLS = 2
LATE = 2.0
"""Seconds within which a change is live."""
X = pd.DataFrame({"x": np.arange(50.0)})
NUMBERS = {f"x{n}": 1.0 for n in range(10)}


def numbers(frame: pd.DataFrame) -> Any:
    """Twice the number."""
    return (frame["x"] * 2).to_numpy()


class Load:
    """Asks a model from one connection, and notes what comes back."""

    def __init__(self, port: int, model: str, row: dict[str, float], over: threading.Event) -> None:
        self.url = f"http://127.0.0.1:{port}/predict/{model}"
        self.row = row
        self.over = over
        self.answered: list[tuple[float, float, int, str]] = []
        self.refused: list[str] = []
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        with httpx.Client(timeout=60) as client:
            while not self.over.is_set():
                asked = time.monotonic()
                reply = client.post(self.url, json={"rows": [self.row]})
                if reply.status_code == 200:
                    one = json.loads(reply.content)["predictions"][0]
                    self.answered.append((asked, time.monotonic(), one["version"], one["id"]))
                else:
                    self.refused.append(f"{reply.status_code} {reply.text}")


@pytest.mark.fault
def test_changes_and_kills_under_load(tmp_path: Path) -> None:
    stores = open_stores(tmp_path)
    world.declare(stores, "score", list(NUMBERS))
    world.declare(stores, "double", ["x"])
    for seed in range(3):
        world.register(stores, "score", (), world.fit_numbers(seed))
        world.register(stores, "double", (), (numbers, X, numbers(X)))
    live: dict[str, list[tuple[float, int]]] = {"score": [], "double": []}

    def promote(model: str, version: int) -> None:
        world.promote(stores, model, (), version)
        live[model].append((time.monotonic(), version))

    for model in live:
        promote(model, 1)
    over = threading.Event()
    with world.server_process(tmp_path, native="processes", drain=5.0) as (process, port):
        rows = {"score": NUMBERS, "double": {"x": 3.0}}
        loads = [(model, Load(port, model, rows[model], over)) for model in rows for _ in range(2)]
        killed = 0
        for change in range(CHANGES):
            for model in live:
                promote(model, change % 3 + 1)
            time.sleep(0.05)  # the load goes on under each of them
            if change % (CHANGES // KILLS) == CHANGES // KILLS - 1:
                for worker in psutil.Process(process.pid).children():
                    worker.kill()
                    killed += 1
        deadline = time.monotonic() + 60
        at = [len(load.answered) for _, load in loads]
        while any(len(load.answered) < before + 5 for (_, load), before in zip(loads, at, strict=True)):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        over.set()
        for _, load in loads:
            load.thread.join(60)
    assert killed >= KILLS
    assert [refusal for _, load in loads for refusal in load.refused] == []
    for model, load in loads:
        changes = live[model]
        for asked, answered, version, _ in load.answered:
            begins = [
                (begun, changes[n + 1][0] if n + 1 < len(changes) else float("inf"))
                for n, (begun, which) in enumerate(changes)
                if which == version
            ]
            # 60 s rather than 2: a slow machine proves nothing; the benchmark measures it.
            assert any(begun <= answered and end + 30 * LATE >= asked for begun, end in begins)
    prediction_log.drain(stores)
    logged = stores.tables.scan("predictions").select("id").collect()["id"].to_list()
    ids = [one[3] for _, load in loads for one in load.answered]
    assert len(set(logged)) == len(logged)
    assert len(set(ids)) == len(ids)
    assert set(ids) == set(logged)
    stores.ledger.close()
