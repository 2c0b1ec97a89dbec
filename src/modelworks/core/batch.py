"""A batch: rows in the layout that a model takes, as two dense matrices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Texts = npt.NDArray[np.object_]


@dataclass(frozen=True)
class Batch:
    """Rows for a predictor.

    Attributes:
        numbers: float32, shape (rows, numeric inputs), in the signature's order; NaN where missing.
        texts: object (str), shape (rows, text inputs); ``""`` where missing.
    """

    numbers: Floats
    texts: Texts

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, rows: npt.NDArray[Any] | slice) -> Batch:
        """The given rows only."""
        return Batch(self.numbers[rows], self.texts[rows])
