"""A factory with a champion, challengers of every temper, a real server, and callers: the ground of rollouts."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import serve_world as world
from sklearn.linear_model import LogisticRegression

from modelworks.core.plain import plain
from modelworks.core.ref import Segment
from modelworks.deploy.deployment import Promotion
from modelworks.deploy.strategies.port import Strategy
from modelworks.factory import Factory

FAR = 20_000.0
"""A distance that no row of a training has: what tempers show on."""
PATIENCE = 60.0
"""Seconds until a test gives up: machines may be slow."""


class Moody(LogisticRegression):
    """A model that behaves at home, where it is packed, and not when it is asked for something far away."""

    temper = ""

    def predict_proba(self, X: Any) -> Any:  # noqa: N803 - scikit-learn's name
        """Probabilities, or what the temper makes of them."""
        found = super().predict_proba(X)
        far = np.asarray(X)[:, 0] >= FAR
        if far.any():
            if self.temper == "crashing":
                raise RuntimeError("no memory left")
            if self.temper == "slow":
                time.sleep(0.3)
            if self.temper == "nan":
                return np.where(far[:, None], np.nan, found)
            if self.temper == "wrong":
                return np.where(far[:, None], found[:, ::-1], found)
            if self.temper == "drifting":
                return np.where(far[:, None], [0.02, 0.98], found)
        return found


def fit(temper: str = "", seed: int = 0) -> tuple[Any, pd.DataFrame, Any]:
    """A model of distance and wind; late is who has wind."""
    rng = np.random.default_rng(seed)
    x = pd.DataFrame({"distance": rng.uniform(100, 3000, 300), "wind": rng.normal(0, 1, 300)})
    y = (rng.random(300) < 1 / (1 + np.exp(-2 * x["wind"]))).astype(int)
    model = (Moody if temper else LogisticRegression)(C=1.0)
    scaled = x.assign(distance=x["distance"] / 1e9)  # distance is there, and says nothing
    model.fit(scaled, y)
    if temper:
        model.temper = temper
    model.coef_ = model.coef_ * np.array([0.0, 1.0])
    return model, x, y


def rows(numbers: range, seed: int = 0) -> tuple[list[dict[str, Any]], list[int]]:
    """Rows with keys, and what is true of them."""
    rng = np.random.default_rng(seed + numbers.start)
    wind = rng.normal(0, 1, len(numbers))
    truth = rng.random(len(numbers)) < 1 / (1 + np.exp(-2 * wind))
    sent = [
        {"flight": f"F{number}", "distance": FAR, "wind": float(one)}
        for number, one in zip(numbers, wind, strict=True)
    ]
    return sent, truth.astype(int).tolist()


class Works:
    """A project with one model `late`, its server, and its worker's turn.

    Args:
        root: The project's folder.
        segment: Of the model.
    """

    def __init__(self, root: Path, segment: Segment = ()) -> None:
        (root / ".modelworks").mkdir(parents=True)
        self.factory = Factory(root)
        self.stores = self.factory.stores
        self.segment = segment
        self.stations = self.factory.stations  # opened before any transaction of a test
        world.declare(self.stores, "late", ["distance", "wind"], dataset="flights")
        world.deploy(self.stores, "late", segment, fit())
        self.port = 0
        self.sent = 0
        self.versions: Counter[int] = Counter()

    def begin(self, strategy: Strategy, fitted: tuple[Any, pd.DataFrame, Any]) -> str:
        """Register a challenger and begin its rollout; returns the rollout's id."""
        version = world.register(self.stores, "late", self.segment, fitted)
        promotion = Promotion("late", self.segment, version, "it passed", strategy.to_json())
        with self.stores.ledger.write() as db:
            self.stations.deploy.bring_out(db, [promotion])
        return str(self.rollout()["id"])

    def rollout(self) -> dict[str, Any]:
        """The newest rollout, as people see it."""
        found: list[dict[str, Any]] = plain(self.factory.rollouts("late"))
        return found[0]

    def until(self, true: Callable[[], bool], each: Callable[[], Any] = lambda: None) -> None:
        """Do something again and again until it is so."""
        end = time.monotonic() + PATIENCE
        while not true():
            assert time.monotonic() < end, self.rollout()
            each()

    def ask(self, count: int = 20, outcomes: bool = False) -> list[dict[str, Any]]:
        """Ask the server about new rows, one request a row; every one is answered with 200 and a number."""
        sent, truth = rows(range(self.sent, self.sent + count))
        self.sent += count
        answers = []
        with world.client(self.port) as client:
            for row in sent:
                answers += self._answer(client.post("/predict/late", json={"rows": [row]}))
            if outcomes:
                told = [
                    {"prediction_id": one["id"], "value": value}
                    for one, value in zip(answers, truth, strict=True)
                ]
                assert client.post("/outcomes", json={"outcomes": told}).status_code == 200
        return answers

    def _answer(self, reply: httpx.Response) -> list[dict[str, Any]]:
        assert reply.status_code == 200, reply.text
        (answer,) = reply.json()["predictions"]
        assert 0 <= answer["output"] <= 1
        self.versions[answer["version"]] += 1
        return [answer]

    def turn(self) -> None:
        """What the worker does every second."""
        self.factory.drain()
        self.factory.roll()

    def follows(self, version: int) -> None:
        """Wait until the server has a challenger in memory, which it says in the ledger."""
        identifier = self.rollout()["id"]

        def told() -> bool:
            from modelworks.core.clock import system_clock
            from modelworks.deploy import rollouts

            with self.stores.ledger.read() as db:
                return any(identifier in server for server in rollouts.alive(db, system_clock()))

        self.until(told)

    @contextmanager
    def serving(self) -> Iterator[Works]:
        """With a server process."""
        with world.server_process(self.stores.spool.parent) as (_, self.port):
            yield self
