"""A strategy: a small share of the requests first, then larger ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from modelworks.core.errors import Invalid
from modelworks.deploy.strategies.live import Live
from modelworks.deploy.strategies.port import Observation, Rollout, Step

_SAME = 1e-9


@dataclass(frozen=True)
class Canary(Live):
    """Give the challenger a growing share of the requests as long as no guardrail objects; then all.

    Attributes:
        steps: The shares in percent, growing; after the last one below 100 the challenger is champion.
        outcomes: Outcomes of its predictions that must have come before it is champion, within `patience`.
    """

    kind = "canary"
    steps: Sequence[float] = (2, 25, 100)
    outcomes: int = 0

    def __post_init__(self) -> None:
        """See `Live`; the steps grow."""
        object.__setattr__(self, "steps", tuple(self.steps))
        wrong = not self.steps or list(self.steps) != sorted(set(self.steps))
        if wrong or not 0 < self.steps[0] <= self.steps[-1] <= 100:
            raise Invalid(
                f"steps of mw.Canary are {list(self.steps)}",
                "they are shares in percent, each above the one before",
                "use for instance [2, 25, 100]",
            )
        super().__post_init__()

    def next(self, state: Rollout, seen: Observation) -> Step:
        """See `Strategy.next`."""
        over = self.over(state, seen)
        if over is not None:
            return over
        later = [step for step in self.steps if step / 100 > state.share + _SAME and step < 100]
        if state.since is None:
            if later:
                return Step("go_on", f"begins with {later[0]:g} % of the requests", later[0] / 100)
            return Step("promote", f"version {state.challenger} replaces {state.champion} at once")
        now = f"{state.share * 100:g} %"
        if waits := self.waits(state, seen):
            return Step("go_on", f"stays at {now}: {waits}", state.share)
        if later:
            said = f"goes on to {later[0]:g} %: nothing spoke against it at {now}, {_counted(seen)}"
            return Step("go_on", said, later[0] / 100)
        if step := self.unheard(state, seen, self.outcomes):
            return (
                step if step.action == "abandon" else replace(step, reason=f"stays at {now}: {step.reason}")
            )
        return Step("promote", f"replaces {state.champion}: no guardrail objected, {_counted(seen)}")

    def to_json(self) -> dict[str, Any]:
        """See `Strategy.to_json`."""
        return {**super().to_json(), "steps": list(self.steps)}


def _counted(seen: Observation) -> str:
    outcomes = f" and {seen.challenger.loss.n:,} outcomes" if seen.challenger.loss.n else ""
    return f"{seen.challenger.rows:,} rows{outcomes}"
