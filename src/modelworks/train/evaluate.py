"""Judging on held-out rows: metrics, and candidate against champion row by row."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from modelworks.models.metrics.measured import metrics as metrics
from modelworks.models.predictor import watched
from modelworks.models.signature import Signature
from modelworks.train.candidate import Paired

Scores = npt.NDArray[np.float32]
_TINY = float(np.finfo(np.float32).eps)
"""Least probability that is taken for true, as scikit-learn clips it for float32."""


def main(signature: Signature, scores: Scores) -> Scores:
    """The one number of each row that is watched, shape (rows,).

    The probability of the second class, the value of a regression, how sure a model of more classes is, or what
    `watched` says of plain data.
    """
    match signature.task:
        case "binary":
            return scores[:, 1]
        case "regression":
            return scores[:, 0]
        case "other":
            return np.array([watched(answer) for answer in scores[:, 0]], dtype=np.float32)
    sure: Scores = scores.max(axis=1)
    return sure


def losses(y: npt.NDArray[Any], scores: Scores, signature: Signature) -> npt.NDArray[np.float64]:
    """Loss of each row: negative log-likelihood in nats, or squared error; shape (rows,).

    A label that the model has never seen has probability 0 for it, clipped to the float32 epsilon.
    """
    if signature.task == "regression":
        return np.square(np.asarray(y, np.float64) - scores[:, 0])
    position = {label: number for number, label in enumerate(signature.classes)}
    column = np.array([position.get(label, -1) for label in y.tolist()])
    given = scores[np.arange(len(y)), column].astype(np.float64)
    given[column < 0] = 0.0
    clipped: npt.NDArray[np.float64] = -np.log(np.clip(given, _TINY, 1.0))
    return clipped


def truth(
    y: npt.NDArray[Any], scores: Scores, signature: Signature
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None:
    """Whether the event of each row came, or its answer was right with several classes; and its loss.

    Both of shape (rows,); no value has an event. ``None`` for plain data.
    """
    if signature.task == "other":
        return None
    lost = losses(y, scores, signature)
    if signature.task == "regression":
        return np.zeros(len(y)), lost
    classes = np.array(signature.classes)
    answered = classes[1] if signature.task == "binary" else classes[scores.argmax(axis=1)]
    return (y == answered).astype(np.float64), lost


def paired(
    y: npt.NDArray[Any], candidate: tuple[Signature, Scores], champion: tuple[Signature, Scores]
) -> Paired | None:
    """Candidate - champion, row by row; ``None`` where the two predict different kinds of things.

    Source: the paired comparison of Dietterich, "Approximate Statistical Tests for Comparing Supervised
    Classification Learning Algorithms" (1998), with the loss in place of the error.
    """
    if "other" in (candidate[0].task, champion[0].task):
        return None
    regression = candidate[0].task == "regression"
    if regression != (champion[0].task == "regression") or not len(y):
        return None
    difference = losses(y, candidate[1], candidate[0]) - losses(y, champion[1], champion[0])
    rows = len(difference)
    error = float(difference.std(ddof=1) / math.sqrt(rows)) if rows > 1 else None
    return Paired("squared_error" if regression else "log_loss", float(difference.mean()), error, rows)
