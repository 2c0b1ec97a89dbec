"""Direct loss estimation: what the loss was where the model answered alike."""

from __future__ import annotations

import numpy as np

from modelworks.core.measure import Ints
from modelworks.monitor.estimators.port import Doubles, Estimator, Expected, added, nothing

_TRUST = 10.0
"""Held-out rows that the mean of all bins counts for in each bin."""


def expected(held: Doubles, live: Ints, group: Ints, groups: int) -> Expected:
    """See `Estimator.compute`: the mean loss of the held-out rows of a bin stands for that of later ones.

    Of a bin that held little the mean is drawn towards that of all. It sees that a model is asked more often where it
    is less sure. It does not see what changes where the answers stay as they were.

    Source: NannyML's DLE fits a second model for the loss from all inputs; the answer alone is what a sketch holds,
    and it needs nothing that could be out of date.
    """
    rows, total, squares = held[:, 0], held[:, 2], held[:, 3]
    every = rows.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total.sum(axis=1, keepdims=True) / every
        overall = np.maximum(squares.sum(axis=1, keepdims=True) / every - mean**2, 0.0)
        by_bin = (total + _TRUST * mean) / (rows + _TRUST)
        own = np.maximum(squares / rows - np.square(total / rows), 0.0)
        spread = (np.where(rows > 1, rows * own, 0.0) + _TRUST * overall) / (rows + _TRUST)
        weight = live / added(live.sum(axis=1)[:, None].astype(np.float64), group, groups)[group]
        loss = added((weight * by_bin).sum(axis=1), group, groups)
        # A bin's mean is off by the luck of its held-out rows, the same for all rows that fall into it.
        learning = added((np.square(weight) * spread / (rows + _TRUST)).sum(axis=1), group, groups)
        each = added(live.sum(axis=1).astype(np.float64), group, groups)
        luck = added((weight * spread).sum(axis=1), group, groups) / each
    none = nothing(groups)
    there = each > 0
    return Expected(
        loss=np.where(there, loss, np.nan),
        loss_by_luck=np.where(there, np.sqrt(luck), np.nan),
        loss_by_learning=np.where(there, np.sqrt(learning), np.nan),
        auc=none.auc,
        auc_by_luck=none.auc,
        auc_by_learning=none.auc,
    )


DLE = Estimator("dle", expected)
