"""An additive model of the answers: equal to ridge regression, and fair to features that merely go along."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from modelworks.core.batch import Batch
from modelworks.core.main_effects import _RIDGE, main_effects
from modelworks.core.measure import FEATURE_BINS, Reference


def binned(numbers: np.ndarray) -> tuple[Reference, np.ndarray]:
    """A reference of rows, and their bins."""
    batch = Batch(numbers.astype(np.float32), np.empty((len(numbers), 0), dtype=object))
    made = Reference.build(batch, np.linspace(0, 1, len(numbers)))
    return made, made.bins(batch)


@pytest.mark.parametrize("seed", range(3))
def test_it_is_ridge_regression_on_the_bins(seed: int) -> None:
    rng = np.random.default_rng(seed)
    bins = rng.integers(0, 7, (4, 400)).astype(np.uint8)
    bins[1, :200] = bins[0, :200]  # features that go together
    outputs = rng.normal(bins[0] * 0.3 - bins[2] * 0.1, 0.5).astype(np.float32)
    found = main_effects(bins, outputs)
    assert found is not None
    wide = (bins[:, :, None] == np.arange(FEATURE_BINS)).transpose(1, 0, 2).reshape(400, -1).astype(float)
    ridge = Ridge(alpha=_RIDGE, fit_intercept=False, solver="cholesky")
    ridge.fit(wide, outputs - outputs.mean(dtype=np.float64))
    assert found[0].ravel() == pytest.approx(ridge.coef_, abs=1e-6)


def test_effects_scatter_as_much_as_their_variances_say() -> None:
    rng = np.random.default_rng(0)
    bins = rng.integers(0, 5, (3, 1_000)).astype(np.uint8)
    bins[1, :700] = bins[0, :700]  # two that cannot well be told apart
    truth = np.array([0.4, -0.1, 0.0, 0.3, -0.6])
    made, said = [], []
    for _ in range(300):
        found = main_effects(bins, rng.normal(truth[bins[0]], 0.7))
        assert found is not None
        made.append(found[0, :, :5] - found[0, :, :5].mean(axis=1, keepdims=True))
        said.append(found[1, :, :5])
    assert np.var(made, axis=0) == pytest.approx(np.mean(said, axis=0), rel=0.25)
    assert np.mean(said, axis=0)[1].mean() > 1.5 * np.mean(said, axis=0)[2].mean()


def test_a_feature_that_merely_goes_along_gets_little() -> None:
    rng = np.random.default_rng(0)
    cause = rng.normal(size=2_000)
    numbers = np.column_stack([cause, 0.8 * cause + 0.6 * rng.normal(size=2_000)])
    found = main_effects(binned(numbers)[1], cause)
    assert found is not None
    spread = np.ptp(found[0], axis=1)
    assert spread[0] > 2.5
    assert spread[1] < 0.5  # by itself it would have 2.6


def test_no_effect_is_claimed_of_too_few_rows() -> None:
    rng = np.random.default_rng(0)
    bins = rng.integers(0, 10, (20, 100)).astype(np.uint8)
    assert main_effects(bins, rng.normal(size=100)) is None
    assert main_effects(bins[:, :1], np.ones(1)) is None
    assert main_effects(bins[:2], rng.normal(size=100)) is not None


def test_answers_that_never_change_have_no_effects() -> None:
    bins = np.random.default_rng(0).integers(0, 5, (3, 200)).astype(np.uint8)
    found = main_effects(bins, np.full(200, 0.5, np.float32))
    assert found is not None
    assert not found.any()


def test_no_features_have_no_effects() -> None:
    found = main_effects(np.zeros((0, 50), np.uint8), np.arange(50.0))
    assert found is not None
    assert found.shape == (2, 0, FEATURE_BINS)
