"""Train when live answers are worse than at validation."""

from __future__ import annotations

from dataclasses import dataclass

from modelworks.core.errors import Invalid
from modelworks.learn.triggers.port import Firing, SegmentState


@dataclass(frozen=True)
class OnDecay:
    """Train when the live loss is worse than at validation by more than `by`, and not by chance.

    Attributes:
        metric: ``"log_loss"`` or ``"rmse"`` (judged by the squared error).
        by: How much worse, in the metric's unit.
        rows: Labelled predictions that are needed to say so.
        sigmas: Standard errors by which the live loss must exceed the one at validation.
    """

    metric: str = "log_loss"
    by: float = 0.05
    rows: int = 50
    sigmas: float = 2.0

    def __post_init__(self) -> None:
        if self.metric not in ("log_loss", "rmse"):
            raise Invalid(f"OnDecay cannot watch {self.metric!r}", "it watches log_loss and rmse", "use one of these")

    def judge(self, state: SegmentState) -> Firing | None:
        """See `Trigger.judge`."""
        if state.loss is None or state.promised is None or state.loss_error is None or state.labelled < self.rows:
            return None
        live, promised = (
            (state.loss, state.promised) if self.metric == "log_loss" else (state.loss**0.5, state.promised**0.5)
        )
        by_chance = self.sigmas * state.loss_error
        if live - promised <= self.by or state.loss - state.promised <= by_chance or state.new_rows == 0:
            return None
        return Firing(
            "on_decay",
            f"{self.metric} is {live:.3f} on {state.labelled} outcomes, it was {promised:.3f} at validation",
            {"live": live, "promised": promised, "labelled": state.labelled}, (live - promised) / self.by,
        )  # fmt: skip
