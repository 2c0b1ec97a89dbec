"""Compiled models answer as the originals do; what is made from a template is what a conversion makes."""

import pickle
import warnings
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from flavors_world import made
from hypothesis import given, settings
from hypothesis import strategies as st
from models_world import MADE, asked, fitted, rows
from sklearn.compose import make_column_transformer
from sklearn.ensemble import (
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder
from sklearn.tree import DecisionTreeRegressor

from modelworks.core.batch import Batch
from modelworks.core.errors import Invalid
from modelworks.models.compile import template
from modelworks.models.compile.session import CompiledPredictor
from modelworks.models.flavors import FLAVORS
from modelworks.models.layout import to_batch
from modelworks.models.packaging import TOLERANCE, answered, pack, proven
from modelworks.models.signature_of import signature
from modelworks.stores.artifacts import LocalArtifacts


@pytest.mark.parametrize("how", [template.compiled, template.whole])
@pytest.mark.parametrize("name", MADE)
def test_a_compiled_model_answers_as_the_original(name: str, how: Any) -> None:
    for seed in range(3):  # the second and third are filled into the first's template
        model, takes = fitted(name, seed)
        frame, _ = rows(200, seed=seed + 50, shops=6)
        answers = CompiledPredictor(how(model, takes)).predict(to_batch(frame, takes))
        assert answers.dtype == np.float32
        expected = asked(model, takes, frame)
        # A tree may tell two floats apart that are one float32: that is what the proof is for.
        assert np.abs(answers - expected).max() < 1e-4


def test_models_of_one_structure_share_a_template_whatever_their_categories() -> None:
    template._templates.clear()
    for seed, shops in ((0, 3), (1, 4), (2, 9)):
        model, takes = fitted("logistic", seed, shops)
        graph = onnx.load_from_string(template.compiled(model, takes))
        frame, _ = rows(50, seed=7, shops=12)
        answers = CompiledPredictor(graph.SerializeToString()).predict(to_batch(frame, takes))
        assert np.allclose(answers, asked(model, takes, frame), atol=1e-5)
    assert len(template._templates) == 1
    assert all(template._templates.values())


def test_models_that_differ_in_more_than_numbers_do_not_share_one() -> None:
    template._templates.clear()
    frame, y = rows()
    numbers = frame[["a", "c"]]
    for model in (
        LogisticRegression(),
        LogisticRegression(C=0.5),
        LogisticRegression(fit_intercept=False),
        GaussianNB(),
    ):
        model.fit(numbers, y)
        takes = signature(numbers, y, ["a", "c"], model)
        answers = CompiledPredictor(template.compiled(model, takes)).predict(to_batch(numbers, takes))
        assert np.allclose(answers, model.predict_proba(numbers), atol=1e-5)
    assert len(template._templates) == 4


def test_a_forest_has_no_template_and_is_converted_whole() -> None:
    template._templates.clear()
    model, takes = fitted("forest")
    assert template.compiled(model, takes) == template.whole(model, takes)
    assert not template._templates


def test_three_classes_and_a_regression() -> None:
    frame, y = rows()
    numbers = frame[["a", "c"]]
    three = np.where(frame["c"] > 0.5, "many", np.where(y == 1, "one", "none"))
    for model, target in ((LogisticRegression(), three), (Ridge(), frame["a"] * 2 + y)):
        model.fit(numbers, target)
        takes = signature(numbers, np.asarray(target), ["a", "c"], model)
        asked_for = answered(model, takes, to_batch(numbers, takes))
        graph, proof = proven(model, takes, asked_for)
        assert graph is not None, proof.reason
        assert proof.largest_difference is not None
        assert proof.largest_difference < TOLERANCE


class Odd(LogisticRegression):  # type: ignore[misc]
    """Somebody's estimator, of which a converter knows nothing."""

    def predict_proba(self, rows: Any) -> Any:
        """The probabilities, the other way round."""
        return super().predict_proba(rows)[:, ::-1]


def test_a_structure_whose_graph_is_chosen_by_its_numbers_has_no_template() -> None:
    template._templates.clear()
    template.compiled(*fitted("numbers only"))  # which of the features it selects depends on the fit
    assert list(template._templates.values()) == [None]


def test_what_has_no_onnx_form_says_so() -> None:
    frame, y = rows()
    model = Odd().fit(frame[["a", "c"]], y)
    takes = signature(frame[["a", "c"]], y, ["a", "c"], model)
    with pytest.raises(Invalid, match="Odd has no ONNX form"):
        template.whole(model, takes)
    asked_for = answered(model, takes, to_batch(frame, takes))
    graph, proof = proven(model, takes, asked_for)
    assert graph is None
    assert "no ONNX form" in proof.reason


def test_a_graph_that_is_wrong_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    model, takes = fitted("logistic")
    other, _ = fitted("logistic", seed=5)
    frame, _ = rows(60, seed=2)
    asked_for = answered(model, takes, to_batch(frame, takes))
    wrong = template.whole(other, takes)
    right = template.whole(model, takes)
    monkeypatch.setattr(template, "compiled", lambda _model, _takes: wrong)
    assert proven(model, takes, asked_for)[0] == right  # the template was wrong, the conversion is not
    monkeypatch.setattr(template, "whole", lambda _model, _takes: wrong)
    graph, proof = proven(model, takes, asked_for)
    assert graph is None
    assert "differs by" in proof.reason
    assert proof.largest_difference is not None
    assert proof.largest_difference > TOLERANCE


def test_missing_and_unseen_values_are_part_of_the_proof() -> None:
    model, takes = fitted("logistic")
    frame, _ = rows(40, seed=2)
    asked_for = answered(model, takes, to_batch(frame, takes))
    assert asked_for.held_out == 40
    assert len(asked_for.rows) == 40 + 4 + 32
    more = asked_for.rows.take(slice(40, None))
    assert np.isnan(more.numbers).any()
    assert "" in more.texts
    assert not set(more.texts[1]) <= set(frame["size"]) | set(frame["shop"])
    there = np.nanmax(frame["a"])
    assert (more.numbers[:, 0] == there).any()
    assert (more.numbers[:, 0] > there).any()
    assert np.isnan(more.numbers).any(axis=1).sum() > 4
    assert not np.isnan(more.numbers[:, 0]).any()  # which may not be missing
    # One that refuses a missing value is proven on the rows alone.
    numbers = frame[["a", "c"]]
    _, y = rows(40, seed=2)
    strict = LogisticRegression().fit(numbers, y)
    given_holes = numbers.copy()
    given_holes.loc[0, "a"] = np.nan
    loose = signature(given_holes, y, ["a", "c"], strict)
    assert len(answered(strict, loose, to_batch(numbers, loose)).rows) == 40


def test_a_package_of_each_kind_is_stored_and_loaded(tmp_path: Any) -> None:
    from modelworks.models.packaging import load

    artifacts = LocalArtifacts(tmp_path)
    frame, y = rows()
    numbers = frame[["a", "c"]]
    kinds = [
        (LogisticRegression(), y, True), (HistGradientBoostingClassifier(max_iter=5), y, True),
        (RandomForestRegressor(n_estimators=5), frame["a"].to_numpy(), True), (Odd(), y, False),
        (OneVsRestClassifier(GaussianNB()), y, None),
    ]  # fmt: skip
    for model, target, compiles in kinds:
        model.fit(numbers, target)
        takes = signature(numbers, target, ["a", "c"], model)
        package = pack(model, takes, numbers, artifacts, code="c", environment="e", reference=b"r")
        assert package.flavor == "sklearn"
        if compiles is not None:
            assert (package.compiled is not None) == compiles, package.proof.reason
            assert bool(package.proof.reason) != compiles
        answers = load(package, artifacts).predict(to_batch(numbers, takes))
        assert np.allclose(answers, asked(model, takes, numbers), atol=1e-3)
        assert type(package).from_json(package.to_json()) == package


MODEL, TAKES = fitted("logistic")
COMPILED = CompiledPredictor(template.compiled(MODEL, TAKES))
numbers = st.none() | st.floats(-1e4, 1e4, width=32)
texts = st.sampled_from(["S", "M", "L", "", "shop 1", "never seen", "é"])


@given(st.lists(st.tuples(numbers, texts, numbers, numbers, texts), min_size=1, max_size=8))
@settings(max_examples=100, deadline=None)
def test_any_row_that_a_request_may_hold_is_answered_alike(given_rows: list[tuple[Any, ...]]) -> None:
    frame = pd.DataFrame(given_rows, columns=["a", "size", "b", "c", "shop"]).astype(
        {"a": float, "b": float, "c": float, "size": object, "shop": object}
    )
    answers = COMPILED.predict(to_batch(frame, TAKES))
    assert np.abs(answers - asked(MODEL, TAKES, frame)).max() < TOLERANCE


def test_a_model_that_refuses_unseen_texts_is_still_proven_on_missing_numbers() -> None:
    frame, y = rows()
    strict = make_pipeline(
        make_column_transformer((SimpleImputer(), ["a", "b", "c"]), (OneHotEncoder(), ["size", "shop"])),
        LogisticRegression(),
    ).fit(frame, y)
    takes = signature(frame, y, list(frame.columns), strict)
    asked_for = answered(strict, takes, to_batch(frame, takes))
    more = asked_for.rows.take(slice(len(frame), None))
    assert len(more) == 4 + 32
    assert np.isnan(more.numbers).any()
    assert proven(strict, takes, asked_for)[0] is not None


# -- every flavor that compiles, on any row ----------------------------------------------------------------

BOOSTED = [("lightgbm", name) for name in ("binary", "multiclass", "sets")]
BOOSTED += [("xgboost", name) for name in ("binary", "multiclass", "sets")]
BOOSTED += [("onnx", "multiclass"), ("pytorch", "multiclass")]
anything = st.tuples(numbers, texts, numbers, numbers, texts)


@pytest.mark.parametrize(("flavor", "name"), BOOSTED)
def test_any_row_is_answered_alike_whatever_the_flavor(flavor: str, name: str) -> None:
    one = made(flavor, name)
    port = FLAVORS[flavor]
    compiled = CompiledPredictor(port.compile(one.model, one.takes, template=True))
    native = port.predictor(one.model, one.takes)
    missing = flavor != "onnx"

    @given(st.lists(anything, min_size=1, max_size=8))
    @settings(max_examples=100, deadline=None)
    def check(given_rows: list[tuple[Any, ...]]) -> None:
        frame = pd.DataFrame(given_rows, columns=["a", "size", "b", "c", "shop"]).astype(
            {"a": float, "b": float, "c": float, "size": object, "shop": object}
        )
        batch = to_batch(frame if missing else frame.fillna(0), one.takes)
        assert np.abs(compiled.predict(batch) - native.predict(batch)).max() < 1e-5

    check()


@pytest.mark.parametrize("flavor", ["lightgbm", "xgboost"])
def test_a_compiled_tree_parts_numbers_exactly_where_the_original_does(flavor: str) -> None:
    """Asked at the float32 next to every threshold, where a threshold that was only rounded goes wrong."""
    random = np.random.default_rng(0)
    x = pd.DataFrame({"a": random.normal(size=4000).astype(np.float32).astype(float)})
    y = np.sin(x["a"] * 20).to_numpy()
    if flavor == "lightgbm":
        import lightgbm

        options = {
            "n_estimators": 20,
            "num_leaves": 63,
            "min_child_samples": 2,
            "max_bin": 4000,
            "verbose": -1,
        }
        model: Any = lightgbm.LGBMRegressor(**options).fit(x, y)
    else:
        import xgboost

        model = xgboost.XGBRegressor(n_estimators=20, max_depth=8, tree_method="exact").fit(x, y)
    takes = signature(x, y, ["a"], model)
    port = FLAVORS[flavor]
    sorted_ = np.unique(x["a"].to_numpy(np.float32))
    middle = ((sorted_[1:].astype(float) + sorted_[:-1]) / 2).astype(np.float32)
    asked_for = [np.nextafter(middle, np.float32(-9)), middle, np.nextafter(middle, np.float32(9)), sorted_]
    batch = Batch(
        np.concatenate(asked_for)[:, None], np.empty((len(np.concatenate(asked_for)), 0), dtype=object)
    )
    compiled = CompiledPredictor(port.compile(model, takes, template=True)).predict(batch)
    assert np.abs(compiled - port.predictor(model, takes).predict(batch)).max() < 1e-5


@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
@pytest.mark.parametrize("task", ["two", "three", "texts", "number"])
def test_boosted_trees_at_the_end_of_a_pipeline(library: str, task: str) -> None:
    frame, y = rows()
    target: Any = {
        "two": y,
        "three": np.where(frame["c"] > 0.5, 2, y),
        "number": frame["a"].to_numpy() + y,
    }.get(task)
    if task == "texts":
        target = np.array(["no", "yes"])[y] if library == "lightgbm" else y
    if library == "lightgbm":
        import lightgbm

        kind: Any = lightgbm.LGBMRegressor if task == "number" else lightgbm.LGBMClassifier
        last = kind(n_estimators=10, min_child_samples=5, verbose=-1)
    else:
        import xgboost

        kind = xgboost.XGBRegressor if task == "number" else xgboost.XGBClassifier
        last = kind(n_estimators=10)
    encode = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    columns = make_column_transformer(("passthrough", ["a", "b", "c"]), (encode, ["size", "shop"]))
    model = make_pipeline(columns.set_output(transform="default"), last)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # LightGBM gives names to columns that have none
        model.fit(frame, target)
        takes = signature(frame, target, list(frame.columns), model)
        graph, proof = proven(model, takes, answered(model, takes, to_batch(frame, takes)))
    assert graph is not None, proof.reason
    assert proof.largest_difference is not None
    assert proof.largest_difference < 1e-5


@pytest.mark.parametrize(
    "model",
    [
        DecisionTreeRegressor(),
        RandomForestRegressor(n_estimators=5, random_state=0),
        GradientBoostingRegressor(n_estimators=10, max_depth=6),
        HistGradientBoostingRegressor(max_iter=10, max_leaf_nodes=63, min_samples_leaf=2),
    ],
    ids=lambda model: type(model).__name__,
)
def test_trees_of_scikit_learn_part_numbers_exactly_where_the_original_does(model: Any) -> None:
    """Neighbouring float32 numbers on both sides of a threshold, which is rounded to either by a converter."""
    x = np.float32(1) + np.arange(2000, dtype=np.float32) * np.finfo(np.float32).eps
    frame = pd.DataFrame({"a": x.astype(float)})
    y = np.random.default_rng(0).normal(size=2000)
    model.fit(frame, y)
    before = pickle.dumps(model)
    takes = signature(frame, y, ["a"], model)
    graph, proof = proven(model, takes, answered(model, takes, to_batch(frame, takes)))
    assert graph is not None, proof.reason
    assert proof.largest_difference is not None
    assert proof.largest_difference < 1e-5
    assert pickle.dumps(model) == before  # the original keeps its thresholds
