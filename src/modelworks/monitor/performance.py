"""How good the answers were, once the truth is known; from the sums and counts of windows. Pure."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from modelworks.core.measure import Ints

Doubles = npt.NDArray[np.float64]

_TINY = float(np.finfo(np.float32).eps)
"""Least probability that is taken for true, as scikit-learn clips it for float32."""


def log_losses(given: Doubles) -> Doubles:
    """Loss in nats of rows to whose truth the model gave the probability `given`; shape (n,)."""
    losses: Doubles = -np.log(np.clip(given, _TINY, 1.0))
    return losses


def mean_loss(sums: Doubles) -> tuple[Doubles, Doubles]:
    """Mean loss of the labelled rows of each window, and the standard error of that mean.

    The error takes the rows to be independent; rows that share their luck have a larger one.

    Args:
        sums: As `monitor.sketch.Sketches.sums`, shape (windows, 5).

    Returns:
        Both of shape (windows,); NaN with fewer than two labelled rows.
    """
    labelled, total, squares = sums[:, 1], sums[:, 3], sums[:, 4]
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / labelled
        variance = np.maximum(squares - labelled * mean**2, 0.0) / (labelled - 1)
        error = np.sqrt(variance / labelled)
    enough = labelled > 1
    return np.where(enough, mean, np.nan), np.where(enough, error, np.nan)


def clustered_error(sums: Doubles, windows: Ints, loss: Doubles) -> Doubles:
    """Standard error of the mean loss where the rows of one day share their luck, as flights share the weather.

    Source: the cluster-robust variance of a mean, Liang and Zeger, Biometrika 73 (1986), a day being a cluster:
    ``sum_d (L_d - n_d mean)^2 / n^2``, times ``D / (D - 1)`` for few days.

    Args:
        sums: As `monitor.sketch.Sketches.sums`, shape (groups, 5).
        windows: Days of each group, shape (groups,).
        loss: As `monitor.sketch.Spread.loss`, shape (groups, 3).

    Returns:
        Shape (groups,); NaN with a single day.
    """
    labelled, total = sums[:, 1], sums[:, 3]
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / labelled
        between = np.maximum(loss[:, 0] - 2 * mean * loss[:, 1] + mean**2 * loss[:, 2], 0.0)
        error = np.sqrt(between * windows / (windows - 1)) / labelled
    return np.where(windows > 1, error, np.nan)


def binned_auc(outputs: Ints) -> Doubles:
    """Area under the ROC curve from outputs counted in bins.

    Rows of one bin count as ties, which draws the value towards one half: by some thousandths where the
    outputs spread over ten bins or more.

    Args:
        outputs: Counts by label, shape (windows, LABELS, bins).

    Returns:
        Shape (windows,); NaN where only one kind of row is there.

    Source: the Mann-Whitney form, Hanley and McNeil, Radiology 143 (1982).
    """
    negatives, positives = outputs[:, 0].astype(np.float64), outputs[:, 1].astype(np.float64)
    below = np.cumsum(negatives, axis=1) - negatives
    wins = (positives * (below + negatives / 2)).sum(axis=1)
    pairs = positives.sum(axis=1) * negatives.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(pairs > 0, wins / pairs, np.nan)
