"""Train at regular intervals."""

from __future__ import annotations

from dataclasses import dataclass

from modelworks.core.duration import duration
from modelworks.learn.triggers.port import Firing, SegmentState, lasting


@dataclass(frozen=True)
class Every:
    """Train when the last training is `interval` ago and there are new rows: ``mw.Every("7d")``.

    Attributes:
        interval: For instance ``"7d"``; see `core.duration`.

    Raises:
        Invalid: `interval` is no length of time.
    """

    interval: str

    def __post_init__(self) -> None:
        duration(self.interval)

    def judge(self, state: SegmentState) -> Firing | None:
        """See `Trigger.judge`."""
        if state.tried is None or state.new_rows == 0:
            return None
        age = state.now - state.tried
        if age < duration(self.interval):
            return None
        return Firing(
            "every",
            f"it was last trained {lasting(age)} ago, the interval is {lasting(duration(self.interval))}",
            {"tried": state.tried.isoformat(), "new_rows": state.new_rows},
            age / duration(self.interval),
        )
