"""Train when what comes in is no longer what was learned from."""

from __future__ import annotations

from dataclasses import dataclass

from modelworks.core.errors import Invalid
from modelworks.learn.triggers.port import Firing, SegmentState


@dataclass(frozen=True)
class OnDrift:
    """Train when at least `features` inputs have shifted, false alarms being controlled over the whole fleet.

    What counts as shifted is judged by `monitor`: far enough, on enough rows, not by chance.

    Attributes:
        features: How many.
        psi: Population stability index that each must reach.

    Raises:
        Invalid: a limit that could not be.
    """

    features: int = 1
    psi: float = 0.2

    def __post_init__(self) -> None:
        if self.features < 1 or self.psi < 0:
            raise Invalid(f"{self!r} would fire at any time", "", "use at least 1 feature and a PSI above 0")

    def judge(self, state: SegmentState) -> Firing | None:
        """See `Trigger.judge`."""
        found = sorted(
            ((state.psi[name], name) for name in state.shifted if state.psi.get(name, 0.0) >= self.psi),
            reverse=True,
        )
        if len(found) < self.features or state.new_rows == 0:
            return None
        named = ", ".join(f"{name} (PSI {value:.2f})" for value, name in found[:3])
        return Firing(
            "on_drift",
            f"{len(found)} input{'s have' if len(found) > 1 else ' has'} shifted: {named}",
            {"psi": {name: value for value, name in found}},
            found[self.features - 1][0] / self.psi if self.psi else 1.0,
        )
