"""A strategy: an experiment; half of the requests each, and a verdict by outcomes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from modelworks.core.duration import duration
from modelworks.core.errors import Invalid
from modelworks.deploy.strategies.guard import better, worse
from modelworks.deploy.strategies.live import Live
from modelworks.deploy.strategies.port import Observation, Rollout, Step


@dataclass(frozen=True, kw_only=True)
class AB(Live):
    """Divide the requests between the two, sticky by key, until their outcomes say which is better.

    The test may be looked at at any time: the verdict comes as soon as it is clear, and at the latest after
    `patience`. The champion stays where no difference was found.

    Attributes:
        share: Share of the requests that the challenger answers, in percent.
        outcomes: Outcomes of each side that must have come before a verdict.
    """

    kind = "ab"
    patience: str = "14d"
    share: float = 50
    outcomes: int = 200

    def __post_init__(self) -> None:
        """See `Live`."""
        if not 0 < self.share < 100:
            raise Invalid(f"share of {self.kind} is {self.share}", "it is in percent", "use 50 for half")
        super().__post_init__()

    def next(self, state: Rollout, seen: Observation) -> Step:
        """See `Strategy.next`."""
        over = self.over(state, seen)
        if over is not None:
            return over
        if state.since is None:
            return Step("go_on", f"begins with {self.share:g} % of the requests", self.share / 100)
        return self.verdict(seen) or self.end(state, seen) or self.goes_on(state, seen)

    def verdict(self, seen: Observation) -> Step | None:
        """The verdict, where the outcomes are clear."""
        one, other = seen.challenger.loss, seen.champion.loss
        if min(one.n, other.n) >= self.outcomes:
            told = f"loss {one.mean:.4f} over {one.n:,} outcomes against {other.mean:.4f} over {other.n:,}"
            # Half of the risk for each side.
            limit = math.log(2 / self.guard.risk)
            if better(seen) >= limit:
                return Step("promote", f"is better: {told}")
            if worse(seen, 0.0) >= limit:
                return Step("abandon", f"is worse: {told}")
        return None

    def end(self, state: Rollout, seen: Observation) -> Step | None:
        """The end without a verdict."""
        begun = state.begun or state.since  # the share of a bandit changes: its experiment is the same
        if begun is None or seen.now - begun < duration(self.patience):
            return None
        found = "no difference was found" if seen.challenger.loss.n else "no outcome came"
        return Step("abandon", f"{found} in {self.patience}: version {state.champion} stays")

    def goes_on(self, state: Rollout, seen: Observation) -> Step:
        """Neither verdict nor end."""
        counted = f"{seen.challenger.loss.n:,} and {seen.champion.loss.n:,} outcomes"
        return Step("go_on", f"no verdict yet: {counted}", state.share)
