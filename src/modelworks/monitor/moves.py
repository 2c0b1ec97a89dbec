"""Small moves of ordered columns to one side, of a whole fleet at once. Pure."""

from __future__ import annotations

import numpy as np
from scipy.special import digamma, fdtrc, polygamma

from modelworks.monitor.drift.port import Counts, Floats
from modelworks.monitor.drift.scores import normal_scores
from modelworks.monitor.fleet import Flags

_FEWEST = 10
"""Columns from which they say something about each other."""
_LEAST = 1e-3
"""Ratio of two variances below which it is taken for this, so that its logarithm is a number."""
_MOST = 1e6
"""Degrees of freedom that are as good as infinitely many."""


def scores(reference: Counts, whole: Counts, ordered: Flags) -> Floats:
    """Normal scores of the bins of ordered columns, their mean over the reference being 0; NaN where there are none.

    Args:
        reference: Shape (..., bins).
        whole: The same shape.
        ordered: The bins that have an order, broadcastable to the same shape.
    """
    place = np.where(
        ordered & (reference + whole > 0), normal_scores(reference * ordered, whole * ordered), np.nan
    )
    rows = (reference * np.isfinite(place)).sum(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.nansum(reference * place, axis=-1, keepdims=True) / rows
        return np.asarray(np.where(rows > 0, place - mean, np.nan), dtype=np.float64)


def moves(
    reference: Counts, live: Counts, places: Floats, days: Counts, whole: Counts, squares: Floats
) -> Floats:
    """The chance that columns have moved so far to one side if nothing has happened; shape (...).

    A test for one direction is many times surer of a small move than one that looks for any difference. As in
    `fleet.shift` the scale is how much days differ, here a one-way analysis of variance of the scores. A few days
    say little about that, but thousands of columns beside each other say how much columns differ in it: see
    `moderated`.

    Args:
        reference: Shape (..., bins).
        live: Shape (..., bins).
        places: From `scores`.
        days: How many days `whole` is of.
        whole: The rows of all days, shape (..., bins).
        squares: From `Sketches.moves`, of all days.
    """
    there = np.isfinite(places)
    at = np.where(there, places, 0.0)
    n, m, every = ((counts * there).sum(axis=-1) for counts in (reference, live, whole))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean, overall = (live * at).sum(axis=-1) / m, (whole * at).sum(axis=-1) / every
        within = (whole * np.square(at)).sum(axis=-1) / every - np.square(overall)
        between = np.maximum(squares - every * np.square(overall), 0.0) / (days - 1)
        freedom = np.broadcast_to(days - 1, within.shape)
        ratio, sure = moderated(np.where((within > 0) & (freedom > 0), between / within, np.nan), freedom)
        value = np.square(mean) / (within * np.maximum(ratio, 1.0) * (1 / n + 1 / m))
        chance = fdtrc(1, np.maximum(sure, 1.0), value)
    told = (n > 0) & (m > 0) & (sure > 0) & (within > 0)
    return np.asarray(np.where(told, chance, np.nan), dtype=np.float64)


def moderated(ratio: Floats, freedom: Counts) -> tuple[Floats, Floats]:
    """Ratios of variances that were each estimated from little, drawn towards what all of them say together.

    Where the ratios scatter no more than their own degrees of freedom explain, all are the same ratio, known as well
    as if it came from all columns; the more they scatter, the more each counts for itself.

    Source: Smyth, "Linear models and empirical Bayes methods for assessing differential expression in microarray
    experiments", Statistical Applications in Genetics and Molecular Biology 3 (2004), section 6.2.

    Args:
        ratio: Any shape; NaN where there is none.
        freedom: Degrees of freedom of each, the same shape.

    Returns:
        The ratios, and their degrees of freedom; NaN and 0 where there is none.
    """
    there = np.isfinite(ratio) & (freedom > 0)
    if there.sum() < _FEWEST:
        return ratio, np.where(there, freedom, 0).astype(np.float64)
    half = freedom[there] / 2
    logs = np.log(np.maximum(ratio[there], _LEAST)) - digamma(half) + np.log(half)
    scatter = float(logs.var(ddof=1) - polygamma(1, half).mean())
    prior = min(2 * _trigamma_inverse(scatter), _MOST) if scatter > 0 else _MOST
    common = float(np.exp(logs.mean() + digamma(prior / 2) - np.log(prior / 2)))
    together = (prior * common + freedom * np.where(there, ratio, 1.0)) / (prior + freedom)
    return np.where(there, together, np.nan), np.where(there, prior + freedom, 0.0)


def _trigamma_inverse(value: float) -> float:
    """Where the trigamma function has a value above 0, by Newton's method on its reciprocal."""
    if value > 1e7:
        return float(value**-0.5)
    if value < 1e-6:
        return 1 / value
    place = 0.5 + 1 / value
    for _ in range(50):
        slope = float(polygamma(1, place))
        step = slope * (1 - slope / value) / float(polygamma(2, place))
        place += step
        if -step / place < 1e-8:
            break
    return place
