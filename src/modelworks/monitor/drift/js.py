"""The Jensen-Shannon divergence."""

from __future__ import annotations

import numpy as np

from modelworks.monitor.drift.port import Counts, DriftTest, Floats


def jensen_shannon(reference: Counts, live: Counts) -> Floats:
    """Divergence of the two distributions in bits, 0 for the same to 1 for nothing in common; shape (...).

    Unlike the population stability index it is bounded, and an empty bin needs no special care. Source: Lin,
    "Divergence measures based on the Shannon entropy", IEEE Transactions on Information Theory 37 (1991); the
    square of ``scipy.spatial.distance.jensenshannon`` with base 2.

    Args:
        reference: Shape (..., bins).
        live: The same shape.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        p = reference / reference.sum(axis=-1, keepdims=True)
        q = live / live.sum(axis=-1, keepdims=True)
        middle = (p + q) / 2
        bits = np.where(p > 0, p * np.log2(p / middle), 0.0) + np.where(q > 0, q * np.log2(q / middle), 0.0)
    there = (reference.sum(axis=-1) > 0) & (live.sum(axis=-1) > 0)
    return np.asarray(np.where(there, np.maximum(bits.sum(axis=-1) / 2, 0.0), np.nan), dtype=np.float64)


# Near zero it is the index over 8 ln 2.
JS = DriftTest("js", "effect", jensen_shannon, usual=0.03, slight=0.0007, noise=1 / (8 * np.log(2)))
