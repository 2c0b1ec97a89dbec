"""When somebody should know: one alert for one cause, whole fleets judged together. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from modelworks.monitor.drift import DRIFT_TESTS
from modelworks.monitor.drift.port import benjamini_hochberg

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

MIN_EFFECT = 0.2
"""Population stability index from which a shift matters."""
MIN_ROWS = 100
"""Rows below which a window says too little."""
FALSE_ALARMS = 0.01
"""Expected share of false ones among all alarms."""


@dataclass(frozen=True)
class Finding:
    """Something that a person should know of a model.

    Attributes:
        kind: ``"feature_drift"``, ``"prediction_drift"`` or ``"performance"``.
        severity: ``"warning"`` or ``"critical"``.
        message: What, one sentence.
        evidence: The numbers behind it.
    """

    kind: str
    severity: str
    message: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


def drifted(reference: Counts, live: Counts) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Which of many distributions have shifted, judged together.

    Args:
        reference: Shape (..., bins).
        live: The same shape.

    Returns:
        The effect (population stability index) and whether it is an alarm: large enough, on enough rows, and
        not by chance, all tests of the call taken together.
    """
    effect = DRIFT_TESTS["psi"].compute(reference, live)
    chance = DRIFT_TESTS["chi2"].compute(reference, live)
    chance = np.where(live.sum(axis=-1) >= MIN_ROWS, chance, np.nan)
    with np.errstate(invalid="ignore"):
        return effect, (benjamini_hochberg(chance) <= FALSE_ALARMS) & (effect >= MIN_EFFECT)


def decayed(live: Floats, error: Floats, rows: Floats, promised: Floats) -> npt.NDArray[np.bool_]:
    """Where the live loss is above the one at validation, and not by chance; all shapes (n,).

    One-sided z-test on the mean loss, Benjamini-Hochberg over all.
    """
    from scipy.special import ndtr

    with np.errstate(invalid="ignore", divide="ignore"):
        z = (live - promised) / error
    chance = np.where((rows >= MIN_ROWS) & np.isfinite(z), ndtr(-z), np.nan)
    with np.errstate(invalid="ignore"):
        return np.asarray(benjamini_hochberg(chance) <= FALSE_ALARMS)


def findings(
    segments: int, features: Sequence[str], feature_alarms: npt.NDArray[np.bool_], output_alarms: npt.NDArray[np.bool_],
    decays: npt.NDArray[np.bool_],
) -> list[Finding]:
    """What there is to say of one model: causes grouped, so that 300 segments make one alert, not 300.

    Args:
        segments: Number of segments that were judged.
        features: Names, in the order of the columns of `feature_alarms`.
        feature_alarms: Shape (segments, features).
        output_alarms: Shape (segments,).
        decays: Shape (segments,).
    """
    found = []
    by_feature = feature_alarms.sum(axis=0) if feature_alarms.size else np.zeros(len(features), int)
    shifted = sorted(((int(n), name) for n, name in zip(by_feature, features, strict=True) if n), reverse=True)
    if shifted:
        touched = int(feature_alarms.any(axis=1).sum())
        named = ", ".join(f"{name} ({number})" for number, name in shifted[:5])
        found.append(
            Finding(
                "feature_drift", "warning",
                f"Inputs of {touched} of {segments} models have shifted since training, most of all {named}",
                {"segments": touched, "features": {name: number for number, name in shifted}},
            )
        )  # fmt: skip
    for kind, alarms, says, severity in (
        ("prediction_drift", output_alarms, "give other answers than at validation", "warning"),
        ("performance", decays, "are worse than at validation", "critical"),
    ):
        number = int(alarms.sum())
        if number:
            found.append(Finding(kind, severity, f"{number} of {segments} models {says}", {"segments": number}))
    return found
