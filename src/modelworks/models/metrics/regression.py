"""Metrics of values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from modelworks.models.metrics.port import Metric, Scores, Truth
from modelworks.models.signature import Label


def _mae(y: Truth, scores: Scores, _classes: Sequence[Label]) -> float:
    return float(np.abs(y - scores[:, 0]).mean())


def _rmse(y: Truth, scores: Scores, _classes: Sequence[Label]) -> float:
    return float(np.sqrt(np.square(y - scores[:, 0].astype(np.float64)).mean()))


def _r2(y: Truth, scores: Scores, _classes: Sequence[Label]) -> float:
    spread = float(np.square(y - np.mean(y)).sum())
    return (
        float("nan")
        if spread == 0
        else 1.0 - float(np.square(y - scores[:, 0].astype(np.float64)).sum()) / spread
    )


MAE = Metric("mae", False, _mae)
RMSE = Metric("rmse", False, _rmse)
R2 = Metric("r2", True, _r2)
