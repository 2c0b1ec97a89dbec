"""A strategy: who does better is asked more often."""

from __future__ import annotations

import math
from dataclasses import dataclass

from modelworks.deploy.strategies.ab import AB
from modelworks.deploy.strategies.port import Observation, Rollout, Step

_LEAST = 0.05
_NOTICED = 0.02


@dataclass(frozen=True, kw_only=True)
class Bandit(AB):
    """Divide the requests by how probable it is that the challenger is better (Thompson sampling).

    Thompson sampling draws from the posterior of both sides for each request and asks the better one. The share of
    the challenger that results is the probability that its loss is the lower one, which for many outcomes is
    ``Phi((m1 - m2) / sqrt(s1^2 / n1 + s2^2 / n2))``; requests are divided by that share, so that they stay sticky.
    Each side keeps 5 %. It ends as an A/B test does.

    Source: Thompson, Biometrika 25 (1933); Scott, A modern Bayesian look at the multi-armed bandit, Applied
    Stochastic Models in Business and Industry 26 (2010).
    """

    kind = "bandit"
    patience: str = "28d"

    def goes_on(self, state: Rollout, seen: Observation) -> Step:
        """With the share that the outcomes so far are worth."""
        one, other = seen.challenger.loss, seen.champion.loss
        if min(one.n, other.n) < self.outcomes:
            return super().goes_on(state, seen)
        error = math.sqrt(one.variance / one.n + other.variance / other.n)
        gain = other.mean - one.mean
        chance = 0.5 * math.erfc(-gain / error / math.sqrt(2)) if error else 0.5
        share = min(max(round(chance, 2), _LEAST), 1 - _LEAST)
        if abs(share - state.share) < _NOTICED:
            return super().goes_on(state, seen)
        return Step(
            "go_on", f"is better with probability {chance:.2f}: gets {share:.0%} of the requests", share
        )
