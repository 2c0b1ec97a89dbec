"""The port of drift tests: how rows were distributed and how they are now, many columns at once."""

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
    """One test. Pure: counts in, numbers out, the same for the same.

    Attributes:
        name: Its name in the catalog.
        gives: ``"effect"``: how large the shift is, 0 for none; ``"p"``: the chance of a difference as large
            as this one where there is no shift.
        compute: ``(reference (..., bins), live (..., bins)) -> (...)``; NaN where either has no rows. Bins
            that neither side uses change nothing. A test for ordered values takes the bins in ascending order:
            categories stand from the commonest to the rarest, "missing" is the last bin of all.
        usual: The effect from which a shift is commonly said to matter.
        slight: The effect below which nobody needs to know of a shift, however sure it is: that of a move by about
            a twentieth of a standard deviation.
        noise: Mean effect without any shift, over ``(used bins - 1) (1 / n + 1 / m)``; it is taken off.
    """

    name: str
    gives: Literal["effect", "p"]
    compute: Callable[[Counts, Counts], Floats]
    usual: float = 0.0
    slight: float = 0.0
    noise: float = 0.0


def benjamini_hochberg(p: Floats) -> Floats:
    """Adjusted p-values of a family of tests: of those at most q, a share of q is expected to be false.

    Args:
        p: Any shape; NaN is no test and stays NaN.

    Source: Benjamini and Hochberg, Journal of the Royal Statistical Society B 57 (1995); in the adjusted form
    of ``scipy.stats.false_discovery_control``. It holds for independent and for positively dependent tests.
    """
    flat = p.ravel()
    tested = np.flatnonzero(~np.isnan(flat))
    order = tested[np.argsort(flat[tested], kind="stable")]
    scaled = flat[order] * len(order) / np.arange(1, len(order) + 1)
    adjusted = np.full(flat.shape, np.nan)
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return adjusted.reshape(p.shape)


def pooled(reference: Counts, live: Counts, least: float) -> tuple[Counts, Counts]:
    """The same rows in bins that are expected to hold enough of them for tests that rest on large numbers.

    Bins of which the smaller side would get less than `least` rows, were there no shift, are taken together;
    if they are still too few together, they go to the smallest of the others.

    Args:
        reference: Shape (..., bins).
        live: The same shape.
        least: Rows.

    Returns:
        Both of shape (..., bins + 1).
    """
    both = reference + live
    total = both.sum(axis=-1, keepdims=True)
    smaller = np.minimum(reference.sum(axis=-1, keepdims=True), live.sum(axis=-1, keepdims=True))
    share = smaller / np.maximum(total, 1)
    few = both * share < least
    together = np.where(few, both, 0).sum(axis=-1)
    target = np.where(few, np.iinfo(np.int64).max, both).argmin(axis=-1)
    target = np.where((together * share[..., 0] >= least) | few.all(axis=-1), reference.shape[-1], target)

    def pool(counts: Counts) -> Counts:
        kept = np.concatenate(
            [np.where(few, 0, counts), np.zeros((*counts.shape[:-1], 1), np.int64)], axis=-1
        )
        rest = np.where(few, counts, 0).sum(axis=-1)[..., None]
        place = target[..., None]
        np.put_along_axis(kept, place, np.take_along_axis(kept, place, axis=-1) + rest, axis=-1)
        return kept

    return pool(reference), pool(live)
