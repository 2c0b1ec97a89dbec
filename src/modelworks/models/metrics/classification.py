"""Metrics of probabilities, vectorised: hundreds of small evaluations must not cost more than the fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from modelworks.models.metrics.port import Metric, Scores, Truth
from modelworks.models.signature import Label

Flags = npt.NDArray[np.bool_]
_TINY = float(np.finfo(np.float32).eps)


def _hits(y: Truth, classes: Sequence[Label]) -> Flags:
    """One row a row, one column a class: whether it is the truth."""
    hits: Flags = np.asarray(y)[:, None] == np.asarray(classes)[None, :]
    return hits


def _log_loss(y: Truth, scores: Scores, classes: Sequence[Label]) -> float:
    given = np.where(_hits(y, classes), scores, 0.0).sum(axis=1, dtype=np.float64)
    return float(-np.log(np.clip(given, _TINY, 1.0)).mean())


def _brier(y: Truth, scores: Scores, classes: Sequence[Label]) -> float:
    squares = np.square(scores.astype(np.float64) - _hits(y, classes))
    return float(squares[:, 1].mean() if len(classes) == 2 else squares.sum(axis=1).mean())


def _accuracy(y: Truth, scores: Scores, classes: Sequence[Label]) -> float:
    return float(_hits(y, classes)[np.arange(len(y)), scores.argmax(axis=1)].mean())


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
    _, group, size = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(size) - (size - 1) / 2)[group]
    return float((rank[happened].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def _roc_auc(y: Truth, scores: Scores, classes: Sequence[Label]) -> float:
    """Binary; over several classes the mean of each against the rest."""
    hits = _hits(y, classes)
    columns = [1] if len(classes) == 2 else list(range(len(classes)))
    return float(np.mean([area_under_roc(hits[:, c], scores[:, c]) for c in columns]))


def _average_precision(y: Truth, scores: Scores, classes: Sequence[Label]) -> float:
    """Sum of precision times the step of recall; Source: scikit-learn user guide, 3.4.4.4."""
    if len(classes) != 2:
        return float("nan")
    happened, score = _hits(y, classes)[:, 1], scores[:, 1]
    if not happened.any():
        return float("nan")
    order = np.argsort(-score, kind="stable")
    hits, ranked = np.cumsum(happened[order]), score[order]
    ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    precision, recall = hits[ends] / (ends + 1), hits[ends] / hits[-1]
    return float((precision * np.diff(recall, prepend=0.0)).sum())


ACCURACY = Metric("accuracy", True, _accuracy)
AVERAGE_PRECISION = Metric("average_precision", True, _average_precision)
BRIER = Metric("brier", False, _brier)
LOG_LOSS = Metric("log_loss", False, _log_loss)
ROC_AUC = Metric("roc_auc", True, _roc_auc)
