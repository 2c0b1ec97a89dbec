"""Tests that may be looked at as often as one likes: evidence against a hypothesis, as the log of an e-value.

An e-value is a bet against the hypothesis that is fair if it holds: its value at any time, chosen in any way, is
above ``1/alpha`` with a probability of at most ``alpha`` (Ville's inequality). So a rollout is watched row by row
and stopped at the first sign, and still stops a good challenger no more often than `alpha`.

Source: Ramdas, Gruenwald, Vovk and Shafer, Game-Theoretic Statistics and Safe Anytime-Valid Inference, Statistical
Science 38 (2023).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from modelworks.deploy.strategies.seen import Sums

_BETS = 24
ENOUGH = 30
"""Values on each side from which a mean is judged: the tests of means hold for large numbers."""


def rate_above(hits: int, rows: int, most: float) -> float:
    """Evidence that hits come at a rate above `most`; the log of an e-value.

    A mixture of likelihood ratios of rates ``q > most`` to `most`: each is a supermartingale under every rate up to
    `most`, so their mean is one. Source: Robbins, Annals of Mathematical Statistics 41 (1970), the method of mixtures.

    Args:
        hits: How often it happened.
        rows: Out of how many.
        most: The rate that is accepted, between 0 and 1.
    """
    if not rows:
        return 0.0
    low = math.log(most / (1 - most))
    high = max(7.0, low + 7.0)
    logs = []
    for bet in range(1, _BETS + 1):
        odds = low + (high - low) * bet / _BETS
        hit = math.log1p(math.exp(-low)) - math.log1p(math.exp(-odds))
        miss = math.log1p(math.exp(low)) - math.log1p(math.exp(odds))
        logs.append(hits * hit + (rows - hits) * miss)
    top = max(logs)
    return top + math.log(sum(math.exp(one - top) for one in logs) / _BETS)


def above(difference: float, variance: float, scale: float) -> float:
    """Evidence that a mean is above zero; the log of an e-value, for large numbers of values.

    The mixture sequential probability ratio test with a half-normal mixture over effects above zero, in closed form:
    ``2 sqrt(V / (V + t^2)) exp(D^2 t^2 / (2 V (V + t^2))) Phi(D t / sqrt(V (V + t^2)))``.

    Source: Johari, Koomen, Pekelis and Walsh, Always Valid Inference, Operations Research 70 (2022), equation 12, with
    the one-sided mixture of Howard, Ramdas, McAuliffe and Sekhon, Annals of Statistics 49 (2021), proposition 6.

    Args:
        difference: The estimate D.
        variance: Its variance V.
        scale: Size t of the effects that are looked for.
    """
    if variance <= 0 or scale <= 0:
        return 0.0
    spread = variance + scale**2
    z = difference * scale / math.sqrt(variance * spread)
    tail = 0.5 * math.erfc(-z / math.sqrt(2))
    if tail <= 0:
        return -50.0
    return math.log(2) + 0.5 * math.log(variance / spread) + z * z / 2 + math.log(tail)


def mean_above(one: Sums, other: Sums, times: float = 1.0) -> float:
    """Evidence that the mean of `one` is above `times` the mean of `other`; see `above`."""
    if min(one.n, other.n) < ENOUGH:
        return 0.0
    variance = one.variance / one.n + times**2 * other.variance / other.n
    scale = 0.25 * math.sqrt((one.variance + times**2 * other.variance) / 2)
    return above(one.mean - times * other.mean, variance, scale)


def interval(variance: float, scale: float, alpha: float) -> float:
    """How far, at any time, an estimate is at most from what it estimates; for large numbers of values.

    What a two-sided mixture sequential probability ratio test does not refuse:
    ``sqrt(2 V (V + t^2) / t^2 (log(1 / alpha) + log((V + t^2) / V) / 2))``. However often one looks, and whenever one
    stops, all of these intervals hold together with a probability of ``1 - alpha``.

    Source: Johari, Koomen, Pekelis and Walsh, Always Valid Inference, Operations Research 70 (2022), equation 12,
    inverted; for estimates that are normal only in the limit Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas,
    Time-uniform central limit theory and asymptotic confidence sequences, Annals of Statistics 52 (2024).

    Args:
        variance: Of the estimate, V.
        scale: Size t of the effects at which it is narrowest.
        alpha: Probability of ever being further away.
    """
    if variance <= 0 or scale <= 0:
        return 0.0
    spread = variance + scale**2
    return math.sqrt(
        2 * variance * spread / scale**2 * (math.log(1 / alpha) + math.log(spread / variance) / 2)
    )


def radius(rows: int, alpha: float) -> float:
    """How far, at any time, an empirical distribution function is at most from the true one; in sup norm.

    Source: Howard and Ramdas, Sequential estimation of quantiles with applications to A/B testing and best-arm
    identification, Bernoulli 28 (2022), corollary 2: ``0.85 sqrt((log log(e n) + 0.8 log(1612 / alpha)) / n)``.

    Args:
        rows: Number of values n.
        alpha: Probability of ever being further away.
    """
    if not rows:
        return 1.0
    return 0.85 * math.sqrt((math.log(math.log(math.e * rows)) + 0.8 * math.log(1612 / alpha)) / rows)


def distance(one: Mapping[int, int], other: Mapping[int, int]) -> float:
    """The Kolmogorov-Smirnov distance of two counted samples, 0 to 1."""
    n, m = sum(one.values()), sum(other.values())
    if not n or not m:
        return 0.0
    largest = below = beside = 0.0
    for place in sorted({*one, *other}):
        below += one.get(place, 0) / n
        beside += other.get(place, 0) / m
        largest = max(largest, abs(below - beside))
    return largest
