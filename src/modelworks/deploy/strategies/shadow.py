"""A strategy: the challenger answers the same requests, and nobody is told what it says."""

from __future__ import annotations

from dataclasses import dataclass

from modelworks.core.errors import Invalid
from modelworks.deploy.strategies.live import Live
from modelworks.deploy.strategies.port import Observation, Rollout, Step


@dataclass(frozen=True, kw_only=True)
class Shadow(Live):
    """Let the challenger answer silently beside the champion; it is champion if no guardrail objected by then.

    Attributes:
        share: Share of the requests that it answers too, in percent.
        outcomes: Outcomes of the same requests that must have come first, within `patience`.
    """

    kind = "shadow"
    rows: int = 1000
    share: float = 100
    outcomes: int = 0

    def __post_init__(self) -> None:
        """See `Live`."""
        if not 0 < self.share <= 100:
            raise Invalid(f"share of mw.Shadow is {self.share}", "it is in percent", "use 100 for all")
        super().__post_init__()

    def next(self, state: Rollout, seen: Observation) -> Step:
        """See `Strategy.next`."""
        over = self.over(state, seen)
        if over is not None:
            return over
        share = self.share / 100
        if state.since is None:
            return Step("go_on", f"answers {self.share:g} % of the requests silently", share, silent=True)
        waits = self.waits(state, seen)
        step = None if waits else self.unheard(state, seen, self.outcomes)
        if step is not None:
            if step.action == "abandon":
                return step
            waits = step.reason
        if waits:
            return Step("go_on", f"answers silently: {waits}", share, silent=True)
        told = f"its loss is {seen.pairs.mean:+.3f} on {seen.pairs.n:,} of them, " if seen.pairs.n else ""
        return Step(
            "promote",
            f"replaces {state.champion}: on {seen.challenger.rows:,} of the same rows {told}no guardrail objected",
        )
