"""The contract of drift tests, over every entry of the catalog; the statistics against SciPy."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from scipy.spatial.distance import jensenshannon

from modelworks.core.batch import Batch
from modelworks.core.errors import Invalid, NotFound
from modelworks.core.measure import Reference
from modelworks.monitor.drift import DRIFT_TESTS
from modelworks.monitor.drift.port import Counts, benjamini_hochberg, pooled
from modelworks.monitor.drift.rule import Drift
from modelworks.monitor.drift.scores import normal_scores

counts = hnp.arrays(np.int64, st.tuples(st.integers(1, 4), st.integers(2, 8)), elements=st.integers(0, 500))


@pytest.fixture(params=list(DRIFT_TESTS))
def drift_test(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# -- the contract ----------------------------------------------------------------------------------------


def test_it_says_what_it_is(drift_test: str) -> None:
    test = DRIFT_TESTS[drift_test]
    assert test.name == drift_test
    assert test.gives in ("effect", "p")


def test_the_same_rows_have_not_shifted(drift_test: str) -> None:
    test = DRIFT_TESTS[drift_test]
    rows = np.array([[10, 0, 30], [7, 7, 7]])
    expected = 0.0 if test.gives == "effect" else 1.0
    assert test.compute(rows, rows) == pytest.approx(expected)


def test_a_larger_shift_says_more(drift_test: str) -> None:
    test = DRIFT_TESTS[drift_test]
    reference = np.full((3, 4), 100)
    live = np.array([[100, 100, 100, 100], [130, 90, 90, 90], [250, 50, 50, 50]])
    said = test.compute(reference, live)
    assert (np.diff(said) > 0).all() if test.gives == "effect" else (np.diff(said) < 0).all()


def test_no_rows_on_a_side_say_nothing(drift_test: str) -> None:
    some, none = np.array([[3, 4]]), np.array([[0, 0]])
    compute = DRIFT_TESTS[drift_test].compute
    assert np.isnan([*compute(some, none), *compute(none, some), *compute(none, none)]).all()


@settings(max_examples=60, deadline=None)
@given(both=counts, data=st.data())
def test_many_columns_are_as_each_alone_and_unused_bins_change_nothing(
    both: Counts, data: st.DataObject
) -> None:
    live = data.draw(hnp.arrays(np.int64, both.shape, elements=st.integers(0, 500)))
    for name in DRIFT_TESTS:
        compute = DRIFT_TESTS[name].compute
        together = compute(both, live)
        alone = [float(compute(a, b)) for a, b in zip(both, live, strict=True)]
        assert together == pytest.approx(alone, nan_ok=True)
        wide = np.zeros((2, len(both), 3), np.int64)
        padded = compute(np.concatenate([both, wide[0]], axis=1), np.concatenate([live, wide[1]], axis=1))
        assert together == pytest.approx(padded, nan_ok=True)
        there = together[~np.isnan(together)]
        assert (there >= 0).all()
        assert DRIFT_TESTS[name].gives == "effect" or (there <= 1).all()


# -- against SciPy ---------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.int64, (2, 6), elements=st.integers(1, 300)))
def test_chi2_is_scipys(table: Counts) -> None:
    expected = stats.chi2_contingency(table, correction=False).pvalue
    assert float(DRIFT_TESTS["chi2"].compute(table[0], table[1])) == pytest.approx(expected, rel=1e-9)


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.int64, (2, 6), elements=st.integers(0, 300)))
def test_js_is_scipys(table: Counts) -> None:
    if table.sum(axis=1).all():
        expected = jensenshannon(table[0], table[1], base=2) ** 2
        assert float(DRIFT_TESTS["js"].compute(table[0], table[1])) == pytest.approx(expected, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.int64, (2, 6), elements=st.integers(1, 300)))
def test_psi_is_the_sum_of_both_divergences(table: Counts) -> None:
    p, q = (table + 0.5) / (table + 0.5).sum(axis=1, keepdims=True)
    expected = stats.entropy(p, q) + stats.entropy(q, p)
    assert float(DRIFT_TESTS["psi"].compute(table[0], table[1])) == pytest.approx(expected, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.float64, st.integers(1, 40), elements=st.floats(0, 1)))
def test_adjusted_p_values_are_scipys(p: np.ndarray) -> None:
    assert benjamini_hochberg(p) == pytest.approx(stats.false_discovery_control(p))


def test_adjusting_leaves_out_what_was_not_tested() -> None:
    p = np.array([[0.01, np.nan], [0.04, 0.03]])
    adjusted = benjamini_hochberg(p)
    assert np.isnan(adjusted[0, 1])
    assert adjusted[~np.isnan(p)] == pytest.approx(stats.false_discovery_control([0.01, 0.04, 0.03]))


# -- ordered bins, against SciPy of the bins and of the rows themselves ------------------------------------


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.int64, (2, 8), elements=st.integers(0, 40)))
def test_ks_is_scipys(table: Counts) -> None:
    if table.sum(axis=1).all():
        rows = [np.repeat(np.arange(8), side) for side in table]
        expected = stats.ks_2samp(*rows, method="asymp")
        assert float(DRIFT_TESTS["ks"].compute(table[0], table[1])) == pytest.approx(expected.statistic)
        if table.sum(axis=1).min() >= 50:
            assert float(DRIFT_TESTS["ks_p"].compute(table[0], table[1])) == pytest.approx(
                expected.pvalue, abs=0.03
            )


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.int64, (2, 8), elements=st.integers(0, 300)))
def test_wasserstein_is_scipys(table: Counts) -> None:
    if table.sum(axis=1).all():
        used = table.sum(axis=0) > 0
        place = normal_scores(table[0], table[1])[used]
        assert (np.diff(place) > 0).all()
        expected = stats.wasserstein_distance(place, place, table[0][used], table[1][used])
        assert float(DRIFT_TESTS["wasserstein"].compute(table[0], table[1])) == pytest.approx(
            expected, abs=1e-9
        )


def test_normal_scores_are_means_of_a_normal_variable() -> None:
    place = normal_scores(np.full(10, 10**7), np.zeros(10, np.int64))
    edges = stats.norm.ppf(np.arange(11) / 10)
    expected = [stats.norm.expect(lb=a, ub=b, conditional=True) for a, b in pairwise(edges)]
    assert place == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("by", [0.0, 0.1, 0.25, 0.5, 1.0])
def test_bins_lose_little_of_a_shift(by: float) -> None:
    rng = np.random.default_rng(0)
    before, after = rng.normal(0, 3, 20_000), rng.normal(3 * by, 3, 20_000)
    none = np.empty((20_000, 0), object)
    made = Reference.build(Batch(before[:, None].astype(np.float32), none), np.zeros(20_000))
    live = made.count(Batch(after[:, None].astype(np.float32), none), np.zeros(20_000)).features[0]
    far = stats.wasserstein_distance(before, after) / before.std()
    assert DRIFT_TESTS["wasserstein"].compute(made.features[0], live) == pytest.approx(far, rel=0.1, abs=0.02)
    apart = stats.ks_2samp(before, after).statistic
    found = float(DRIFT_TESTS["ks"].compute(made.features[0], live))
    assert apart - 0.01 <= found <= apart + 1e-6  # bins are of single precision


# -- rules -------------------------------------------------------------------------------------------------


def test_a_rule_is_made_again_of_what_is_stored() -> None:
    rule = Drift("ks", 0.05)
    assert Drift.from_json(rule.to_json()) == rule
    assert Drift.from_json(None) == Drift()
    assert (Drift().limit, Drift("wasserstein").limit, rule.limit) == (0.2, 0.1, 0.05)


def test_a_rule_that_cannot_be_meant_is_refused() -> None:
    with pytest.raises(Invalid, match="not how large"):
        Drift("chi2")
    with pytest.raises(Invalid, match="least"):
        Drift("psi", 0)
    with pytest.raises(NotFound, match="wasserstein"):
        Drift("psy")


# -- pooling ---------------------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(both=counts, data=st.data(), least=st.floats(0, 20))
def test_pooling_loses_no_row_and_leaves_no_thin_bin(both: Counts, data: st.DataObject, least: float) -> None:
    live = data.draw(hnp.arrays(np.int64, both.shape, elements=st.integers(0, 500)))
    a, b = pooled(both, live, least)
    assert (a.sum(axis=-1) == both.sum(axis=-1)).all()
    assert (b.sum(axis=-1) == live.sum(axis=-1)).all()
    total = np.maximum((both + live).sum(axis=-1, keepdims=True), 1)
    share = np.minimum(both.sum(axis=-1, keepdims=True), live.sum(axis=-1, keepdims=True)) / total
    used = (a + b) > 0
    expected = (a + b) * share
    # Thin is allowed only where everything is one bin.
    assert ((expected >= least - 1e-9) | ~used | (used.sum(axis=-1, keepdims=True) == 1)).all()
