"""A fleet judged day after day: nothing is told of by chance, what begins is told of soon."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from modelworks.core.measure import Counts, Reference
from modelworks.core.schema import Field, Kind
from modelworks.models.signature import Signature
from modelworks.monitor import judge as judging
from modelworks.monitor.drift.rule import Drift
from modelworks.monitor.judge import judge
from modelworks.monitor.sketch import Sketches
from modelworks.monitor.watch import Watch
from modelworks.monitor.window import Known

MODELS, FEATURES, ROWS, DAYS = 100, 20, 60, 28
EVEN = np.full(10, 0.1)


class Fleet:
    """Models of normal features that are known by their deciles, and what they saw on some days.

    Args:
        days: How many.
        moved: By how many standard deviations the first feature of the first model moves.
        since: On how many of the last days.
    """

    def __init__(self, days: int, moved: float = 0.0, since: int = 0) -> None:
        rng = np.random.default_rng(0)
        signature = Signature(
            tuple(Field(f"n{n}", Kind.NUMBER, True) for n in range(FEATURES)), "binary", (0, 1)
        )
        self.known = {}
        for model in range(MODELS):
            features = np.zeros((FEATURES, 11), np.int64)
            features[:, :10] = rng.multinomial(1_000, EVEN, FEATURES)
            outputs = rng.multinomial(1_000, np.full(20, 0.05))
            made = Reference(np.zeros((FEATURES, 9), np.float32), (), np.zeros(19), features, outputs)
            self.known[f"m{model}", 1] = Known(signature, made)
        self.features = np.zeros((days, MODELS, FEATURES, 11), np.int64)
        self.features[..., :10] = rng.multinomial(ROWS, EVEN, (days, MODELS, FEATURES))
        if since:
            after = np.diff(stats.norm.cdf(stats.norm.ppf(np.arange(11) / 10) - moved))
            self.features[-since:, 0, 0, :10] = rng.multinomial(ROWS, after, since)
        self.outputs = np.zeros((days, MODELS, 3, 20), np.int64)
        self.outputs[:, :, 2] = rng.multinomial(ROWS, np.full(20, 0.05), (days, MODELS))

    def judged(self, day: int, rule: Drift | None = None) -> list[Watch]:
        """As it looks at the end of that many days."""
        first = max(0, day - DAYS)
        days = day - first
        counts = Counts(
            self.features[first:day].reshape(-1, FEATURES, 11), self.outputs[first:day].reshape(-1, 3, 20)
        )
        sums = np.tile([ROWS, 0.0, ROWS / 2, 0.0, 0.0], (days * MODELS, 1))
        age = np.repeat(np.arange(days, 0, -1.0), MODELS)
        return judge(self.known, Sketches(sums, counts), np.tile(np.arange(MODELS), days), age, rule)


@pytest.mark.parametrize("rule", [Drift(), Drift("wasserstein"), Drift("ks", 0.01)])
def test_looked_at_every_day_nothing_alarms_by_chance(rule: Drift) -> None:
    fleet = Fleet(36)
    watches = [watch for day in range(2, 37, 2) for watch in fleet.judged(day, rule)]
    assert not [watch for watch in watches if watch.shifted or watch.output_shifted]


def test_a_shift_of_some_days_is_told_of_before_it_shows_in_four_weeks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fleet = Fleet(DAYS, moved=1.0, since=3)
    first, *others = fleet.judged(DAYS)
    assert first.shifted == ("n0",)
    assert first.psi["n0"] > 0.5
    assert not any(watch.shifted for watch in others)
    monkeypatch.setattr(judging, "VIEWS", ())
    assert fleet.judged(DAYS)[0].shifted == ()


def test_the_rule_says_what_matters_and_how_it_is_told() -> None:
    fleet = Fleet(DAYS, moved=0.4, since=DAYS)
    usual, finer = fleet.judged(DAYS)[0], fleet.judged(DAYS, Drift("wasserstein", 0.3))[0]
    assert usual.shifted == ()
    assert finer.shifted == ("n0",)
    assert finer.drift_test == "wasserstein"
    assert finer.drift["n0"] == pytest.approx(0.4, abs=0.1)
    assert finer.psi["n0"] < Drift().limit
