"""How good the answers were, once the truth is known; from sums and binned outputs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from modelworks.monitor.sketch import Sketches

Floats = npt.NDArray[np.float64]


def row_loss(y: npt.NDArray[np.float64], output: npt.NDArray[np.float64], *, probability: bool) -> Floats:
    """Loss of each row: log loss in nats where `output` is a probability of the event, else the squared error."""
    if not probability:
        return np.square(y - output)
    given = np.where(y > 0, output, 1.0 - output)
    return -np.log(np.clip(given, float(np.finfo(np.float32).eps), 1.0))


def mean_loss(sketches: Sketches) -> tuple[Floats, Floats]:
    """Mean loss of the labelled rows of each window, and its standard error; NaN with fewer than two rows."""
    labelled, loss, squared = sketches.sums[:, 1], sketches.sums[:, 3], sketches.sums[:, 4]
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = loss / labelled
        variance = (squared - labelled * mean**2) / (labelled - 1)
        error = np.sqrt(np.maximum(variance, 0) / labelled)
    return np.where(labelled > 1, mean, np.nan), np.where(labelled > 1, error, np.nan)


def binned_auc(labels: npt.NDArray[np.int64]) -> Floats:
    """Area under the ROC curve from binned outputs; rows of one bin count as ties, so it is a little low.

    Args:
        labels: Counts without and with the event, shape (windows, 2, bins).

    Returns:
        Shape (windows,); NaN where only one kind of row is there.
    """
    negatives, positives = labels[:, 0].astype(float), labels[:, 1].astype(float)
    below = np.cumsum(negatives, axis=1) - negatives
    wins = (positives * (below + negatives / 2)).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(wins / (positives.sum(axis=1) * negatives.sum(axis=1)), dtype=np.float64)
