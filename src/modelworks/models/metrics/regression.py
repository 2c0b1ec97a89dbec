"""Metrics of values."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from modelworks.models.metrics.port import Influences, Metric, Scores, Truth
from modelworks.models.signature import Label


def _squares(y: Truth, scores: Scores) -> Influences:
    squares: Influences = np.square(y - scores[:, 0].astype(np.float64))
    return squares


def _mae(y: Truth, scores: Scores, _classes: Sequence[Label]) -> float:
    return float(np.abs(y - scores[:, 0]).mean())


def _mae_influence(y: Truth, scores: Scores, _classes: Sequence[Label]) -> Influences:
    errors: Influences = np.abs(y - scores[:, 0].astype(np.float64))
    influence: Influences = errors - errors.mean()
    return influence


def _rmse(y: Truth, scores: Scores, _classes: Sequence[Label]) -> float:
    return float(np.sqrt(_squares(y, scores).mean()))


def _rmse_influence(y: Truth, scores: Scores, _classes: Sequence[Label]) -> Influences:
    squares = _squares(y, scores)
    root = float(np.sqrt(squares.mean()))
    influence: Influences = (squares - squares.mean()) / (2 * root) if root else np.zeros(len(squares))
    return influence


def _r2(y: Truth, scores: Scores, _classes: Sequence[Label]) -> float:
    spread = float(np.square(y - np.mean(y)).sum())
    return float("nan") if spread == 0 else 1.0 - float(_squares(y, scores).sum()) / spread


def _r2_influence(y: Truth, scores: Scores, _classes: Sequence[Label]) -> Influences:
    squares, apart = _squares(y, scores), np.square(y - np.mean(y))
    spread = float(apart.mean())
    if spread == 0:
        return np.full(len(squares), np.nan)
    influence: Influences = (float(squares.mean()) / spread * apart - squares) / spread
    return influence


MAE = Metric("mae", False, _mae, _mae_influence, (0.0, math.inf))
RMSE = Metric("rmse", False, _rmse, _rmse_influence, (0.0, math.inf))
R2 = Metric("r2", True, _r2, _r2_influence, (-math.inf, 1.0))
