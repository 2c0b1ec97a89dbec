"""A native scikit-learn model answers as the original, by whatever way."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn
from hypothesis import given, settings
from hypothesis import strategies as st
from models_world import AWKWARD, MADE, asked, fitted, rows

from modelworks.core.batch import Batch
from modelworks.core.errors import Invalid
from modelworks.models.flavors import flavor_of
from modelworks.models.flavors import sklearn as flavor_module
from modelworks.models.flavors.direct import direct
from modelworks.models.flavors.sklearn import NativePredictor
from modelworks.models.layout import to_batch, to_frame


def test_no_flavor_for_an_object() -> None:
    with pytest.raises(Invalid, match="cannot be packaged"):
        flavor_of(object())


@pytest.mark.parametrize("name", [*MADE, *AWKWARD])
def test_a_native_model_answers_as_the_original(name: str) -> None:
    model, takes = fitted(name)
    frame, _ = rows(80, seed=3, shops=6)  # with shops that it has not seen
    predictor = NativePredictor(model, takes)
    expected = asked(model, takes, frame).astype(np.float32)
    for _ in range(2):  # the first of a structure goes both ways
        assert np.array_equal(predictor.predict(to_batch(frame, takes)), expected)
    one = to_batch(frame.head(1), takes)
    assert np.allclose(predictor.predict(one), expected[:1], atol=1e-6)


@pytest.mark.parametrize("name", MADE)
def test_what_is_understood_has_a_direct_form(name: str) -> None:
    model, takes = fitted(name)
    form = direct(model, takes)
    assert form is not None
    frame, _ = rows(80, seed=4, shops=6)
    expected = asked(model, takes, frame)
    assert np.array_equal(form.answer(to_batch(frame, takes)).reshape(expected.shape), expected)
    assert hasattr(model, "feature_names_in_")  # the original is as it was
    other, _ = fitted(name, seed=9)
    again = direct(other, takes)
    assert again is not None
    assert again.structure == form.structure


@pytest.mark.parametrize("name", ["gives frames", "somebody's function", "weighted"])
def test_what_is_not_understood_has_none(name: str) -> None:
    assert direct(*fitted(name)) is None


def test_no_direct_form_where_scikit_learn_gives_frames_everywhere() -> None:
    model, takes = fitted("logistic")
    with sklearn.config_context(transform_output="pandas"):
        assert direct(model, takes) is None


def test_a_direct_form_that_answers_otherwise_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    model, takes = fitted("logistic")
    form = direct(model, takes)
    assert form is not None
    monkeypatch.setattr(flavor_module, "_checked", {})

    def wrong(_model: Any, _takes: Any) -> Any:
        return type(form)(lambda batch: np.full((len(batch), 2), 0.5), form.structure)

    monkeypatch.setattr(flavor_module, "direct", wrong)
    frame, _ = rows(20)
    predictor = NativePredictor(model, takes)
    for _ in range(2):
        assert np.array_equal(
            predictor.predict(to_batch(frame, takes)), asked(model, takes, frame).astype(np.float32)
        )


def test_what_the_original_refuses_the_direct_form_refuses() -> None:
    frame, y = rows()
    model = sklearn.linear_model.LogisticRegression().fit(frame[["a", "c"]], y)
    takes = fitted("logistic")[1]
    takes = type(takes)(tuple(one for one in takes.inputs if one.name in ("a", "c")), "binary", (0, 1))
    predictor = NativePredictor(model, takes)
    predictor.predict(Batch(np.zeros((3, 2), np.float32), np.empty((3, 0), object)))
    with pytest.raises(ValueError, match="NaN"):
        predictor.predict(Batch(np.full((3, 2), np.nan, np.float32), np.empty((3, 0), object)))


numbers = st.none() | st.floats(-1e6, 1e6, width=32)
texts = st.sampled_from(["S", "M", "", "shop 1", "never seen", "é\x00"])


@given(st.lists(st.tuples(numbers, texts, numbers, numbers, texts), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_any_row_is_answered_alike(given_rows: list[tuple[Any, ...]]) -> None:
    model, takes = _LOGISTIC
    frame = pd.DataFrame(given_rows, columns=["a", "size", "b", "c", "shop"]).astype(
        {"a": float, "b": float, "c": float, "size": object, "shop": object}
    )
    form = direct(model, takes)
    assert form is not None
    batch = to_batch(frame, takes)
    assert np.array_equal(form.answer(batch), model.predict_proba(to_frame(batch, takes)), equal_nan=True)


_LOGISTIC = fitted("logistic")
