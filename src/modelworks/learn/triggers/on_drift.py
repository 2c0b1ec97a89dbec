"""Train when what comes in is no longer what was learned from."""

from __future__ import annotations

from dataclasses import dataclass

from modelworks.learn.triggers.port import Firing, SegmentState


@dataclass(frozen=True)
class OnDrift:
    """Train when at least `features` inputs have drifted, false alarms being controlled over the whole fleet.

    Attributes:
        features: How many.
        psi: Population stability index that each must reach.
    """

    features: int = 1
    psi: float = 0.2

    def judge(self, state: SegmentState) -> Firing | None:
        """See `Trigger.judge`."""
        found = sorted(
            ((state.psi[name], name) for name in state.shifted if state.psi.get(name, 0.0) >= self.psi), reverse=True
        )
        if len(found) < self.features or state.new_rows == 0:
            return None
        named = ", ".join(f"{name} (PSI {value:.2f})" for value, name in found[:3])
        return Firing(
            "on_drift", f"{len(found)} input{'s have' if len(found) > 1 else ' has'} drifted: {named}",
            {"psi": {name: value for value, name in found}}, found[0][0] / self.psi,
        )  # fmt: skip
