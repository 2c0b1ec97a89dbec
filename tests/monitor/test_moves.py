"""Small moves to one side: as sure as a t test of the rows, and no surer than days allow."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from modelworks.core.measure import Counts
from modelworks.monitor.moves import moderated, moves, scores
from modelworks.monitor.sketch import Sketches

COLUMNS, DAYS, ROWS, BINS = 2_000, 14, 80, 11
CUTS = stats.norm.ppf(np.arange(1, 10) / 10)


def binned(values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Counts of each row of values in ten bins and none missing, shape (..., 11)."""
    place = np.searchsorted(CUTS, values, side="right")
    return np.stack([(place == one).sum(axis=-1) for one in range(BINS)], axis=-1)


def chances(before: npt.NDArray[np.int64], days: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """What `moves` says of columns, each the only one of a model; `days` is (days, columns, bins)."""
    columns = len(before)
    windows = Sketches(
        np.zeros((days.shape[0] * columns, 5)),
        Counts(days.reshape(-1, 1, BINS), np.zeros((days.shape[0] * columns, 3, 20), np.int64)),
    )
    reference, whole = before[:, None], days.sum(axis=0)[:, None]
    ordered = np.arange(BINS) < BINS - 1
    places = scores(reference, whole, np.broadcast_to(ordered, reference.shape))
    squares = windows.moves(
        np.tile(np.arange(columns), len(days)), columns, places, np.full((columns, 20), np.nan)
    )
    held = np.full((columns, 1), len(days))
    return moves(reference, whole, places, held, whole, squares[:, :1])[:, 0]


def test_it_is_as_sure_as_a_t_test_of_the_rows() -> None:
    rng = np.random.default_rng(0)
    before, after = rng.normal(size=(COLUMNS, 1_000)), rng.normal(0.15, 1, (DAYS, COLUMNS, ROWS))
    found = chances(binned(before), binned(after))
    rows = np.concatenate(list(after), axis=1)
    exact = stats.ttest_ind(rows, before, axis=1).pvalue
    assert np.median(np.log10(found)) == pytest.approx(np.median(np.log10(exact)), abs=0.15)
    assert (found < 1e-3).mean() == pytest.approx((exact < 1e-3).mean(), abs=0.05)


@pytest.mark.parametrize("unrest", [0.0, 0.2, "various"])
def test_what_is_by_chance_is_said_to_be(unrest: float | str) -> None:
    rng = np.random.default_rng(1)
    spread = rng.gamma(2, 0.1, COLUMNS) if isinstance(unrest, str) else np.full(COLUMNS, unrest)
    of_day = spread[:, None] * rng.normal(size=(COLUMNS, 400))
    before = binned(rng.normal(size=(COLUMNS, 400, 5)) + of_day[..., None])  # many days of a few rows
    days = binned(
        rng.normal(size=(DAYS, COLUMNS, ROWS)) + spread[:, None] * rng.normal(size=(DAYS, COLUMNS, 1))
    )
    found = chances(before.sum(axis=1), days)
    assert (found < 0.05).mean() < 0.07
    assert (found < 0.001).mean() < 0.004


def test_ratios_that_scatter_as_chance_has_them_are_one() -> None:
    rng = np.random.default_rng(2)
    freedom = np.full(3_000, 5)
    ratio, sure = moderated(1.7 * rng.chisquare(5, 3_000) / 5, freedom)
    assert ratio == pytest.approx(1.7, rel=0.1)
    assert sure.min() > 100
    same, own = moderated(ratio[:5], freedom[:5])
    assert np.array_equal(same, ratio[:5])
    assert np.array_equal(own, freedom[:5])


def test_ratios_that_differ_keep_what_is_theirs() -> None:
    """Drawn as Smyth's model has them, the parameters are found again."""
    rng = np.random.default_rng(3)
    freedom, prior = np.full(20_000, 9), 6.0
    true = 1.3 * prior / rng.chisquare(prior, 20_000)
    ratio, sure = moderated(true * rng.chisquare(9, 20_000) / 9, freedom)
    assert sure[0] - 9 == pytest.approx(prior, rel=0.15)
    assert stats.spearmanr(ratio, true).statistic > 0.75


def test_where_nothing_can_be_said_nothing_is() -> None:
    before = np.zeros((3, BINS), np.int64)
    before[1:, :10] = 50
    days = np.zeros((4, 3, BINS), np.int64)
    days[:, 0, :10] = 5
    days[:, 2, 4] = 30
    found = chances(before, days)
    assert np.isnan(found[0])  # no reference
    assert np.isnan(found[1])  # no rows
