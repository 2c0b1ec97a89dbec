"""Metrics of probabilities, vectorised: hundreds of small evaluations must not cost more than the fits."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from modelworks.models.metrics.port import Influences, Metric, Scores, Truth
from modelworks.models.signature import Label

Flags = npt.NDArray[np.bool_]
_TINY = float(np.finfo(np.float32).eps)
Rows = Callable[[Truth, Scores, Sequence[Label]], Influences]


def _hits(y: Truth, classes: Sequence[Label]) -> Flags:
    """One row a row, one column a class: whether it is the truth."""
    hits: Flags = np.asarray(y)[:, None] == np.asarray(classes)[None, :]
    return hits


def _log_losses(y: Truth, scores: Scores, classes: Sequence[Label]) -> Influences:
    given = np.where(_hits(y, classes), scores, 0.0).sum(axis=1, dtype=np.float64)
    losses: Influences = -np.log(np.clip(given, _TINY, 1.0))
    return losses


def _squares(y: Truth, scores: Scores, classes: Sequence[Label]) -> Influences:
    squares = np.square(scores.astype(np.float64) - _hits(y, classes))
    return squares[:, 1] if len(classes) == 2 else squares.sum(axis=1)


def _right(y: Truth, scores: Scores, classes: Sequence[Label]) -> Influences:
    right: Influences = _hits(y, classes)[np.arange(len(y)), scores.argmax(axis=1)].astype(np.float64)
    return right


def area_under_roc(happened: Flags, score: npt.NDArray[Any]) -> float:
    """The chance that a row with the event scores above one without; ties count half.

    Args:
        happened: Shape (n,).
        score: Shape (n,).

    Source: the Mann-Whitney form, Hanley and McNeil, Radiology 143 (1982).
    """
    positives = int(happened.sum())
    negatives = len(happened) - positives
    if not positives or not negatives:
        return float("nan")
    rank = _midranks(score)
    return float((rank[happened].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def _midranks(score: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Ranks from 1; ties share the mean of theirs."""
    _, group, size = np.unique(score, return_inverse=True, return_counts=True)
    ranks: npt.NDArray[np.float64] = (np.cumsum(size) - (size - 1) / 2)[group]
    return ranks


def _columns(classes: Sequence[Label]) -> list[int]:
    return [1] if len(classes) == 2 else list(range(len(classes)))


def _roc_auc(y: Truth, scores: Scores, classes: Sequence[Label]) -> float:
    """Binary; over several classes the mean of each against the rest."""
    hits = _hits(y, classes)
    return float(np.mean([area_under_roc(hits[:, c], scores[:, c]) for c in _columns(classes)]))


def _roc_auc_influence(y: Truth, scores: Scores, classes: Sequence[Label]) -> Influences:
    hits = _hits(y, classes)
    parts = [_placements(hits[:, column], scores[:, column]) for column in _columns(classes)]
    mean: Influences = np.mean(parts, axis=0)
    return mean


def _placements(happened: Flags, score: npt.NDArray[Any]) -> Influences:
    """How far each row lies from the mean of its class among the rows of the other one.

    Source: DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988); by ranks as Sun and Xu, IEEE Signal
    Processing Letters 21 (2014).
    """
    rows, positives = len(happened), int(happened.sum())
    negatives = rows - positives
    if not positives or not negatives:
        return np.full(rows, np.nan)
    rank, influence = _midranks(score), np.empty(rows)
    above = (rank[happened] - _midranks(score[happened])) / negatives
    below = 1 - (rank[~happened] - _midranks(score[~happened])) / positives
    influence[happened] = (above - above.mean()) * rows / positives
    influence[~happened] = (below - below.mean()) * rows / negatives
    return influence


def _average_precision(y: Truth, scores: Scores, classes: Sequence[Label]) -> float:
    """Sum of precision times the step of recall; Source: scikit-learn user guide, 3.4.4.4."""
    if len(classes) != 2:
        return float("nan")
    happened = _hits(y, classes)[:, 1]
    if not happened.any():
        return float("nan")
    precision, _, _ = _precisions(happened, scores[:, 1])
    return float(precision[happened].mean())


def _precisions(
    happened: Flags, score: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Precision at the score of each row, the number of rows at or above it, and the place of its score."""
    _, place, size = np.unique(score, return_inverse=True, return_counts=True)
    hits = np.bincount(place, weights=happened, minlength=len(size))
    at_or_above = np.cumsum(size[::-1])[::-1]
    precision = np.cumsum(hits[::-1])[::-1] / at_or_above
    return precision[place], at_or_above[place], place


def _average_precision_influence(y: Truth, scores: Scores, classes: Sequence[Label]) -> Influences:
    """The derivative by the weight of each row: its own precision, and what it does to those below it."""
    happened = _hits(y, classes)[:, 1] if len(classes) == 2 else np.zeros(len(y), bool)
    if not happened.any():
        return np.full(len(y), np.nan)
    precision, above, place = _precisions(happened, scores[:, 1])
    own = happened * (precision - precision[happened].mean())
    once, times = happened / above, happened * precision / above
    summed = [np.cumsum(np.bincount(place, weights=weights))[place] for weights in (once, times)]
    influence: Influences = (own + happened * summed[0] - summed[1]) * len(y) / happened.sum()
    return influence


def _mean(rows: Rows) -> Callable[[Truth, Scores, Sequence[Label]], float]:
    return lambda y, scores, classes: float(rows(y, scores, classes).mean())


def _centred(rows: Rows) -> Rows:
    def influence(y: Truth, scores: Scores, classes: Sequence[Label]) -> Influences:
        each = rows(y, scores, classes)
        centred: Influences = each - each.mean()
        return centred

    return influence


ACCURACY = Metric("accuracy", True, _mean(_right), _centred(_right), (0.0, 1.0))
AVERAGE_PRECISION = Metric(
    "average_precision", True, _average_precision, _average_precision_influence, (0.0, 1.0)
)
BRIER = Metric("brier", False, _mean(_squares), _centred(_squares), (0.0, 2.0))
LOG_LOSS = Metric("log_loss", False, _mean(_log_losses), _centred(_log_losses), (0.0, math.inf))
ROC_AUC = Metric("roc_auc", True, _roc_auc, _roc_auc_influence, (0.0, 1.0))
