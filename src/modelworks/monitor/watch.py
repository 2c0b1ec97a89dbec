"""What monitoring knows of one segment's champion over a span of time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from modelworks.core.ref import Segment


@dataclass(frozen=True)
class Watch:
    """One version over the windows looked at.

    Attributes:
        segment: Its segment.
        version: The version.
        rows: Predictions.
        labelled: Those with an outcome.
        output_mean: Mean of the main score; ``None`` without rows.
        loss: Mean log loss (or squared error) of the labelled rows; ``None`` with fewer than two.
        loss_error: Its standard error.
        promised: The same loss at validation, where it was measured.
        auc: Area under the ROC curve from binned outputs.
        psi: Population stability index by feature against the training rows.
        output_psi: The same for the main score against validation.
        shifted: Features that alarm, all models and features judged together.
        decayed: Whether the loss is worse than promised, not by chance.
    """

    segment: Segment
    version: int
    rows: int
    labelled: int
    output_mean: float | None
    loss: float | None
    loss_error: float | None
    promised: float | None
    auc: float | None
    psi: Mapping[str, float] = field(default_factory=dict)
    output_psi: float | None = None
    shifted: tuple[str, ...] = ()
    decayed: bool = False


@dataclass(frozen=True)
class Observation:
    """What one call of `observe` did.

    Attributes:
        model: The model.
        windows: Windows that were sketched.
        rows: Predictions in them.
        alerts_opened: Alerts that were opened.
        watches: What is known now of every champion.
    """

    model: str
    windows: int
    rows: int
    alerts_opened: int
    watches: tuple[Watch, ...]


def finite(value: npt.NDArray[Any] | float) -> float | None:
    """A number, or ``None`` for NaN."""
    return float(value) if np.isfinite(value) else None
