"""Train when enough is known of what came of the champion's answers."""

from __future__ import annotations

from dataclasses import dataclass

from modelworks.core.errors import Invalid
from modelworks.learn.triggers.port import Firing, SegmentState


@dataclass(frozen=True)
class OnOutcomes:
    """Train when `rows` answers of the champion have their outcome, and new rows to learn from: ``mw.OnOutcomes(200)``.

    Outcomes of the days that monitoring looks at are counted, four weeks; a new champion begins at none.

    Attributes:
        rows: How many.

    Raises:
        Invalid: none are asked for.
    """

    rows: int

    def __post_init__(self) -> None:
        if self.rows < 1:
            raise Invalid(f"{self!r} asks for no outcomes", "", "write for instance mw.OnOutcomes(200)")

    def judge(self, state: SegmentState) -> Firing | None:
        """See `Trigger.judge`."""
        if state.tried is None or state.new_rows == 0 or state.labelled < self.rows:
            return None
        return Firing(
            "on_outcomes",
            f"{state.labelled} answers of the champion have their outcome, {self.rows} are enough",
            {"outcomes": state.labelled, "enough": self.rows},
            state.labelled / self.rows,
        )
