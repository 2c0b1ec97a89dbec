"""Guardrails: what a challenger may not do, judged by tests that may be looked at at any time. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from modelworks.core.errors import Invalid
from modelworks.deploy.strategies.port import Observation
from modelworks.deploy.strategies.sequential import ENOUGH, above, distance, mean_above, radius, rate_above

_RAILS = 5
_LONGEST = 20.0
"""Logarithm of the largest ratio that is worth telling."""
_DOUBT = 5.0
"""How many times more easily a rollout is held than rolled back."""


@dataclass(frozen=True)
class Guard:
    """What a challenger may not do.

    Attributes:
        failures: Share of its rows on which it may fail (raise, give no number, take far too long).
        rejections: Share of its rows that it may not take though the champion does.
        slower: How many times as long as the champion's its calls may take; calls below 5 milliseconds are all
            the same.
        shift: How far its answers may be distributed away from the champion's, as the largest difference of the
            two distribution functions (Kolmogorov-Smirnov), 0 to 1.
        worse: How much greater than the champion's its loss may be, once outcomes come: 0.05 for 5 %.
        risk: Share of challengers that keep to all of this and are rolled back nevertheless, at most, however
            often and long they are looked at.
    """

    failures: float = 0.01
    rejections: float = 0.01
    slower: float = 3.0
    shift: float = 0.25
    worse: float = 0.05
    risk: float = 0.05

    def __post_init__(self) -> None:
        """Refuse what is no limit.

        Raises:
            Invalid: a share is not between 0 and 1.
        """
        for name in ("failures", "rejections", "risk"):
            if not 0 < getattr(self, name) < 1:
                raise Invalid(
                    f"{name} of mw.Guard is {getattr(self, name)}", "it is a share", "use 0.01 for 1 %"
                )
        if self.slower <= 0 or self.worse < 0 or not 0 <= self.shift <= 1:
            raise Invalid(
                f"{self} cannot be kept to", "slower is above 0, worse at least 0, shift 0 to 1", "correct it"
            )

    def objection(self, seen: Observation) -> str:
        """What speaks against the challenger, one sentence; ``""`` where nothing does.

        Each guardrail gets an equal part of `risk`, so that all together keep to it (Bonferroni).
        """
        return next(self._objections(seen), "")

    def doubt(self, seen: Observation) -> str:
        """What may come to speak against it: reason to wait."""
        return replace(self, risk=min(self.risk * _DOUBT, 0.5)).objection(seen)

    def _objections(self, seen: Observation) -> Iterator[str]:
        each = self.risk / _RAILS
        limit = math.log(1 / each)
        one, other = seen.challenger, seen.champion
        if rate_above(one.failed, one.rows, self.failures) >= limit:
            yield f"it failed on {one.failed:,} of {one.rows:,} rows, {self.failures:.1%} are allowed"
        if rate_above(one.rejected, one.rows, self.rejections) >= limit:
            yield f"it does not take {one.rejected:,} of {one.rows:,} rows that the champion takes"
        if min(one.seconds.n, other.seconds.n) >= ENOUGH:
            slower = one.seconds.mean - other.seconds.mean
            variance = one.seconds.variance / one.seconds.n + other.seconds.variance / other.seconds.n
            # A test of logarithms: their scale is that of doubling; never surer than the clock's steps allow.
            evidence = above(slower - math.log(self.slower), max(variance, 1e-6), math.log(2))
            if evidence >= limit:
                yield (
                    f"its calls take {math.exp(min(slower, _LONGEST)):.1f} times as long as the champion's, "
                    f"{self.slower:g} times is allowed"
                )
        given, beside = sum(one.outputs.values()), sum(other.outputs.values())
        far = distance(one.outputs, other.outputs)
        if far - radius(given, each / 2) - radius(beside, each / 2) > self.shift:
            yield (
                f"its answers are distributed otherwise than the champion's: distance {far:.2f} over {given:,} "
                f"rows, {self.shift:g} is allowed"
            )
        if worse(seen, self.worse) >= limit:
            yield (
                f"its loss is {one.loss.mean:.3f} over {one.loss.n:,} outcomes, the champion's "
                f"{other.loss.mean:.3f}"
            )


def worse(seen: Observation, by: float) -> float:
    """Evidence that the challenger's loss is more than `1 + by` times the champion's; the log of an e-value.

    On rows that both answered their difference is judged, which varies far less.
    """
    if seen.pairs.n >= ENOUGH:
        pairs = seen.pairs
        spread = math.sqrt(pairs.variance)
        margin = by * seen.champion.loss.mean
        return above(pairs.mean - margin, pairs.variance / pairs.n, 0.25 * spread)
    return mean_above(seen.challenger.loss, seen.champion.loss, 1 + by)


def better(seen: Observation) -> float:
    """Evidence that the challenger's loss is below the champion's; the log of an e-value."""
    return mean_above(seen.champion.loss, seen.challenger.loss)
