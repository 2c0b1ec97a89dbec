"""Fitted models of many kinds, on rows with numbers and texts of which some are missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.compose import ColumnTransformer, make_column_selector, make_column_transformer
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
)
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from modelworks.models.layout import to_batch
from modelworks.models.signature import Signature
from modelworks.models.signature_of import signature

NUMBERS = ["a", "b", "c"]
TEXTS = ["size", "shop"]


def rows(number: int = 300, seed: int = 0, shops: int = 4) -> tuple[pd.DataFrame, npt.NDArray[Any]]:
    """Rows, and whether something happened in each."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {name: random.normal(size=number).astype(np.float32).astype(float) for name in NUMBERS}
    )
    frame.loc[random.random(number) < 0.1, "b"] = np.nan
    frame["size"] = pd.Series(random.choice(["S", "M", "L", ""], number), dtype=object)
    frame["shop"] = pd.Series([f"shop {n}" for n in random.integers(0, shops, number)], dtype=object)
    frame = frame[["a", "size", "b", "c", "shop"]]
    chance = 1 / (1 + np.exp(-(2 * frame["a"] + (frame["size"] == "L") - 0.5)))
    return frame, (random.random(number) < chance).astype(int)


def _filled(*more: Any) -> Any:
    return make_pipeline(SimpleImputer(keep_empty_features=True), *more)


def _columns(numbers: Any, texts: Any, **options: Any) -> ColumnTransformer:
    return make_column_transformer((numbers, NUMBERS), (texts, TEXTS), **options)


def _one_hot() -> OneHotEncoder:
    return OneHotEncoder(handle_unknown="ignore")


def _twice(values: Any) -> Any:
    return values * 2


MADE: dict[str, Callable[[], Any]] = {
    "logistic": lambda: make_pipeline(_columns(_filled(StandardScaler()), _one_hot()), LogisticRegression()),
    "encoded first": lambda: make_pipeline(
        make_column_transformer((_one_hot(), TEXTS), (_filled(MinMaxScaler()), NUMBERS)), LogisticRegression()
    ),
    "ordinal": lambda: make_pipeline(
        _columns(_filled(), OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)),
        DecisionTreeClassifier(max_depth=4, random_state=0),
    ),
    "forest": lambda: make_pipeline(
        _columns(_filled(), _one_hot()), RandomForestClassifier(n_estimators=8, max_depth=4, random_state=0)
    ),
    "boosted": lambda: make_pipeline(
        _columns(_filled(), _one_hot()), GradientBoostingClassifier(n_estimators=6, random_state=0)
    ),
    "numbers only": lambda: make_pipeline(
        ColumnTransformer([("numbers", _filled(StandardScaler()), NUMBERS), ("texts", "drop", TEXTS)]),
        SelectKBest(k=2),
        LogisticRegression(),
    ),
    "regression": lambda: make_pipeline(_columns(_filled(StandardScaler()), _one_hot()), Ridge()),
    "regression of trees": lambda: make_pipeline(_columns(_filled(), _one_hot()), LinearRegression()),
    "vectors": lambda: make_pipeline(
        _columns(_filled(StandardScaler()), _one_hot()), SVC(probability=False, random_state=0)
    ),
}
"""Models that have an ONNX form, all but the last, which gives no probabilities."""
MADE.pop("vectors")

AWKWARD: dict[str, Callable[[], Any]] = {
    "passed through": lambda: make_pipeline(
        ColumnTransformer(
            [("numbers", SimpleImputer(keep_empty_features=True), ["a", "b"]), ("texts", _one_hot(), TEXTS)],
            remainder="passthrough",
        ),
        LogisticRegression(),
    ),
    "gives frames": lambda: make_pipeline(
        _columns(
            _filled(StandardScaler()), OneHotEncoder(handle_unknown="ignore", sparse_output=False)
        ).set_output(transform="pandas"),
        LogisticRegression(),
    ),
    "somebody's function": lambda: make_pipeline(
        _columns(_filled(FunctionTransformer(_twice)), _one_hot()), LogisticRegression()
    ),
    "columns by a rule": lambda: make_pipeline(
        ColumnTransformer(
            [
                ("numbers", _filled(), make_column_selector(dtype_include=float)),
                ("texts", _one_hot(), make_column_selector(dtype_include=object)),
            ]
        ),
        LogisticRegression(),
    ),
    "weighted": lambda: make_pipeline(
        ColumnTransformer(
            [("numbers", _filled(), NUMBERS), ("texts", _one_hot(), TEXTS)],
            transformer_weights={"numbers": 3.0},
        ),
        LogisticRegression(),
    ),
    "of categories": lambda: Pipeline(
        [
            (
                "columns",
                _columns("passthrough", OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)),
            ),
            (
                "model",
                HistGradientBoostingClassifier(max_iter=5, categorical_features=[3, 4], random_state=0),
            ),
        ]
    ),
}
"""Models that take another way, or have none of the short ones; their answers are the same whichever it is."""


def fitted(name: str, seed: int = 0, shops: int = 4) -> tuple[Any, Signature]:
    """A model of that kind, and what it takes and gives."""
    frame, y = rows(seed=seed, shops=shops)
    model = {**MADE, **AWKWARD}[name]()
    targets = frame["a"].to_numpy() * 3 + y if name.startswith("regression") else y
    model.fit(frame, targets)
    return model, signature(frame, targets, list(frame.columns), model)


def asked(model: Any, takes: Signature, frame: pd.DataFrame) -> npt.NDArray[np.float64]:
    """What scikit-learn itself says of the rows, as they come out of a batch."""
    batch = to_batch(frame, takes)
    again = frame.copy()
    for place, name in enumerate(takes.numbers):
        again[name] = batch.numbers[:, place].astype(float)
    if takes.task == "regression":
        return np.asarray(model.predict(again), dtype=np.float64).reshape(len(frame), 1)
    return np.asarray(model.predict_proba(again), dtype=np.float64)
