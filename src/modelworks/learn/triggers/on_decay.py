"""Train when live answers are worse than at validation."""

from __future__ import annotations

import math
from dataclasses import dataclass

from modelworks.core.errors import Invalid
from modelworks.learn.triggers.port import Firing, SegmentState

_METRICS = {"log_loss": "log_loss", "rmse": "squared_error"}
"""Metrics that can be watched, and the loss by row that they are made of."""


@dataclass(frozen=True)
class OnDecay:
    """Train when the live loss is worse than at validation, by `by` or more and not by chance.

    The difference of the two means must also exceed `sigmas` of its standard errors (Welch's). The rows are
    taken to be independent; where they share their luck (a day's weather) the true error is larger.

    Attributes:
        metric: ``"log_loss"``, or ``"rmse"`` (for which chance is judged by the squared error).
        by: How much worse, in the metric's unit.
        rows: Labelled predictions that are needed to say so.
        sigmas: See above; 2 is exceeded by chance about once in 44 times.

    Raises:
        Invalid: another metric, or a limit that could not be.
    """

    metric: str = "log_loss"
    by: float = 0.05
    rows: int = 50
    sigmas: float = 2.0

    def __post_init__(self) -> None:
        if self.metric not in _METRICS:
            raise Invalid(
                f"OnDecay cannot watch {self.metric!r}",
                f"it watches the means of a loss by row: {', '.join(_METRICS)}",
                "use one of these",
            )
        if self.by <= 0 or self.rows < 2 or self.sigmas < 0:
            raise Invalid(
                f"{self!r} would fire at any time", "", "use by above 0, at least 2 rows, sigmas from 0"
            )

    def differs(self, state: SegmentState) -> tuple[float, float] | None:
        """How much worse the loss by row is than at validation, and the standard error of that."""
        if state.loss is None or state.promised is None or state.loss_error is None:
            return None
        if state.loss_kind != _METRICS[self.metric]:
            return None
        error = math.hypot(state.loss_error, state.promised_error or 0.0)
        return (state.loss - state.promised, error) if error > 0 else None

    def least(self, promised: float) -> float:
        """How much the loss by row must be worse than it was `promised`: `by`, as a difference of losses by row."""
        return (math.sqrt(promised) + self.by) ** 2 - promised if self.metric == "rmse" else self.by

    def judge(self, state: SegmentState) -> Firing | None:
        """See `Trigger.judge`."""
        told = self.differs(state)
        if told is None or state.labelled < self.rows or state.new_rows == 0:
            return None
        assert state.loss is not None
        assert state.promised is not None
        worse, error = told
        live, promised = state.loss, state.promised
        if self.metric == "rmse":
            live, promised = math.sqrt(live), math.sqrt(promised)
        if live - promised < self.by or worse <= self.sigmas * error:
            return None
        return Firing(
            "on_decay",
            f"{self.metric} is {live:.3f} over {state.labelled} outcomes, {promised:.3f} at validation",
            {"live": live, "promised": promised, "labelled": state.labelled, "standard_error": error},
            (live - promised) / self.by,
        )
