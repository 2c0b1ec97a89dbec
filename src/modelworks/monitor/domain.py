"""Whether rows of now can be told from those of the training by all features together: a domain classifier. Pure.

No single feature need have shifted for that: features may go together otherwise than before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr

from modelworks.core.batch import Batch
from modelworks.core.measure import Doubles, Ints

FOLDS = 5
"""Parts of the days, each judged by a classifier that has learned from the others."""
_SHARED = 1 + FOLDS / (FOLDS - 1)
"""How many times more the AUC of folds together varies, whose classifiers have learned from the same rows.

Source: Nadeau and Bengio, "Inference for the generalization error", Machine Learning 52 (2003), section 3, over the
variance that takes them to be independent.
"""
_CATEGORIES = 30
"""Values of a text that are told apart, the commonest; all others are one more."""


@dataclass(frozen=True)
class Apart:
    """How well rows of now are told from those of before.

    Attributes:
        auc: Chance that a row of now looks more like now than a row of before does: 0.5 where nothing tells them
            apart, 1 where they never look alike.
        error: Standard error of `auc`.
        chance: The chance of so high an `auc` if nothing has changed.
    """

    auc: float
    error: float
    chance: float


@dataclass(frozen=True)
class Joint:
    """What a domain classifier found.

    Attributes:
        apart: How well it tells rows of now from those of before.
        given_away: By how much `apart.auc` falls where the values of a feature are shuffled, for each feature.
    """

    apart: Apart
    given_away: tuple[float, ...]


def told_apart(
    before: Doubles,
    now: Doubles,
    days_before: Ints,
    days_now: Ints,
    categories: Sequence[int],
    rng: np.random.Generator,
) -> Joint:
    """Let gradient boosting learn to tell rows of now from those of before, and see whether it can.

    Every row is judged by a classifier that has learned from other days than its own: what is of one day alone, as
    its weather, tells nothing about the others.

    Source: Lopez-Paz and Oquab, "Revisiting classifier two-sample tests", ICLR 2017, cross-validated by days; shuffled
    features as in Breiman, "Random forests", Machine Learning 45 (2001), section 10.

    Args:
        before: Shape (rows before, features), NaN where missing.
        now: Shape (rows now, features).
        days_before: The day of each row, at least `FOLDS` different ones, shape (rows before,).
        days_now: The same of now.
        categories: The features whose values are codes without an order, from 0 to below 255.
        rng: Deals days out to folds, and shuffles.
    """
    # Loading it takes longer than all that can be asked without.
    from sklearn.ensemble import HistGradientBoostingClassifier

    rows = np.concatenate([before, now])
    is_now = np.repeat([False, True], [len(before), len(now)])
    days = np.concatenate([days_before, days_now])
    fold = np.concatenate([_dealt(some, rng) for some in (days_before, days_now)])
    features = rows.shape[1]
    scores = np.zeros((1 + features, len(rows)))
    for part in range(FOLDS):
        held = np.flatnonzero(fold == part)
        learned = fold != part
        classifier = HistGradientBoostingClassifier(
            max_iter=50,
            max_leaf_nodes=15,
            categorical_features=list(categories) or None,
            early_stopping=False,
            random_state=0,
        ).fit(rows[learned], is_now[learned])
        scores[0, held] = classifier.decision_function(rows[held])
        for feature in range(features):
            shuffled = rows[held]
            shuffled[:, feature] = rng.permutation(shuffled[:, feature])
            scores[1 + feature, held] = classifier.decision_function(shuffled)
    whole = apart(scores[0], is_now, fold, days, _SHARED)
    without = (apart(one, is_now, fold, days).auc for one in scores[1:])
    return Joint(whole, tuple(whole.auc - auc for auc in without))


def apart(
    scores: Doubles, is_now: npt.NDArray[np.bool_], fold: Ints, days: Ints, shared: float = 1.0
) -> Apart:
    """Area under the ROC curve within folds, and how likely it is by chance.

    Its standard error is that of Mann and Whitney if nothing has changed, or, where that is larger, the one by how
    much days differ; the test is one of Student's with as few degrees of freedom as there are days on either side.

    Source: Mann and Whitney, Annals of Mathematical Statistics 18 (1947), with the correction for ties of Lehmann,
    Nonparametrics (1975), section 1.4, added up over folds; Obuchowski, "Nonparametric analysis of clustered ROC curve
    data", Biometrics 53 (1997).

    Args:
        scores: How much each row looks like now, shape (rows,).
        is_now: Whether it is of now.
        fold: Only rows of one fold are compared, shape (rows,).
        days: The day of each row.
        shared: How many times larger the variance is because scores of folds depend on each other.
    """
    by_rows = 0.0
    won, against = np.zeros(len(scores)), np.zeros(len(scores))
    for part in np.unique(fold):
        now, before = (np.flatnonzero((fold == part) & side) for side in (is_now, ~is_now))
        n, m = len(now), len(before)
        if not n or not m:
            continue
        won[now], against[now] = _below(scores[now], scores[before]), m
        won[before], against[before] = n - _below(scores[before], scores[now]), n
        ties = np.unique(scores[[*now, *before]], return_counts=True)[1].astype(np.float64)
        tied = (ties**3 - ties).sum() / ((n + m) * (n + m - 1))
        by_rows += n * m / 12 * (n + m + 1 - tied)
    wins, pairs = float(won[is_now].sum()), float(against[is_now].sum())
    auc, by_days, fewest = wins / pairs, 0.0, np.inf
    for side in (is_now, ~is_now):
        different, day = np.unique(days[side], return_inverse=True)
        among = np.bincount(day, won[side] - against[side] * auc)
        by_days += float(np.square(among).sum()) * len(different) / max(len(different) - 1, 1)
        fewest = min(fewest, len(different))
    error = float(np.sqrt(shared * max(by_rows, by_days))) / pairs
    chance = stdtr(max(fewest - 1, 1), (0.5 - auc) / error) if error else float(auc <= 0.5)
    return Apart(auc, error, float(chance))


def matrix(batches: Sequence[Batch]) -> list[Doubles]:
    """Batches of the same layout as matrices of numbers: texts by the place of the value among the commonest."""
    texts = np.concatenate([one.texts for one in batches])
    coded = np.full(texts.shape, np.nan)
    for column in range(texts.shape[1]):
        values, place, counts = np.unique(
            texts[:, column].astype(str), return_inverse=True, return_counts=True
        )
        order = np.argsort(np.where(values == "", 1, -counts), kind="stable")
        code = np.empty(len(values))
        code[order] = np.minimum(np.arange(len(values)), _CATEGORIES)
        coded[:, column] = np.where(values == "", np.nan, code)[place]
    parts = np.split(coded, np.cumsum([len(one) for one in batches])[:-1])
    return [
        np.hstack([one.numbers.astype(np.float64), part]) for one, part in zip(batches, parts, strict=True)
    ]


def _dealt(days: Ints, rng: np.random.Generator) -> Ints:
    """The fold of each row: days are dealt out at random, so that folds have as many of them."""
    different, day = np.unique(days, return_inverse=True)
    return np.asarray((rng.permutation(len(different)) % FOLDS)[day])


def _below(values: Doubles, others: Doubles) -> Doubles:
    """For each value the number of others below it, those that are equal counting half."""
    ordered = np.sort(others)
    sides = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    return np.asarray(sides / 2, dtype=np.float64)
