"""Every metric gives what scikit-learn's of that name gives, and is undefined where that is."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from modelworks.models.metrics import METRICS

CLASSES = ("no", "yes")


def _happened(y: Any) -> Any:
    return np.asarray(y) == "yes"


BINARY: dict[str, Callable[[Any, Any], float]] = {
    "accuracy": lambda y, p: sk.accuracy_score(_happened(y), p[:, 1] > p[:, 0]),
    "average_precision": lambda y, p: sk.average_precision_score(_happened(y), p[:, 1]),
    "brier": lambda y, p: sk.brier_score_loss(_happened(y), p[:, 1]),
    "log_loss": lambda y, p: sk.log_loss(_happened(y), p, labels=[False, True]),
    "roc_auc": lambda y, p: sk.roc_auc_score(_happened(y), p[:, 1]),
}
VALUES: dict[str, Callable[[Any, Any], float]] = {
    "mae": lambda y, p: sk.mean_absolute_error(y, p[:, 0]),
    "r2": lambda y, p: sk.r2_score(y, p[:, 0]),
    "rmse": lambda y, p: sk.root_mean_squared_error(y, p[:, 0]),
}


def test_every_metric_of_the_catalog_is_compared_here() -> None:
    assert set(METRICS) == set(BINARY) | set(VALUES)
    for name in METRICS:
        assert METRICS[name].name == name
        assert math.isnan(METRICS[name](np.array([]), np.empty((0, 2), np.float32), CLASSES))


chances = st.lists(
    st.tuples(st.sampled_from(CLASSES), st.integers(0, 20).map(lambda n: n / 20)), min_size=2, max_size=40
).filter(lambda rows: len({y for y, _ in rows}) == 2)


@given(chances)
@settings(max_examples=60, deadline=None)
def test_binary_metrics(rows: list[tuple[str, float]]) -> None:
    y = np.array([label for label, _ in rows])
    p = np.array([[1 - chance, chance] for _, chance in rows], np.float32)
    for name, expected in BINARY.items():
        value = METRICS[name](y, p, CLASSES)
        if name == "log_loss":  # both clip to the epsilon of float32
            assert value == pytest.approx(expected(y, p), rel=1e-4, abs=1e-5), name
        else:
            assert value == pytest.approx(expected(y, p), abs=1e-6), name


# Squares of smaller ones cannot be told from 0, and scikit-learn divides by them.
truths = st.floats(-100, 100).map(lambda value: value if abs(value) > 1e-9 else 0.0)


@given(st.lists(st.tuples(truths, st.floats(-100, 100, width=32)), min_size=2, max_size=40))
@settings(max_examples=60, deadline=None)
def test_metrics_of_values(rows: list[tuple[float, float]]) -> None:
    y = np.array([truth for truth, _ in rows])
    p = np.array([[value] for _, value in rows], np.float32)
    for name, expected in VALUES.items():
        value = METRICS[name](y, p, ())
        if math.isnan(value):
            assert name == "r2"
            assert np.ptp(y) < 1e-100
        else:
            assert value == pytest.approx(expected(y, p), rel=1e-4, abs=1e-4), name


def test_several_classes() -> None:
    random = np.random.default_rng(0)
    classes = ("a", "b", "c")
    y = random.choice(classes, 200)
    p = random.dirichlet([1, 1, 1], 200).astype(np.float32)
    assert METRICS["roc_auc"](y, p, classes) == pytest.approx(
        sk.roc_auc_score(y, p, multi_class="ovr"), abs=1e-5
    )
    assert METRICS["log_loss"](y, p, classes) == pytest.approx(sk.log_loss(y, p), rel=1e-4)
    assert METRICS["accuracy"](y, p, classes) == pytest.approx(
        sk.accuracy_score(y, np.array(classes)[p.argmax(axis=1)])
    )
    assert math.isnan(METRICS["average_precision"](y, p, classes))


def test_undefined_where_only_one_thing_happened() -> None:
    p = np.array([[0.5, 0.5], [0.2, 0.8]], np.float32)
    assert math.isnan(METRICS["roc_auc"](np.array(["no", "no"]), p, CLASSES))
    assert math.isnan(METRICS["average_precision"](np.array(["no", "no"]), p, CLASSES))


def test_a_label_that_the_model_never_saw_costs_the_most_but_is_finite() -> None:
    p = np.array([[0.5, 0.5]], np.float32)
    value = METRICS["log_loss"](np.array(["maybe"]), p, CLASSES)
    assert value == pytest.approx(-math.log(np.finfo(np.float32).eps))


@pytest.mark.parametrize("name", sorted(METRICS))
def test_an_influence_is_how_much_the_value_moves_with_the_weight_of_a_row(name: str) -> None:
    """Every row many times over, and one of them once more: the value moves by its influence."""
    random = np.random.default_rng(3)
    rows, times = 40, 400
    if name in BINARY:
        classes: Any = CLASSES
        y = random.choice(CLASSES, rows)
        second = np.round(random.uniform(0.01, 0.99, rows), 1).astype(np.float32)  # with ties
        scores = np.column_stack([1 - second, second])
    else:
        classes, y = (), random.normal(size=rows)
        scores = (y + random.normal(size=rows)).astype(np.float32)[:, None]
    metric = METRICS[name]
    assert metric.influence is not None
    influence = metric.influence(y, scores, classes)
    assert influence.mean() == pytest.approx(0, abs=1e-9)
    again = np.repeat(np.arange(rows), times)
    before = metric(y, scores, classes)
    for row in range(rows):
        more = np.append(again, row)
        moved = (metric(y[more], scores[more], classes) - before) * len(more)
        assert moved == pytest.approx(influence[row], rel=0.02, abs=0.02)


@pytest.mark.parametrize("name", sorted(METRICS))
def test_an_influence_is_the_error_that_a_bootstrap_finds(name: str) -> None:
    random = np.random.default_rng(5)
    rows = 500
    if name in BINARY:
        classes: Any = CLASSES
        second = random.uniform(0.05, 0.95, rows).astype(np.float32)
        y = np.where(random.random(rows) < second, "yes", "no")
        scores = np.column_stack([1 - second, second])
    else:
        classes, y = (), random.normal(size=rows)
        scores = (y + random.normal(size=rows)).astype(np.float32)[:, None]
    metric = METRICS[name]
    assert metric.influence is not None
    error = metric.influence(y, scores, classes).std(ddof=1) / math.sqrt(rows)
    drawn = [random.integers(0, rows, rows) for _ in range(400)]
    found = np.std([metric(y[some], scores[some], classes) for some in drawn])
    assert error == pytest.approx(found, rel=0.15)
