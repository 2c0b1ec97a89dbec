"""A predictor answers a batch; how it was loaded (compiled or native) does not show."""

from __future__ import annotations

from typing import Any, Protocol

import numpy.typing as npt

from modelworks.core.batch import Batch


class Predictor(Protocol):
    """One loaded model version."""

    def predict(self, batch: Batch) -> npt.NDArray[Any]:
        """Answer every row of a batch.

        Returns:
            float32, shape (rows, classes): probabilities in the order of the signature's classes;
            or, for a regression, float32, shape (rows, 1): the values.
        """
        ...
