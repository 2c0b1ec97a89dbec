"""The sequential tests: against their definitions, and how often they err over simulated rollouts."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from scipy import integrate, stats

from modelworks.deploy.strategies.ab import AB
from modelworks.deploy.strategies.canary import Canary
from modelworks.deploy.strategies.guard import Guard
from modelworks.deploy.strategies.port import Observation, Rollout, Strategy
from modelworks.deploy.strategies.seen import QUICK, Arm, Sums
from modelworks.deploy.strategies.sequential import above, distance, radius, rate_above
from modelworks.deploy.strategies.shadow import Shadow

NOW = datetime(2024, 1, 1, tzinfo=UTC)
ROLLOUTS = 500
RISK = 0.05


@pytest.mark.parametrize(("d", "v", "scale"), [(0.3, 0.01, 0.2), (-0.1, 0.02, 0.5), (0.0, 1.0, 0.1)])
def test_the_mixture_is_the_integral_that_it_stands_for(d: float, v: float, scale: float) -> None:
    def weighted(effect: float) -> float:
        ratio = math.exp(d * effect / v - effect**2 / (2 * v))
        return 2 * stats.norm.pdf(effect, scale=scale) * ratio

    expected = integrate.quad(weighted, 0, 12 * scale)[0]
    assert above(d, v, scale) == pytest.approx(math.log(expected), rel=1e-6)


def test_a_rate_s_evidence_is_fair_at_the_border() -> None:
    """Under the rate that is accepted its expectation is one, whatever the number of rows."""
    for rows in (1, 20, 200):
        chances = stats.binom.pmf(np.arange(rows + 1), rows, 0.05)
        evidence = sum(p * math.exp(rate_above(hits, rows, 0.05)) for hits, p in enumerate(chances))
        assert evidence <= 1.0 + 1e-9
    assert rate_above(3, 3, 0.01) > math.log(100)
    assert rate_above(0, 100, 0.01) <= 0


def test_the_distance_is_scipy_s() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.integers(0, 30, 400), rng.integers(3, 33, 300)
    counted = [
        dict(zip(*map(np.ndarray.tolist, np.unique(x, return_counts=True)), strict=True))
        for x in (one, other)
    ]
    assert distance(*counted) == pytest.approx(stats.ks_2samp(one, other).statistic)


def test_no_more_samples_than_stated_ever_leave_the_radius() -> None:
    rng, out = np.random.default_rng(3), 0
    for _ in range(100):
        values = rng.random(400)
        gaps = [
            stats.ks_1samp(values[:n], stats.uniform.cdf, method="asymp").statistic - radius(n, 0.2)
            for n in range(5, 401, 15)
        ]
        out += max(gaps) > 0
    assert out / 100 <= 0.2


LOOKS, ROWS = 40, 120


def growing(values: np.ndarray[Any, Any]) -> list[Sums]:
    """Sums of the rows up to each look; shape of the values: (looks, rows)."""
    sums, squares = values.sum(axis=1).cumsum(), np.square(values).sum(axis=1).cumsum()
    each = enumerate(zip(sums.tolist(), squares.tolist(), strict=True), 1)
    return [Sums(look * values.shape[1], total, square) for look, (total, square) in each]


def side(rng: np.random.Generator, world: tuple[float, ...], rows: int, challenger: bool) -> list[Arm]:
    """What is seen of one side by each look."""
    sharp, base, noise, fails = world
    shape = (LOOKS, rows)
    p = 1 / (1 + np.exp(-sharp * rng.normal(size=shape)))
    loss = -np.log(np.where(rng.random(shape) < p, p, 1 - p))
    seconds = np.log(np.maximum(base * np.exp(noise * rng.normal(size=shape)), QUICK))
    outputs = np.stack([np.bincount(places, minlength=64) for places in (p * 64).astype(int)]).cumsum(axis=0)
    failed = rng.binomial(rows, fails if challenger else 0.0, LOOKS).cumsum().tolist()
    parts = zip(failed, growing(seconds), outputs.tolist(), growing(loss), strict=True)
    return [
        Arm(look * rows, lost, 0, times, dict(enumerate(bins)), losses)
        for look, (lost, times, bins, losses) in enumerate(parts, 1)
    ]


def rolled_out(strategy: Strategy, rng: np.random.Generator, share: float) -> str:
    """How a rollout ends in which both sides are the same model, looked at after every few rows."""
    # A world of its own: how hard it is, how slow, how noisy, how often a row cannot be answered.
    world = (rng.uniform(0.5, 3), rng.uniform(1e-3, 2e-2), rng.uniform(0.1, 1), rng.uniform(0, 0.01))
    step = strategy.next(Rollout(1, 2), Observation(NOW))
    state = Rollout(1, 2, step.share, NOW)
    champions = side(rng, world, ROWS if step.silent else round(ROWS * (1 - share)), challenger=False)
    challengers = side(rng, world, round(ROWS * share), challenger=True)
    for look, (one, other) in enumerate(zip(champions, challengers, strict=True), 1):
        step = strategy.next(state, Observation(NOW + timedelta(minutes=look), one, other))
        if step.action != "go_on":
            return step.action
    return "go_on"


@pytest.mark.parametrize(
    ("strategy", "share"),
    [
        # Never enough rows to be promoted: as many looks as there can be, so as many errors as there can be.
        (Canary(steps=[20, 100], rows=10**9, guard=Guard(worse=0.0, slower=1.0, shift=0.0, risk=RISK)), 0.2),
        (Shadow(rows=10**9, guard=Guard(worse=0.0, slower=1.0, shift=0.0, risk=RISK)), 1.0),
    ],
    ids=["canary", "shadow"],
)
def test_of_500_rollouts_of_the_same_model_few_are_rolled_back(strategy: Strategy, share: float) -> None:
    """At the border of every guardrail, looked at 40 times: wrong rollbacks stay under the stated rate."""
    rng = np.random.default_rng(7)
    ended = [rolled_out(strategy, rng, share) for _ in range(ROLLOUTS)]
    wrong = ended.count("abandon")
    assert wrong / ROLLOUTS <= RISK, wrong


def test_of_500_experiments_without_a_difference_few_find_one() -> None:
    rng = np.random.default_rng(11)
    ended = [rolled_out(AB(outcomes=100), rng, 0.5) for _ in range(ROLLOUTS)]
    assert (ended.count("promote") + ended.count("abandon")) / ROLLOUTS <= RISK
