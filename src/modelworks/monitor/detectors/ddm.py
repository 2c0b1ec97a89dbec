"""The drift detection method."""

from __future__ import annotations

import numpy as np

from modelworks.monitor.detectors.port import Doubles, LossKind, told

_BEGUN = 200
"""Rows before the first verdict."""


class Ddm:
    """The share of wrong answers, against the least that it ever was.

    The share of the first rows is a matter of luck, and the least that it ever was stays: so there is no verdict on
    fewer than `_BEGUN`, and a rise has to be clearer than in the paper (3), which tells one in a few hundred rows
    that stay as they are.

    An answer counts as wrong that gave the truth a probability below one half.

    Source: Gama, Medas, Castillo and Rodrigues, "Learning with Drift Detection", SBIA 2004; by River.
    """

    name = "ddm"
    setting = "drift_threshold"
    usual = 4.0

    def values(self, losses: Doubles, kind: LossKind) -> Doubles | None:
        """See `Detector.values`; a squared error is neither right nor wrong."""
        return (losses > np.log(2)).astype(np.float64) if kind == "log_loss" else None

    def rises(self, values: Doubles, setting: float) -> list[int]:
        """See `Detector.rises`."""
        from river.drift import binary

        return told(binary.DDM(warm_start=_BEGUN, drift_threshold=setting), values.astype(bool))


DDM = Ddm()
