"""The port of drift tests: reference counts against live counts, any number of them at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class DriftTest:
    """One test. Pure.

    Attributes:
        name: Its name in the catalog.
        gives: ``"effect"``: how large a shift is, 0 for none; ``"p"``: how likely such a difference would be
            without any shift.
        compute: ``(reference (..., bins), live (..., bins)) -> (...)``; NaN where either has no rows.
    """

    name: str
    gives: Literal["effect", "p"]
    compute: Callable[[Counts, Counts], Floats]


def benjamini_hochberg(p: Floats) -> Floats:
    """Adjusted p-values: rejecting those up to q keeps the expected share of false alarms at most q.

    NaN stays NaN and does not count as a test. Source: Benjamini and Hochberg, Journal of the Royal
    Statistical Society B 57 (1995); adjusted form as in ``scipy.stats.false_discovery_control``.
    """
    flat = p.ravel()
    tested = np.flatnonzero(~np.isnan(flat))
    order = tested[np.argsort(flat[tested])]
    scaled = flat[order] * len(order) / np.arange(1, len(order) + 1)
    adjusted = np.full(flat.shape, np.nan)
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return adjusted.reshape(p.shape)
