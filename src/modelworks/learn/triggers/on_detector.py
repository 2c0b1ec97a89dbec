"""Train when a stream detector tells that the losses have risen."""

from __future__ import annotations

from dataclasses import dataclass

from modelworks.core.errors import Invalid
from modelworks.learn.triggers.port import Firing, SegmentState
from modelworks.monitor.detectors import DETECTORS


@dataclass(frozen=True)
class OnDetector:
    """Train when a detector tells that the champion's losses have risen: ``mw.OnDetector("adwin")``.

    It looks at the loss of every row, in the order in which the truths came, since the champion answers, of the
    last four weeks at most. It needs ``pip install 'modelworks[river]'``.

    Attributes:
        detector: ``"adwin"``, ``"page_hinkley"`` or ``"ddm"``, which counts wrong answers.
        setting: How easily it tells so: ADWIN's delta, the threshold of Page-Hinkley, DDM's drift threshold; as
            usual by default.

    Raises:
        NotFound: there is no such detector.
        Invalid: a setting that could not be.
    """

    detector: str = "adwin"
    setting: float | None = None

    def __post_init__(self) -> None:
        DETECTORS[self.detector]
        if self.setting is not None and self.setting <= 0:
            raise Invalid(f"{self!r} could not be", "", "use a setting above 0")

    def judge(self, state: SegmentState) -> Firing | None:
        """See `Trigger.judge`."""
        if state.losses is None or state.new_rows == 0:
            return None
        detector = DETECTORS[self.detector]
        setting = detector.usual if self.setting is None else self.setting
        values = detector.values(state.losses, state.loss_kind)
        places = [] if values is None else detector.rises(values, setting)
        if values is None or not places:
            return None
        return Firing(
            "on_detector",
            f"{self.detector} tells a rise of the loss after {places[-1] + 1} outcomes",
            {
                "detector": self.detector,
                detector.setting: setting,
                "outcomes": len(values),
                "places": places[-10:],
            },
        )
