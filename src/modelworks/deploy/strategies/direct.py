"""A strategy: the new version answers at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from modelworks.deploy.strategies.port import Observation, Rollout, Step


@dataclass(frozen=True)
class Direct:
    """Promote at once, whatever is seen."""

    def next(self, state: Rollout, seen: Observation) -> Step:
        """See `Strategy.next`."""
        if state.champion is None:
            return Step("promote", f"version {state.challenger} is the first champion")
        return Step("promote", f"version {state.challenger} replaces {state.champion} at once")

    def to_json(self) -> dict[str, Any]:
        """See `Strategy.to_json`."""
        return {"kind": "direct"}
