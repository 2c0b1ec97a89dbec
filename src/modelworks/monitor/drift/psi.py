"""The population stability index."""

from __future__ import annotations

import numpy as np

from modelworks.monitor.drift.port import Counts, DriftTest, Floats


def stability(reference: Counts, live: Counts) -> Floats:
    """Sum over the bins of ``(q - p) ln(q / p)``; shape (...).

    Half a row is added to every bin that either side uses, so that an empty one stays finite. Below 0.1 is
    usually called stable, above 0.2 a shift. Few rows alone make it large: without any shift its mean is
    about ``(bins - 1) (1/n + 1/m)``. Source: Siddiqi, Credit Risk Scorecards, Wiley 2006; for its mean
    Yurdakul, Statistical Properties of Population Stability Index, 2018.

    Args:
        reference: Shape (..., bins).
        live: The same shape.
    """
    used = reference + live > 0
    p, q = np.where(used, reference + 0.5, 0.0), np.where(used, live + 0.5, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        p, q = p / p.sum(axis=-1, keepdims=True), q / q.sum(axis=-1, keepdims=True)
        index = np.where(used, (q - p) * np.log(q / p), 0.0).sum(axis=-1)
    there = (reference.sum(axis=-1) > 0) & (live.sum(axis=-1) > 0)
    return np.asarray(np.where(there, index, np.nan), dtype=np.float64)


PSI = DriftTest("psi", "effect", stability)
