"""The port of metrics: how good answers are, as one number."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from modelworks.models.signature import Label

Truth = npt.NDArray[Any]
Scores = npt.NDArray[np.floating[Any]]
Influences = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: Its name in the catalog.
        greater_is_better: Which direction is up.
        compute: ``(y (n,), scores (n, classes) or (n, 1), classes) -> value``; NaN where it is undefined.
        influence: With the same arguments, how much each row moves the value, shape (n,), mean 0: the value's
            variance is that of the influences divided by n, and two models are compared row by row by the
            difference of theirs. ``None`` where that is not known; then nothing is said of the value's error.
            Source: Hampel, "The Influence Curve and Its Role in Robust Estimation", JASA 69 (1974).
        bounds: Between which its values are; an interval does not reach beyond.
    """

    name: str
    greater_is_better: bool
    compute: Callable[[Truth, Scores, Sequence[Label]], float]
    influence: Callable[[Truth, Scores, Sequence[Label]], Influences] | None = None
    bounds: tuple[float, float] = (-math.inf, math.inf)

    def __call__(self, y: Truth, scores: Scores, classes: Sequence[Label]) -> float:
        """The value on the given rows; NaN where it is undefined, for instance on none."""
        return float("nan") if not len(y) else float(self.compute(y, scores, classes))
