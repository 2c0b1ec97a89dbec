"""The Page-Hinkley test."""

from __future__ import annotations

from modelworks.monitor.detectors.port import Doubles, LossKind, told


class PageHinkley:
    """The sum of what values are above their mean, since it was least.

    Source: Page, "Continuous Inspection Schemes", Biometrika 41 (1954); by River, in one direction.
    """

    name = "page_hinkley"
    setting = "threshold"
    usual = 50.0

    def values(self, losses: Doubles, kind: LossKind) -> Doubles | None:
        """See `Detector.values`."""
        return losses

    def rises(self, values: Doubles, setting: float) -> list[int]:
        """See `Detector.rises`."""
        from river import drift

        return told(drift.PageHinkley(threshold=setting, mode="up"), values)


PAGE_HINKLEY = PageHinkley()
