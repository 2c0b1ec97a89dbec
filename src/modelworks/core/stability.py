"""How far apart two distributions are that were counted in the same bins."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def stability(reference: npt.NDArray[Any], live: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """The population stability index: the sum over the bins of ``(q - p) ln(q / p)``; shape (...).

    Half a row is added to every bin that either side uses, so that an empty one stays finite. Below 0.1 is
    usually called stable, above 0.2 a shift. Few rows alone make it large: see `by_chance`. Source: Siddiqi,
    Credit Risk Scorecards, Wiley 2006.

    Args:
        reference: Rows in each bin, shape (..., bins).
        live: The same shape.
    """
    used = reference + live > 0
    p, q = np.where(used, reference + 0.5, 0.0), np.where(used, live + 0.5, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        p, q = p / p.sum(axis=-1, keepdims=True), q / q.sum(axis=-1, keepdims=True)
        index = np.where(used, (q - p) * np.log(q / p), 0.0).sum(axis=-1)
    there = (reference.sum(axis=-1) > 0) & (live.sum(axis=-1) > 0)
    return np.asarray(np.where(there, index, np.nan), dtype=np.float64)


def by_chance(reference: npt.NDArray[Any], live: npt.NDArray[Any]) -> tuple[float, float]:
    """What the index is without any shift: its mean and its standard deviation, for one pair of counts.

    It is about ``1/n + 1/m`` times a chi-squared variable with one degree of freedom less than there are bins.
    Source: Yurdakul, Statistical Properties of Population Stability Index, 2018.
    """
    freedom = max(int((reference + live > 0).sum()) - 1, 1)
    unit = 1 / max(int(reference.sum()), 1) + 1 / max(int(live.sum()), 1)
    return float(freedom * unit), float(np.sqrt(2 * freedom) * unit)
