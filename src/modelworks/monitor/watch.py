"""What monitoring knows of one segment's champion over a span of time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from modelworks.core.ref import Segment
from modelworks.monitor.drift.rule import Compared

LossKind = Literal["log_loss", "squared_error"]


@dataclass(frozen=True)
class Watch:
    """One champion over the windows looked at.

    Attributes:
        segment: Its segment.
        version: The version.
        rows: Predictions.
        labelled: Those with an outcome, of the days whose outcomes are all there; see `monitor.truths`. So are
            loss and AUC.
        output_mean: Mean of the main output; ``None`` without rows.
        loss_kind: What `loss` is: ``"log_loss"`` (nats) or ``"squared_error"``.
        loss: Mean loss of the labelled rows; ``None`` with fewer than two.
        loss_error: Standard error of `loss`, at least as large as days differ.
        promised: The same loss at validation; ``None`` where it was not measured.
        promised_error: Standard error of `promised`, taking the rows there to vary as these do.
        auc: Area under the ROC curve, from binned outputs.
        expected_loss: What `loss` would be of all rows, by their outputs alone; see `monitor.estimators`.
        expected_loss_error: Its standard error, taking the rows to be independent.
        expected_auc: The same of `auc`.
        psi: Shift of each feature since the reference: population stability index less what few rows alone
            give.
        output_psi: The same for the main output.
        shifted: Features whose shift is large and not by chance, all models and features judged together; those first
            that move the answers most.
        output_shifted: Whether the same holds for the main output.
        decayed: Whether the loss is above the promised one, not by chance.
        shifting: `shifted` by easier limits: an alert that is open stays open so long.
        output_shifting: `output_shifted` by easier limits.
        decaying: `decayed` by easier limits.
        slight: Features whose shift is not by chance either, but not large.
        slight_lasting: `slight` by easier limits.
        drift_test: The test by which the model's definition measures shifts; see `Drift`.
        reference: What its inputs and outputs are compared with; its training also where the definition says
            otherwise but it did not answer then.
        drift: Shift of each feature by that test.
        output_drift: The same for the main output.
        effects: By how much the shift of each feature moves the mean output, in its unit, as features and output go
            together in the reference; 0 where it may be chance. Only of versions that know it.
        effect_errors: Standard errors of the same, before what may be chance was set to 0.
        days: Days with any prediction.
        unlike: Shift of the answers that have no outcome from those that have one, as a population stability index,
            on days whose outcomes are all there.
        selective: Whether it is large and not by chance.
        selecting: `selective` by easier limits.
    """

    segment: Segment
    version: int
    rows: int
    labelled: int
    output_mean: float | None
    loss_kind: LossKind
    loss: float | None
    loss_error: float | None
    promised: float | None
    promised_error: float | None
    auc: float | None
    psi: Mapping[str, float] = field(default_factory=dict)
    output_psi: float | None = None
    shifted: tuple[str, ...] = ()
    output_shifted: bool = False
    decayed: bool = False
    shifting: tuple[str, ...] = ()
    output_shifting: bool = False
    decaying: bool = False
    slight: tuple[str, ...] = ()
    slight_lasting: tuple[str, ...] = ()
    drift_test: str = "psi"
    reference: Compared = "training"
    drift: Mapping[str, float] = field(default_factory=dict)
    output_drift: float | None = None
    effects: Mapping[str, float] = field(default_factory=dict)
    effect_errors: Mapping[str, float] = field(default_factory=dict)
    days: int = 0
    expected_loss: float | None = None
    expected_loss_error: float | None = None
    expected_auc: float | None = None
    unlike: float | None = None
    selective: bool = False
    selecting: bool = False


@dataclass(frozen=True)
class Traffic:
    """When predictions came for one segment, whatever version answered.

    Attributes:
        segment: The segment.
        rows: Predictions in the days looked at.
        days: The UTC days with any, in order, the first and the last at least.
    """

    segment: Segment
    rows: int
    days: tuple[datetime, ...]

    @property
    def rate(self) -> float:
        """Rows a day, from the first to the last day with any."""
        return self.rows / ((self.days[-1] - self.days[0]).days + 1)

    @property
    def pause(self) -> int:
        """The most days in a row without any, between two that had some."""
        return max(((b - a).days - 1 for a, b in pairwise(self.days)), default=0)


@dataclass(frozen=True)
class Observation:
    """What one call of `observe` did.

    Attributes:
        model: The model.
        windows: Windows that were sketched.
        rows: Predictions in them.
        alerts_opened: Alerts that were opened.
        watches: What is known now of every champion that answered in the last days.
    """

    model: str
    windows: int
    rows: int
    alerts_opened: int
    watches: tuple[Watch, ...]


def finite(value: npt.NDArray[Any] | float) -> float | None:
    """A number, or ``None`` for NaN."""
    return float(value) if np.isfinite(value) else None
