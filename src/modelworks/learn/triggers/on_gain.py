"""Train when it is worth more than it costs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from modelworks.core.duration import duration
from modelworks.core.errors import Invalid
from modelworks.learn.triggers.port import Firing, SegmentState


@dataclass(frozen=True)
class OnGain:
    """Train when what is expected to be gained until the `horizon` is more than a training costs.

    The loss above the one at validation is what a training may win back; as much of it as is likely to be chance is
    taken off first. What is left, times how much of it trainings win back, times the predictions until the horizon,
    times what a unit of loss is worth, is the gain.

    Source: the share that is left, ``1 - error^2 / excess^2``, is the positive part of James and Stein, "Estimation
    with quadratic loss" (1961), for a single value.

    Attributes:
        worth: What one unit of loss less (a nat of log loss, or a squared unit) is worth for one prediction, in the
            unit of the model's value.
        cost: Of one training of a segment, in the same unit: time of a machine, and of whoever looks at it.
        horizon: For how long a new version is expected to serve, for instance ``"28d"``.
        recovers: Share of the excess loss that a training is expected to win back.

    Raises:
        Invalid: a number that could not be; `horizon` is no length of time.
    """

    worth: float
    cost: float
    horizon: str = "28d"
    recovers: float = 0.5

    def __post_init__(self) -> None:
        duration(self.horizon)
        if self.worth <= 0 or self.cost < 0 or not 0 < self.recovers <= 1:
            raise Invalid(
                f"{self!r} could not be",
                "a prediction is worth more than nothing, a training costs nothing or more, and wins back a share",
                "use worth above 0, cost from 0, recovers above 0 up to 1",
            )

    def judge(self, state: SegmentState) -> Firing | None:
        """See `Trigger.judge`."""
        if state.loss is None or state.promised is None or state.loss_error is None or not state.days:
            return None
        excess = state.loss - state.promised
        error = (state.loss_error**2 + (state.promised_error or 0.0) ** 2) ** 0.5
        if excess <= error or state.new_rows == 0:
            return None
        likely = excess * (1 - (error / excess) ** 2)
        rows = state.answered / state.days * (duration(self.horizon) / timedelta(days=1))
        gain = self.recovers * likely * rows * self.worth
        if gain <= self.cost:
            return None
        return Firing(
            "on_gain",
            f"a training is expected to gain {gain:.3g} over {self.horizon} and costs {self.cost:.3g}",
            {"gain": gain, "cost": self.cost, "excess": excess, "standard_error": error, "predictions": rows},
            gain / self.cost if self.cost else 1.0 + gain,
        )
