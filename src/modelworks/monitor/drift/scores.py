"""Ordered bins: where each stands on a line, and how far apart two distributions over them are."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from modelworks.monitor.drift.port import Counts, Floats

_ROOT = 1 / np.sqrt(2 * np.pi)


def normal_scores(reference: Counts, live: Counts) -> Floats:
    """The place of each bin in standard deviations, the reference being made normal; shape (..., bins).

    A bin stands where the mean of its share of a standard normal variable is: the lowest tenth at -1.75, the
    highest at 1.75. So it takes no unit, and no outlier counts for more than its rank. Half a row is added to
    every bin that either side uses; one that neither uses stands where the one before it does.

    Source: van der Waerden scores (Lehmann, Nonparametrics, 1975, section 2.7 D), averaged over ties.

    Args:
        reference: Shape (..., bins), in ascending order.
        live: The same shape.
    """
    used = reference + live > 0
    share = np.where(used, reference + 0.5, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = share / share.sum(axis=-1, keepdims=True)
        upper = np.minimum(np.cumsum(share, axis=-1), 1.0)
        density = np.concatenate(
            [np.zeros((*share.shape[:-1], 1)), _ROOT * np.exp(-0.5 * np.square(ndtri(upper)))], axis=-1
        )
        place = -np.diff(density, axis=-1) / share
    return np.asarray(np.maximum.accumulate(np.where(used, place, -np.inf), axis=-1), dtype=np.float64)


def apart(reference: Counts, live: Counts) -> Floats:
    """How far the two distribution functions are apart above each bin; shape (..., bins), NaN without rows.

    Args:
        reference: Shape (..., bins), in ascending order.
        live: The same shape.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(
            np.cumsum(reference, axis=-1) / reference.sum(axis=-1, keepdims=True)
            - np.cumsum(live, axis=-1) / live.sum(axis=-1, keepdims=True),
            dtype=np.float64,
        )
