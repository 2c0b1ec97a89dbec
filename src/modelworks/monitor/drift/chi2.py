"""The chi-squared test of homogeneity."""

from __future__ import annotations

import numpy as np
from scipy.special import chdtrc

from modelworks.monitor.drift.port import Counts, DriftTest, Floats


def statistic(reference: Counts, live: Counts) -> tuple[Floats, Counts]:
    """Pearson's statistic of a 2 x bins table, and its degrees of freedom; both of shape (...).

    Of the two rows of the table the sum over one bin is ``(a sqrt(m/n) - b sqrt(n/m))^2 / (a + b)``. NaN where
    either side has no rows; bins that neither side uses are left out.
    """
    both = reference + live
    used = both > 0
    n, m = reference.sum(axis=-1, keepdims=True), live.sum(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        parts = np.square(reference * np.sqrt(m / n) - live * np.sqrt(n / m)) / both
    total = np.where(used, parts, 0.0).sum(axis=-1)
    there = (n[..., 0] > 0) & (m[..., 0] > 0)
    return np.where(there, total, np.nan), np.maximum(used.sum(axis=-1) - 1, 0)


def homogeneity(reference: Counts, live: Counts) -> Floats:
    """The chance of so large a difference if both were drawn from one distribution; shape (...).

    Source: Pearson's test of homogeneity without correction, as ``scipy.stats.chi2_contingency`` has it.

    Args:
        reference: Shape (..., bins).
        live: The same shape.
    """
    value, freedom = statistic(reference, live)
    p = np.where(freedom > 0, chdtrc(np.maximum(freedom, 1), value), 1.0)
    return np.asarray(np.where(np.isnan(value), np.nan, p), dtype=np.float64)


CHI2 = DriftTest("chi2", "p", homogeneity)
