"""Fits must be the same, bit for bit, and fail the same, whether answers are kept or not."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from modelworks.train import asked_once as module
from modelworks.train.asked_once import asked_once
from modelworks.train.columns import to_frame

NUMBERS = ["a", "b", "c"]


def _rows(seed: int, rows: int = 80) -> tuple[pd.DataFrame, np.ndarray]:
    random = np.random.default_rng(seed)
    values = {name: random.normal(size=rows) for name in NUMBERS}
    values["b"][::7] = np.nan
    day = random.choice(np.array(["Mon", "Tue", "Wed"], dtype=object), rows)
    return to_frame({"day": day, **values}), (values["a"] + random.normal(size=rows) > 0).astype(int)


def _linear(frame, y):
    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), NUMBERS),
        (OneHotEncoder(handle_unknown="ignore"), ["day"]),
    )
    return make_pipeline(columns, LogisticRegression()).fit(frame, y).predict_proba(frame)


def _boosted(frame, y):
    columns = make_column_transformer((OrdinalEncoder(), ["day"]), remainder="passthrough")
    return (
        make_pipeline(columns, HistGradientBoostingClassifier(max_iter=5)).fit(frame, y).predict_proba(frame)
    )


def _forest(frame, y):
    columns = make_column_transformer((SimpleImputer(), ["b", "a"]), remainder="drop")
    return make_pipeline(columns, RandomForestRegressor(5, random_state=1)).fit(frame, y).predict(frame)


@pytest.mark.parametrize("fit", [_linear, _boosted, _forest])
def test_the_same_bits(fit):
    for seed in range(3):
        frame, y = _rows(seed)
        plain = fit(frame, y)
        with asked_once():
            first, again = fit(frame, y), fit(frame, y)
        np.testing.assert_array_equal(first, plain)
        np.testing.assert_array_equal(again, plain)


def test_columns_that_are_not_there_or_elsewhere_are_found_as_before():
    frame, _ = _rows(1)
    columns = make_column_transformer((SimpleImputer(), ["a", "c"]))
    missing = make_column_transformer((SimpleImputer(), ["a", "nowhere"]))
    with asked_once():
        np.testing.assert_array_equal(columns.fit_transform(frame), frame[["a", "c"]].to_numpy())
        with pytest.raises(ValueError, match="nowhere"):
            missing.fit(frame)
        # The same names, another order: another index, other places.
        other = frame[["c", "b", "a", "day"]]
        np.testing.assert_array_equal(columns.fit_transform(other), other[["a", "c"]].to_numpy())


@pytest.mark.parametrize("wrong", [0, -1.0, "much", np.nan, None])
def test_what_is_not_allowed_is_refused_every_time(wrong):
    frame, y = _rows(2)
    with asked_once():
        for good in (1, 1.0):
            LogisticRegression(C=good).fit(frame[["a"]], y)
        for _ in range(2):
            with pytest.raises(ValueError, match="'C' parameter"):
                LogisticRegression(C=wrong).fit(frame[["a"]], y)


def test_a_class_whose_constructor_changes_has_its_new_parameters():
    class Mine(BaseEstimator):
        def __init__(self, a=1):
            self.a = a

    def other(self, b=2):
        self.b = b

    with asked_once():
        assert Mine().get_params() == {"a": 1}
        Mine.__init__ = other
        assert Mine().get_params() == {"b": 2}
        found = Mine._get_param_names()
        found.append("spoilt")
        assert Mine._get_param_names() == ["b"]


def test_it_is_over_when_it_is_over_and_is_in_use_here():
    before = vars(BaseEstimator)["_get_param_names"]
    with asked_once():
        assert vars(BaseEstimator)["_get_param_names"] is not before
    assert vars(BaseEstimator)["_get_param_names"] is before
    # A newer library has to be tried first: then add its version, or take the question out.
    assert all(module._is_tried(library, tried) for library, (tried, _) in module._QUESTIONS.items())


def test_a_version_that_was_not_tried_is_left_alone(monkeypatch):
    tried = {name: ("0.0", questions) for name, (_, questions) in module._QUESTIONS.items()}
    monkeypatch.setattr(module, "_QUESTIONS", tried)
    before = vars(BaseEstimator)["_get_param_names"]
    with asked_once():
        assert vars(BaseEstimator)["_get_param_names"] is before
