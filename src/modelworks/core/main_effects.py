"""How much the bins of each feature raise or lower a model's answers, the other features being as they are."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from modelworks.core.measure import FEATURE_BINS, Doubles, Ints

_RIDGE = 2.0
"""Rows without any effect that are added to every bin, so that one with few rows is not believed at once."""
_LEAST_ROWS, _MANY_ROWS = 2, 4
"""Rows for each effect to be found: below which nothing can be said, and below which bins are taken two by two."""


def main_effects(
    bins: npt.NDArray[np.uint8], outputs: npt.NDArray[np.floating], numbers: int
) -> Doubles | None:
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
        numbers: How many features, the first ones, are numbers, so that neighbouring bins are alike.

    Returns:
        The effects in the unit of the outputs, and the variance of each, shape (2, features, `FEATURE_BINS`); ``None``
        where there are too few rows for so many bins.
    """
    features, rows = bins.shape
    place = np.tile(np.arange(FEATURE_BINS), (features, 1))
    used = np.zeros((features, FEATURE_BINS), np.bool_)
    for rows_each in (_MANY_ROWS, _LEAST_ROWS):
        places = np.take_along_axis(place, bins.astype(np.int64), axis=1)
        used[:] = False
        np.put_along_axis(used, places, values=True, axis=1)
        if (used.sum() - features) * rows_each <= rows:
            break
        place[:numbers] //= 2  # "missing" stays alone
    else:
        return None
    found = _fitted(places, outputs.astype(np.float64), used) if rows > 1 else None
    return None if found is None else np.take_along_axis(found, place[None], axis=2)


def _fitted(places: Ints, outputs: Doubles, used: npt.NDArray[np.bool_]) -> Doubles:
    """Effects and their variances, shape (2, features, bins), of places that are `used`."""
    features, rows = places.shape
    feature, of = np.nonzero(used)
    wide = (places[feature] == of[:, None]).astype(np.float32)  # sums of it are exact
    rest = outputs - outputs.mean()
    inverse = np.linalg.inv((wide @ wide.T).astype(np.float64) + _RIDGE * np.eye(len(wide)))
    effects = inverse @ (wide @ rest)
    free = rows - 1 - (len(wide) - _RIDGE * np.trace(inverse))
    error = rest - effects @ wide
    even = (feature[:, None] == np.arange(features)) / used.sum(axis=1)
    alike = inverse @ even
    spread = (
        np.diagonal(inverse) - 2 * alike[np.arange(len(of)), feature] + (even * alike).sum(axis=0)[feature]
    )
    found = np.stack([np.zeros(used.shape), np.full(used.shape, rest.var())])
    found[0, used], found[1, used] = effects, spread * (error @ error) / max(free, 1.0)
    return found
