"""Train when enough new rows have come."""

from __future__ import annotations

from dataclasses import dataclass

from modelworks.core.errors import Invalid
from modelworks.learn.triggers.port import Firing, SegmentState


@dataclass(frozen=True)
class OnRows:
    """Train when `rows` new rows have come since the last training, or as many as a `share` of all."""

    rows: int = 0
    share: float = 0.0

    def __post_init__(self) -> None:
        if self.rows <= 0 and self.share <= 0:
            raise Invalid("OnRows has neither rows nor a share", "", "write mw.OnRows(5000) or mw.OnRows(share=0.25)")

    def judge(self, state: SegmentState) -> Firing | None:
        """See `Trigger.judge`."""
        needed = [float(self.rows)] * (self.rows > 0) + [self.share * state.rows] * (self.share > 0)
        threshold = max(min(needed), 1.0)
        if state.tried is None or state.new_rows < threshold:
            return None
        return Firing(
            "on_rows", f"{state.new_rows} new rows since the last training, {threshold:.0f} are enough",
            {"new_rows": state.new_rows, "threshold": threshold}, state.new_rows / threshold,
        )  # fmt: skip
