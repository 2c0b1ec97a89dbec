"""Which models are in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import serve_world as world

from modelworks.core.batch import Batch
from modelworks.core.errors import NotFound
from modelworks.serving.pieces import Here
from modelworks.serving.residency import Residency, Resident
from modelworks.serving.station import ServeStation
from modelworks.stores import Stores, open_stores

SIZE = 4_000_000
EMPTY = Batch(np.zeros((1, 0), np.float32), np.zeros((1, 0), object))


class Heavy:
    """A model that takes some memory and says who it is."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.weights = np.ones(SIZE, np.uint8)

    def predict(self, batch: Batch) -> Any:
        return np.full((len(batch), 1), self.number, np.float32)


def residents(home: Residency, count: int) -> list[Resident]:
    return [Resident(home, partial(Heavy, number)) for number in range(count)]


def ask(resident: Resident) -> float:
    return float(resident.predict(EMPTY)[0, 0])


def test_within_its_budget_it_loads_once() -> None:
    home = Residency()
    some = residents(home, 5)
    for _ in range(3):
        assert [ask(one) for one in some] == [0, 1, 2, 3, 4]
    assert (home.counted.loads, home.counted.evictions, home.counted.models) == (5, 0, 5)
    assert 5 * SIZE <= home.counted.bytes < 6 * SIZE


def test_those_that_are_used_stay() -> None:
    home = Residency(budget=3 * SIZE + SIZE // 2)
    often, *others = residents(home, 8)
    for one in others:
        assert ask(often) == 0
        ask(one)
        assert home.counted.bytes <= 4 * SIZE + SIZE // 2
    assert often.predictor is not None
    assert home.counted.evictions == home.counted.loads - home.counted.models > 0
    assert [ask(one) for one in others] == [1, 2, 3, 4, 5, 6, 7]  # those that are gone come back


def test_what_nobody_will_ask_is_given_up_and_not_kept_again() -> None:
    home = Residency()
    (one,) = residents(home, 1)
    ask(one)
    home.release(one)
    assert (home.counted.models, home.counted.bytes) == (0, 0)
    assert ask(one) == 0  # a request that began before
    assert (home.counted.models, home.counted.bytes) == (0, 0)


def test_one_that_cannot_be_loaded_says_so_each_time() -> None:
    def load() -> Any:
        raise NotFound("there is no artifact", "", "")

    home = Residency()
    one = Resident(home, load)
    for _ in range(2):
        with pytest.raises(NotFound):
            one.predict(EMPTY)
    assert home.counted.models == 0


def test_threads_that_ask_at_once_load_it_once() -> None:
    home = Residency(budget=2 * SIZE)
    some = residents(home, 4)
    found: list[tuple[int, float]] = []

    def work(order: Callable[[int], int]) -> None:
        for turn in range(200):
            number = order(turn)
            found.append((number, ask(some[number])))

    threads = [
        threading.Thread(target=work, args=(lambda turn, step=step: turn * step % 4,)) for step in (1, 3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(number == told for number, told in found)
    assert home.counted.models == sum(one.predictor is not None for one in some)
    assert home.counted.bytes == sum(one.size for one in some if one.predictor is not None)


class Far:
    """A model that another process has."""

    def predict(self, batch: Batch) -> Any:
        return np.zeros((len(batch), 1), np.float32)

    def settle(self) -> int:
        return SIZE

    def leave(self) -> None:
        """Nobody holds it."""

    def stream(self, batch: Batch) -> Here:
        return Here((row, 0) for row in range(len(batch)))


def test_what_comes_back_elsewhere_takes_what_it_took_before() -> None:
    home = Residency(budget=2 * SIZE + SIZE // 2)
    some = [Resident(home, Far) for _ in range(4)]
    for _ in range(5):
        for one in some:
            ask(one)
    assert {one.size for one in some} == {SIZE}
    assert home.counted.bytes == home.counted.models * SIZE == 2 * SIZE


@pytest.fixture
def many(tmp_path: Path) -> Stores:
    """A model of twelve segments, each with a version of its own."""
    stores = open_stores(tmp_path)
    world.declare(stores, "delay", world.FEATURES, ["carrier"])
    for number in range(12):
        world.deploy(stores, "delay", (f"c{number}",), world.fit(number))
    return stores


def test_a_fleet_larger_than_its_memory_answers_as_one_that_fits(many: Stores) -> None:
    rows = [{**world.ROW, "carrier": f"c{number}"} for number in range(12)] * 2
    whole, small = ServeStation(many), ServeStation(many, memory=150_000)
    answers = whole.predict("delay", rows)["predictions"]
    assert [one["segment"] for one in answers] == [row["carrier"] for row in rows]
    told = [one for row in rows for one in small.predict("delay", [row])["predictions"]]
    assert [one["segment"] for one in told] == [row["carrier"] for row in rows]
    # Together or one by one, a sum of float32 may be made in another order.
    assert [one["output"] for one in told] == pytest.approx([one["output"] for one in answers], abs=1e-6)
    counted = small.plane.fleet.residency.counted
    assert counted.evictions > 0
    assert counted.models < 12 == whole.plane.fleet.residency.counted.models
    assert f"modelworks_evictions_total {counted.evictions}" in small.plane.metrics_text()
    # A new champion is in memory before it is live; the one before is given up.
    world.deploy(many, "delay", ("c3",), world.fit(99))
    assert small.refresh()
    before = counted.loads
    assert small.predict("delay", [rows[3]])["predictions"][0]["version"] == 2
    assert counted.loads == before
    whole.refresh()
    assert whole.plane.fleet.residency.counted.models == 12
    for station in (whole, small):
        station.close()
