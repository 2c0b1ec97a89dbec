"""The Wasserstein distance of ordered bins."""

from __future__ import annotations

import numpy as np

from modelworks.monitor.drift.port import Counts, DriftTest, Floats
from modelworks.monitor.drift.scores import apart, normal_scores


def earth_moved(reference: Counts, live: Counts) -> Floats:
    """How far rows have moved on average, in standard deviations of the reference; shape (...).

    The first Wasserstein distance between the two, each bin standing at its normal score. Of a normal variable
    that moves by up to one standard deviation it is within a tenth of ``scipy.stats.wasserstein_distance`` of
    the rows over their standard deviation, below it because nothing is known of rows beyond the outer bins.
    Source: Vallender, Theory of Probability and its Applications 18 (1974).

    Args:
        reference: Shape (..., bins), in ascending order.
        live: The same shape.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        gaps = np.diff(normal_scores(reference, live), axis=-1)
        moved = np.where(np.isfinite(gaps), np.abs(apart(reference, live)[..., :-1]) * gaps, 0.0).sum(axis=-1)
    there = (reference.sum(axis=-1) > 0) & (live.sum(axis=-1) > 0)
    return np.asarray(np.where(there, moved, np.nan), dtype=np.float64)


WASSERSTEIN = DriftTest("wasserstein", "effect", earth_moved, usual=0.1, slight=0.05)
