"""Adaptive windowing."""

from __future__ import annotations

from typing import Any

from modelworks.monitor.detectors.port import Doubles, LossKind


class Adwin:
    """A window that is cut where the means of its two parts differ by more than chance would have it.

    Of its changes those are told after which the mean of what is left is larger.

    Source: Bifet and Gavalda, "Learning from Time-Changing Data with Adaptive Windowing", SDM 2007; by River.
    """

    name = "adwin"
    setting = "delta"
    usual = 0.002

    def values(self, losses: Doubles, kind: LossKind) -> Doubles | None:
        """See `Detector.values`."""
        return losses

    def rises(self, values: Doubles, setting: float) -> list[int]:
        """See `Detector.rises`."""
        from river import drift

        river: Any = drift
        detector = river.ADWIN(delta=setting)
        found = []
        for place, value in enumerate(values.tolist()):
            before = detector.estimation
            detector.update(value)
            if detector.drift_detected and detector.estimation > before:
                found.append(place)
        return found


ADWIN = Adwin()
