"""How much the bins of each feature raise or lower a model's answers, the other features being as they are."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from modelworks.core.measure import FEATURE_BINS, Doubles

_RIDGE = 2.0
"""Rows without any effect that are added to every bin, so that one with few rows is not believed at once."""
_LEAST_ROWS = 2
"""Rows for each effect to be found, below which nothing can be said."""


def main_effects(bins: npt.NDArray[np.uint8], outputs: npt.NDArray[np.floating]) -> Doubles | None:
    """Fit an additive model of the outputs: a constant, and for each feature an effect of the bin a row is in.

    All features are fitted together, so that one which merely goes along with another gets little. It is association
    within these rows, not cause: of features that always go together nobody can tell which one it is, and they share
    it.

    Source: ridge regression on indicators of the bins (Hoerl and Kennard, Technometrics 12 (1970)); the variances are
    those of its Bayesian form (Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, 2009, section
    3.4.1), what a feature gives to all of its bins alike being taken out.

    Args:
        bins: The bin of every value, shape (features, rows); see `core.measure.Reference.bins`.
        outputs: Main outputs of the rows, finite, shape (rows,).

    Returns:
        The effects in the unit of the outputs, and the variance of each, shape (2, features, `FEATURE_BINS`); ``None``
        where there are too few rows for so many bins.
    """
    features, rows = bins.shape
    within = bins[:, None, :] == np.arange(FEATURE_BINS, dtype=np.uint8)[:, None]
    used = within.any(axis=2)
    if rows < 2 or (used.sum() - features) * _LEAST_ROWS > rows:
        return None
    wide = within.reshape(features * FEATURE_BINS, rows).astype(np.float32)
    rest = outputs.astype(np.float64) - outputs.mean(dtype=np.float64)
    inverse = np.linalg.inv((wide @ wide.T).astype(np.float64) + _RIDGE * np.eye(len(wide)))
    effects = inverse @ (wide @ rest)
    free = rows - 1 - (len(wide) - _RIDGE * np.trace(inverse))
    error = rest - effects @ wide
    own = inverse.reshape(features, FEATURE_BINS, features, FEATURE_BINS)
    own = own[np.arange(features), :, np.arange(features)]
    even = used / used.sum(axis=1, keepdims=True)
    alike = np.einsum("fbc,fc->fb", own, even)
    spread = np.diagonal(own, axis1=1, axis2=2) - 2 * alike + np.einsum("fb,fb->f", alike, even)[:, None]
    variance = np.where(used, spread * (error @ error) / max(free, 1.0), rest.var())
    return np.stack([effects.reshape(features, FEATURE_BINS), variance])
