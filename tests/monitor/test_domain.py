"""The domain classifier: its statistics are SciPy's, its level holds, and it finds what no single feature shows."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from modelworks.core.batch import Batch
from modelworks.monitor.domain import _SHARED, FOLDS, apart, matrix, told_apart


def test_within_one_fold_it_is_the_test_of_mann_and_whitney() -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 12, 70).astype(float)  # many ties
    is_now = np.repeat([False, True], [40, 30])
    scores[is_now] += 20
    found = apart(scores, is_now, np.zeros(70, int), np.arange(70))
    theirs = stats.mannwhitneyu(scores[is_now], scores[~is_now], use_continuity=False, method="asymptotic")
    assert found.auc == theirs.statistic / (40 * 30) == 1.0
    # Where now and before never mix, days do not differ in it: the error is that without a change.
    z = stats.norm.isf(theirs.pvalue / 2)
    assert found.error == pytest.approx(0.5 / z)
    assert found.chance == pytest.approx(stats.t.sf(z, 29))


def test_only_rows_of_one_fold_are_compared() -> None:
    rng = np.random.default_rng(1)
    fold, is_now = rng.integers(0, 3, 200), rng.random(200) < 0.4
    scores = rng.integers(0, 30, 200) + 100.0 * fold + 3 * is_now  # scores of folds are worlds apart
    wins = pairs = 0.0
    for one in np.flatnonzero(is_now):
        for other in np.flatnonzero(~is_now & (fold == fold[one])):
            wins += (scores[one] > scores[other]) + (scores[one] == scores[other]) / 2
            pairs += 1
    assert apart(scores, is_now, fold, np.arange(200)).auc == pytest.approx(wins / pairs)


def days_of(rng: np.random.Generator, each: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores of rows that share much of their luck with their day, the same before and now."""
    is_now = np.repeat([False, True], [30 * 20, 24 * 20])
    days = np.repeat(np.arange(54), 20)
    return rng.normal(size=len(days)) + each * rng.normal(size=54)[days], is_now, days


@pytest.mark.parametrize("each", [0.0, 0.5, 1.5])
def test_by_chance_it_is_as_seldom_sure_as_it_says(each: float) -> None:
    rng = np.random.default_rng(2)
    sure = []
    for _ in range(1_500):
        scores, is_now, days = days_of(rng, each)
        sure.append(apart(scores, is_now, days % FOLDS, days).chance < 0.05)
    assert np.mean(sure) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 1_500)


def test_its_error_is_how_much_it_scatters_where_days_differ() -> None:
    rng = np.random.default_rng(3)
    found = [
        apart(scores, is_now, days % FOLDS, days)
        for scores, is_now, days in (days_of(rng, 1.0) for _ in range(600))
    ]
    assert np.mean([one.error for one in found]) == pytest.approx(
        np.std([one.auc for one in found]), rel=0.15
    )


def world(rng: np.random.Generator, days: int, together: float) -> tuple[np.ndarray, np.ndarray]:
    """Four normal columns, one a day, the first two of which go together so much."""
    day = np.repeat(np.arange(days), 25)
    rows = rng.normal(size=(len(day), 4))
    rows[:, 1] = together * rows[:, 0] + np.sqrt(1 - together**2) * rows[:, 1]
    return rows, day


def test_it_sees_that_features_go_together_otherwise() -> None:
    rng = np.random.default_rng(4)
    before, days_before = world(rng, 40, 0.0)
    now, days_now = world(rng, 20, 0.8)
    found = told_apart(before, now, days_before, days_now + 50, [], rng)
    assert found.apart.auc > 0.6
    assert found.apart.chance < 0.001
    first, second, *others = found.given_away
    assert min(first, second) > 0.05 > max(others)


def test_nothing_gives_away_what_has_not_changed() -> None:
    rng = np.random.default_rng(5)
    before, days_before = world(rng, 40, 0.8)
    now, days_now = world(rng, 20, 0.8)
    found = told_apart(before, now, days_before, days_now + 50, [], rng)
    assert found.apart.auc == pytest.approx(0.5, abs=0.05)
    assert found.apart.chance > 0.05
    assert max(found.given_away) < 0.05


def test_what_only_one_day_has_gives_nothing_away() -> None:
    """Each day has a place of its own, which a classifier that has seen the day would know it by."""
    rng = np.random.default_rng(6)
    day = np.repeat(np.arange(60), 25)
    places = rng.permutation(np.linspace(-1, 1, 60))
    rows = places[day][:, None] + rng.normal(size=(len(day), 1)) * 1e-3
    found = told_apart(rows[: 25 * 40], rows[25 * 40 :], day[: 25 * 40], day[25 * 40 :], [], rng)
    assert found.apart.chance > 0.05


def test_texts_are_told_apart_by_what_they_say() -> None:
    rng = np.random.default_rng(7)

    def batch(likely: str) -> Batch:
        texts = np.where(rng.random(800) < 0.7, likely, rng.choice(["a", "b", "c", ""], 800)).astype(object)
        return Batch(rng.normal(size=(800, 1)).astype(np.float32), texts[:, None])

    before, now = matrix([batch("a"), batch("c")])
    assert before.shape == now.shape == (800, 2)
    day = np.repeat(np.arange(32), 25)
    found = told_apart(before, now, day, day + 32, [1], rng)
    assert found.apart.auc > 0.75
    assert found.given_away[1] > 0.2 > 0.02 > abs(found.given_away[0])


def test_the_commonest_texts_have_codes_and_missing_ones_have_none() -> None:
    texts = [["b"] * 5 + ["a"] * 3 + [""] * 2, [f"rare {n}" for n in range(100)]]
    sides = [
        Batch(np.zeros((len(one), 0), np.float32), np.array(one, dtype=object)[:, None]) for one in texts
    ]
    first, second = matrix(sides)
    assert np.isnan(first[8:]).all()
    assert set(first[:5, 0]) == {0.0}
    assert set(first[5:8, 0]) == {1.0}
    assert sorted(set(second[:, 0])) == list(range(2, 31))


def test_folds_share_what_they_have_learned_from() -> None:
    scores, is_now, days = days_of(np.random.default_rng(8), 0.0)
    alone = apart(scores, is_now, days % FOLDS, days)
    shared = apart(scores, is_now, days % FOLDS, days, _SHARED)
    assert shared.error == pytest.approx(1.5 * alone.error)
    assert shared.auc == alone.auc
