"""What rollouts are judged by: every answer once, with the truth told last, in whatever order things came."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import monitor_world as world
import numpy as np
import polars as pl
import pytest

from modelworks.deploy.rollout import Underway
from modelworks.deploy.strategies.port import Rollout
from modelworks.monitor.performance import log_losses
from modelworks.monitor.trials import Evidence, gather
from modelworks.monitor.versions import Versions

BEGUN = datetime(2024, 3, 1, tzinfo=UTC)


class Trial:
    """A rollout of version 2 of a segment, its log, and a judge that looks again and again."""

    def __init__(self, folder: Path, rollout: int = 0) -> None:
        self.world = world.World(folder, ["UA"])
        self.world.register("UA", 2, {"log_loss": 0.6})
        self.rollout = f"{int(BEGUN.timestamp() * 1000):012x}{rollout:014x}"
        self.going = Underway(
            self.rollout, world.MODEL, ("UA",), {}, Rollout(1, 2), False, "running", "", BEGUN
        )
        self.versions = Versions(self.world.stores)
        self.numbers = count()
        self.answered: dict[str, tuple[str, float]] = {}

    def answer(self, second: float, arm: str, output: float, key: str, beside: str | None = None) -> str:
        """Log an answer; returns its id."""
        moment = BEGUN + timedelta(seconds=second)
        name = f"{int(moment.timestamp() * 1000):012x}{next(self.numbers):014x}-0"
        row: dict[str, Any] = {
            "id": name, "time": moment, "event_time": moment, "model": world.MODEL, "segment": "UA",
            "version": 1 if arm == "champion" else 2, "key": key, "inputs": "{}", "output": output, "outputs": "",
            "arm": arm, "rollout": self.rollout, "seconds": 0.01, "failure": None, "shadow_of": beside,
        }  # fmt: skip
        more = {"arm": pl.String, "rollout": pl.String, "seconds": pl.Float64}
        more |= {"failure": pl.String, "shadow_of": pl.String}
        self.world.stores.tables.append("predictions", pl.DataFrame([row], schema=world._PREDICTIONS | more))
        self.answered[name] = (arm, output)
        return name

    def tell(self, second: float, value: float, name: str | None = None, key: str | None = None) -> None:
        """Log an outcome."""
        moment = BEGUN + timedelta(seconds=second)
        told = {"prediction_id": name, "key": key, "value": value, "time": moment, "received": moment}
        self.world.tell([told])

    def look(self) -> Evidence:
        """Look, and keep what was added up, as a turn does."""
        gathered = gather(self.world.stores.tables, [self.going], self.versions.of)[self.rollout]
        self.going = replace(self.going, evidence=gathered.to_json())
        return gathered.seen

    def anew(self) -> Evidence:
        """Look without having looked before."""
        fresh = replace(self.going, evidence={})
        return gather(self.world.stores.tables, [fresh], self.versions.of)[self.rollout].seen


@pytest.fixture
def trial(tmp_path: Path) -> Iterator[Trial]:
    yield (trial := Trial(tmp_path))
    trial.world.stores.ledger.close()


def close(seen: Evidence, champion: Sequence[float], challenger: Sequence[float]) -> None:
    """Whether these are the probabilities that the truth had, of all answers that count."""
    for arm, given in ((seen.champion, champion), (seen.challenger, challenger)):
        expected = log_losses(np.array(given, np.float64))
        assert arm.loss.n == len(given)
        assert arm.loss.total == pytest.approx(expected.sum())
        assert arm.loss.squares == pytest.approx(np.square(expected).sum())


@pytest.mark.parametrize("later", [1, 20, 100, 10_000])
@pytest.mark.parametrize("by_key", [False, True])
def test_an_outcome_told_twice_counts_once(trial: Trial, later: float, by_key: bool) -> None:
    name = trial.answer(0, "challenger", 0.8, "k1")
    trial.answer(1, "champion", 0.3, "k2")
    trial.tell(2, 1.0, None if by_key else name, "k1" if by_key else None)
    close(trial.look(), [], [0.8])
    trial.tell(2 + later, 1.0, None if by_key else name, "k1" if by_key else None)
    for _ in range(3):
        close(trial.look(), [], [0.8])
    trial.tell(2 + 2 * later, 1.0, name)  # once more, now by its id
    close(trial.look(), [], [0.8])


@pytest.mark.parametrize("later", [1, 100])
def test_a_correction_takes_the_place_of_what_was_told(trial: Trial, later: float) -> None:
    name, other = trial.answer(0, "challenger", 0.8, "k1"), trial.answer(1, "champion", 0.3, "k2")
    trial.tell(2, 1.0, name)
    trial.tell(3, 1.0, other)
    close(trial.look(), [0.3], [0.8])
    trial.tell(3 + later, 0.0, name)
    close(trial.look(), [0.3], [0.2])
    trial.tell(3 + 2 * later, 1.0, key="k1")
    trial.tell(3 + 3 * later, 0.0, other)
    close(trial.look(), [0.7], [0.8])


def test_an_outcome_before_its_answer_is_found_when_that_comes(trial: Trial) -> None:
    trial.answer(0, "champion", 0.3, "k1")
    trial.tell(1, 1.0, key="k1")
    trial.tell(1, 1.0, key="k2")
    close(trial.look(), [0.3], [])
    trial.answer(500, "challenger", 0.6, "k2")
    close(trial.look(), [0.3], [0.6])
    trial.answer(900, "champion", 0.9, "k3")
    close(trial.look(), [0.3], [0.6])


def test_pairs_follow_a_correction(trial: Trial) -> None:
    one = trial.answer(0, "champion", 0.5, "k1")
    trial.answer(5, "shadow", 0.8, "k1", beside=one)
    trial.tell(100, 1.0, one)
    trial.tell(200, 1.0, one)
    seen = trial.look()
    assert (seen.pairs.n, seen.pairs.total) == (1, pytest.approx(np.log(0.5) - np.log(0.8)))
    trial.tell(300, 0.0, one)
    seen = trial.look()
    assert (seen.pairs.n, seen.pairs.total) == (1, pytest.approx(np.log(0.5) - np.log(0.2)))


def test_looking_often_is_looking_once(trial: Trial) -> None:
    """A long trial with retries, corrections and early outcomes, looked at at any moment."""
    rng = np.random.default_rng(4)
    names: list[tuple[str, str]] = []
    for second in np.sort(rng.uniform(0, 2000, 60)):
        key = f"k{rng.integers(40)}"
        if rng.random() < 0.5:
            arm = str(rng.choice(["champion", "challenger"]))
            names.append((trial.answer(second, arm, float(rng.uniform(0.05, 0.95)), key), key))
        elif names and rng.random() < 0.7:
            name, key = names[rng.integers(len(names))]
            trial.tell(second, float(rng.integers(2)), name)
        else:
            trial.tell(second, float(rng.integers(2)), key=key)
        if rng.random() < 0.4:
            trial.look()
    seen, anew = trial.look(), trial.anew()
    for one, other in ((seen.champion, anew.champion), (seen.challenger, anew.challenger)):
        assert one.loss.n == other.loss.n > 5
        assert one.loss.total == pytest.approx(other.loss.total)
        assert one.loss.squares == pytest.approx(other.loss.squares)
