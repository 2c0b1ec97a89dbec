"""A strategy: everything is made ready first, then there is one switch, and an instant way back."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from modelworks.core.duration import duration
from modelworks.deploy.strategies.port import Observation, Rollout, Step


@dataclass(frozen=True)
class BlueGreen:
    """Load and warm the challenger in every server, switch once all have it, and keep the old one in memory.

    Attributes:
        patience: How long to wait for a server that runs and does not load it.
    """

    patience: str = "5m"

    def __post_init__(self) -> None:
        """Check the duration."""
        duration(self.patience)

    def next(self, state: Rollout, seen: Observation) -> Step:
        """See `Strategy.next`."""
        if state.champion is None:
            return Step("promote", f"version {state.challenger} is the first champion")
        if seen.broken:
            return Step("abandon", f"version {state.challenger} cannot be loaded: {seen.broken}")
        if state.since is None:
            return Step("go_on", "is loaded beside the champion", 0.0)
        if seen.loaded >= seen.servers:
            where = f"{seen.servers} servers have it" if seen.servers != 1 else "the server has it"
            told = where if seen.servers else "no server runs"
            return Step("promote", f"replaces {state.champion} in one switch: {told}")
        if seen.now - state.since >= duration(self.patience):
            return Step(
                "abandon", f"only {seen.loaded} of {seen.servers} servers loaded it in {self.patience}"
            )
        return Step("go_on", f"{seen.loaded} of {seen.servers} servers have loaded it", 0.0)

    def to_json(self) -> dict[str, Any]:
        """See `Strategy.to_json`."""
        return {"kind": "blue_green", **asdict(self)}
