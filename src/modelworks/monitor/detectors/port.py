"""The port of stream detectors: where in a row of losses they are told to have risen. Pure."""

from __future__ import annotations

from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
LossKind = Literal["log_loss", "squared_error"]


class Detector(Protocol):
    """One test that looks at values one by one.

    Attributes:
        name: Its name in the catalog.
        setting: What `rises` calls its one setting, in River's words.
        usual: Its usual value.
    """

    name: str
    setting: str
    usual: float

    def values(self, losses: Doubles, kind: LossKind) -> Doubles | None:
        """What it looks at, made of the losses of rows; ``None`` where it has no use for losses of that kind."""
        ...

    def rises(self, values: Doubles, setting: float) -> list[int]:
        """Places at which it tells that the values have risen; it begins anew after each.

        Args:
            values: In the order in which they came, shape (any,).
            setting: How easily it tells so.
        """
        ...


def told(detector: Any, values: Doubles) -> list[int]:
    """Places at which a detector of River's tells a change."""
    found = []
    for place, value in enumerate(values.tolist()):
        detector.update(value)
        if detector.drift_detected:
            found.append(place)
    return found
