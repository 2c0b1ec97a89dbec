"""The port of metrics: how good answers are, as one number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from modelworks.models.signature import Label

Truth = npt.NDArray[Any]
Scores = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: Its name in the catalog.
        greater_is_better: Which direction is up.
        compute: ``(y (n,), scores (n, classes) or (n, 1), classes) -> value``; NaN where it is undefined.
    """

    name: str
    greater_is_better: bool
    compute: Callable[[Truth, Scores, Sequence[Label]], float]

    def __call__(self, y: Truth, scores: Scores, classes: Sequence[Label]) -> float:
        """The value on the given rows; NaN where it is undefined, for instance on none."""
        return float("nan") if not len(y) else float(self.compute(y, scores, classes))
