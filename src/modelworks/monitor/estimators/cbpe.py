"""Confidence-based performance estimation of binary models."""

from __future__ import annotations

import numpy as np

from modelworks.core.measure import OUTPUT_BINS, Ints
from modelworks.monitor.estimators.port import Doubles, Estimator, Expected, added
from modelworks.monitor.performance import log_losses

_AT = (np.arange(OUTPUT_BINS) + 0.5) / OUTPUT_BINS
_LOGIT = np.log(_AT / (1 - _AT))
_STEPS = 12
_TRUST = 1.0
"""Precision of the assumption that a model's probabilities are right: a few held-out rows do not outweigh it."""


def calibrated(rows: Doubles, events: Doubles) -> tuple[Doubles, Doubles]:
    """The chance of the event in every output bin, and how sure that is.

    A straight line of the logit through what was held out, drawn towards the model's own probabilities where that is
    little. Source: Cox, "Two further applications of a model for binary regression", Biometrika 45 (1958); as a
    posterior with normal priors of mean 0 and 1, by Newton's method.

    Args:
        rows: Held-out rows by output bin, shape (versions, bins).
        events: Those of them in which the event came.

    Returns:
        The chances, shape (versions, bins), and the covariance of intercept and slope, shape (versions, 2, 2).
    """
    line = np.tile([0.0, 1.0], (len(rows), 1))
    x = np.stack([np.ones(OUTPUT_BINS), _LOGIT])
    precision = np.zeros((len(rows), 2, 2))
    for _ in range(_STEPS):
        chance = 1 / (1 + np.exp(-np.clip(line @ x, -30, 30)))
        weight = rows * chance * (1 - chance)
        precision = np.einsum("vb,ib,jb->vij", weight, x, x) + _TRUST * np.eye(2)
        slope = (events - rows * chance) @ x.T - _TRUST * (line - [0.0, 1.0])
        line = line + np.linalg.solve(precision, slope[..., None])[..., 0]
    chance = 1 / (1 + np.exp(-np.clip(line @ x, -30, 30)))
    return np.asarray(chance, dtype=np.float64), np.asarray(np.linalg.inv(precision), dtype=np.float64)


def expected(held: Doubles, live: Ints, group: Ints, groups: int) -> Expected:
    """See `Estimator.compute`: of rows whose truth is not known the chance of the event stands for it.

    With the chance of every row the expected counts of events and others in every bin are known, and from them the
    area under the curve and the log loss; their errors by the delta method. It sees what a change of the inputs does
    to the answers. It does not see that the same answer means something else than before, which is concept drift.

    Source: CBPE, as NannyML has it: "Estimating Model Performance without Ground Truth" (2023); there with the chance
    of each row, here with that of its bin, a twentieth wide.
    """
    chance, sure = calibrated(held[:, 0], held[:, 1])
    events = live * chance
    by_luck = live * chance * (1 - chance)
    e, u = added(events, group, groups), added(live.astype(np.float64), group, groups)
    luck = added(by_luck, group, groups)
    others = u - e
    total = u.sum(axis=1, keepdims=True)
    total = np.where(total > 0, total, np.nan)  # of no rows nothing is said
    p, n = e.sum(axis=1, keepdims=True), others.sum(axis=1, keepdims=True)
    pairs = np.where((p > 0) & (n > 0), p * n, np.nan)
    below = np.cumsum(others, axis=1) - others / 2
    above = np.cumsum(e[:, ::-1], axis=1)[:, ::-1] - e / 2
    auc = (e * below).sum(axis=1, keepdims=True) / pairs
    auc_slope = (below - above - auc * (n - p)) / pairs
    yes, no = log_losses(_AT), log_losses(1 - _AT)
    loss = (e * yes + others * no).sum(axis=1) / total[:, 0]
    loss_slope = (yes - no) / total

    def learning(slope: Doubles) -> Doubles:
        """What the calibration leaves open, version by version."""
        of_line = np.einsum("vb,ib->vi", slope[group] * by_luck, np.stack([np.ones(OUTPUT_BINS), _LOGIT]))
        return np.sqrt(added(np.einsum("vi,vij,vj->v", of_line, sure, of_line), group, groups))

    return Expected(
        loss=loss,
        loss_by_luck=np.sqrt((np.square(loss_slope) * luck).sum(axis=1)),
        loss_by_learning=learning(loss_slope),
        auc=auc[:, 0],
        auc_by_luck=np.sqrt((np.square(auc_slope) * luck).sum(axis=1)),
        auc_by_learning=learning(auc_slope),
    )


CBPE = Estimator("cbpe", expected)
