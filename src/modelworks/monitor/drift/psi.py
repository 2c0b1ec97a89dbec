"""The population stability index."""

from __future__ import annotations

import numpy as np

from modelworks.monitor.drift.port import Counts, DriftTest, Floats


def population_stability_index(reference: Counts, live: Counts) -> Floats:
    """Sum over bins of ``(q - p) ln(q / p)``; half a row is added to each bin, so that empty ones stay finite.

    Below 0.1 is usually called stable, above 0.2 or 0.25 a shift. Source: Siddiqi, Credit Risk Scorecards,
    Wiley 2006; the symmetrised Kullback-Leibler divergence of Jeffreys, 1946.
    """
    # Bins that neither side uses say nothing.
    used = (reference + live) > 0
    p = np.where(used, reference + 0.5, 0.0)
    q = np.where(used, live + 0.5, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        p, q = p / p.sum(axis=-1, keepdims=True), q / q.sum(axis=-1, keepdims=True)
        index = np.where(used, (q - p) * np.log(q / p), 0.0).sum(axis=-1)
    some = (reference.sum(axis=-1) > 0) & (live.sum(axis=-1) > 0)
    return np.asarray(np.where(some, index, np.nan), dtype=np.float64)


PSI = DriftTest("psi", "effect", population_stability_index)
