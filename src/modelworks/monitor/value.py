"""What a prediction is worth: the payoff of acting on it, and when acting is the better choice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Payoff:
    """The value of each kind of answer of a binary model, in `unit`.

    Attributes:
        tp: Acted, and the event came.
        fp: Acted, and it did not come.
        fn: Did not act, and the event came.
        tn: Did not act, and it did not come.
        unit: What is counted, for instance ``"EUR"``.
    """

    tp: float = 0.0
    fp: float = 0.0
    fn: float = 0.0
    tn: float = 0.0
    unit: str = "EUR"

    @property
    def threshold(self) -> float:
        """The probability from which acting has the higher expected payoff.

        Acting pays ``p tp + (1-p) fp``, waiting ``p fn + (1-p) tn``; they are equal at
        ``(tn - fp) / ((tn - fp) + (tp - fn))``. Source: Elkan, The Foundations of Cost-Sensitive
        Learning, IJCAI 2001, equation 2.
        """
        gain, cost = self.tp - self.fn, self.tn - self.fp
        if gain + cost <= 0:
            return 0.0 if gain > 0 else 1.0
        return float(np.clip(cost / (gain + cost), 0.0, 1.0))

    def total(self, happened: npt.NDArray[Any], probability: Floats) -> float:
        """The payoff of acting wherever `probability` reaches the threshold.

        Args:
            happened: Whether the event came, shape (n,), 0 or 1.
            probability: Predicted probability of the event, shape (n,).
        """
        act = probability >= self.threshold
        event = happened.astype(bool)
        each = np.where(act, np.where(event, self.tp, self.fp), np.where(event, self.fn, self.tn))
        return float(each.sum())
