"""Train when enough new rows have come."""

from __future__ import annotations

from dataclasses import dataclass

from modelworks.core.errors import Invalid
from modelworks.learn.triggers.port import Firing, SegmentState


@dataclass(frozen=True)
class OnRows:
    """Train when `rows` new rows have come since the last training, or a `share` of all; whichever is first.

    Attributes:
        rows: How many; 0 if only the share counts.
        share: Of all rows that a training could use, from 0 to 1; 0 if only the number counts.

    Raises:
        Invalid: neither is given, or not in its range.
    """

    rows: int = 0
    share: float = 0.0

    def __post_init__(self) -> None:
        if self.rows < 0 or not 0 <= self.share <= 1 or not (self.rows or self.share):
            raise Invalid(
                f"{self!r} has neither rows nor a share", "", "write mw.OnRows(5000) or mw.OnRows(share=0.25)"
            )

    def judge(self, state: SegmentState) -> Firing | None:
        """See `Trigger.judge`."""
        enough = max(
            min(([self.rows] if self.rows else []) + ([self.share * state.rows] if self.share else [])), 1
        )
        if state.tried is None or state.new_rows < enough:
            return None
        return Firing(
            "on_rows",
            f"{state.new_rows} new rows have come since the last training, {enough:.0f} are enough",
            {"new_rows": state.new_rows, "enough": enough},
            state.new_rows / enough,
        )
