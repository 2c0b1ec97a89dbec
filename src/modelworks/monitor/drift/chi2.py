"""The chi-squared test of homogeneity."""

from __future__ import annotations

import numpy as np
from scipy.special import chdtrc

from modelworks.monitor.drift.port import Counts, DriftTest, Floats


def homogeneity(reference: Counts, live: Counts) -> Floats:
    """The chance of so large a difference if both were drawn from one distribution; shape (...).

    Source: Pearson's test of a 2 x bins table without correction, as ``scipy.stats.chi2_contingency`` has
    it; of the two rows of the table the sum over one bin is ``(a sqrt(m/n) - b sqrt(n/m))^2 / (a + b)``.

    Args:
        reference: Shape (..., bins).
        live: The same shape.
    """
    both = reference + live
    used = both > 0
    n, m = reference.sum(axis=-1, keepdims=True), live.sum(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        parts = np.square(reference * np.sqrt(m / n) - live * np.sqrt(n / m)) / both
    statistic = np.where(used, parts, 0.0).sum(axis=-1)
    freedom = used.sum(axis=-1) - 1
    p = np.where(freedom > 0, chdtrc(np.maximum(freedom, 1), statistic), 1.0)
    there = (n[..., 0] > 0) & (m[..., 0] > 0)
    return np.asarray(np.where(there, p, np.nan), dtype=np.float64)


CHI2 = DriftTest("chi2", "p", homogeneity)
