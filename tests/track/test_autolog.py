"""Trainings that record themselves: a contract over every library of the catalog, and what is special to each."""

from __future__ import annotations

import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import modelworks as mw
from modelworks.sdk import standalone
from modelworks.track.autolog import AUTOLOG

with warnings.catch_warnings(), suppress(ImportError):
    warnings.simplefilter("ignore")  # an import of torch that a warning has stopped cannot be tried again
    import torch

X = np.random.default_rng(7).normal(size=(300, 4))
Y = (X[:, 0] + 0.3 * X[:, 1] > 0).astype(int)


@pytest.fixture(autouse=True)
def calm(here: Path) -> Iterator[None]:
    yield
    mw.autolog(enable=False)


def train_sklearn() -> None:
    LogisticRegression(C=0.5).fit(X, Y)


def train_lightgbm() -> None:
    import lightgbm

    data = lightgbm.Dataset(X, Y)
    params = {"objective": "binary", "verbosity": -1, "num_threads": 1}
    lightgbm.train(params, data, num_boost_round=5, valid_sets=[data], valid_names=["train"])


def train_xgboost() -> None:
    import xgboost

    data = xgboost.DMatrix(X, Y)
    xgboost.train(
        {"objective": "binary:logistic", "nthread": 1}, data, 5, evals=[(data, "train")], verbose_eval=False
    )


def train_torch() -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(torch.tensor(X, dtype=torch.float32))[:, 0],
                                            torch.tensor(Y, dtype=torch.float32))  # fmt: skip
        loss.backward()
        optimizer.step()


MAKE: dict[str, tuple[Callable[[], None], str, Any, str, int, str]] = {
    # how to train, a parameter and its value, a metric and its points, the model's artifact
    "sklearn": (train_sklearn, "C", 0.5, "training_score", 1, "model.pkl"),
    "lightgbm": (train_lightgbm, "objective", "binary", "train.binary_logloss", 5, "model.txt"),
    "xgboost": (train_xgboost, "objective", "binary:logistic", "train.logloss", 5, "model.json"),
    "torch": (train_torch, "optimizer.lr", 0.1, "loss", 5, ""),
}


def only_run() -> dict[str, Any]:
    standalone.close()
    with mw.Factory(".") as factory:
        (told,) = factory.runs()
        return factory.run(told["id"])  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", list(AUTOLOG))
@pytest.mark.parametrize("inside", [False, True])
def test_a_training_records_itself(name: str, inside: bool) -> None:
    train, param, value, metric, points, artifact = MAKE[name]
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    mw.autolog(name)
    if inside:
        with mw.run("mine") as run:
            train()
            assert run.status == "running"
    else:
        train()
    told = only_run()
    assert told["status"] == "done"
    assert (told["name"] == "mine") == inside
    assert told["params"][param] == value
    assert told["points"][metric] == points
    assert artifact in ("", *told["artifacts"])


@pytest.mark.parametrize("name", list(AUTOLOG))
def test_it_ends(name: str) -> None:
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    mw.autolog(name)
    mw.autolog(name, enable=False)
    MAKE[name][0]()
    assert len(mw.runs()) == 0


def test_a_pipeline_is_one_training() -> None:
    mw.autolog()
    make_pipeline(StandardScaler(), LogisticRegression(C=3)).fit(X, Y)
    told = only_run()
    assert told["name"] == "Pipeline"
    assert told["params"]["logisticregression__C"] == 3
    assert told["tags"] == {"estimator": "sklearn.Pipeline"}
    assert told["metrics"]["training_score"] > 0.9


def test_the_model_can_be_taken_back() -> None:
    mw.autolog()
    model = LogisticRegression().fit(X, Y)
    told = only_run()
    with mw.Factory(".") as factory:
        again = pickle.load(BytesIO(factory.stores.artifacts.get(told["artifacts"]["model.pkl"])))
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))


def test_a_search_tells_what_was_best() -> None:
    mw.autolog(models=False)
    GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=2).fit(X, Y)
    told = only_run()
    assert told["params"]["best.C"] in (0.1, 1.0)
    assert 0.5 < told["metrics"]["best_score"] <= 1
    assert told["artifacts"] == {}


def test_estimators_defined_later_are_seen() -> None:
    mw.autolog("sklearn")

    class Mine(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
        def __init__(self, depth: int = 3) -> None:
            self.depth = depth

        def fit(self, X: Any, y: Any) -> Mine:  # noqa: N803
            self.classes_ = np.unique(y)
            return self

        def predict(self, X: Any) -> Any:  # noqa: N803
            return np.full(len(X), self.classes_[0])

    Mine(5).fit(X, Y)
    told = only_run()
    assert (told["name"], told["params"]["depth"]) == ("Mine", 5)


@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
def test_the_courses_of_a_classifier_are_of_its_evaluation_sets(library: str) -> None:
    mw.autolog()
    if library == "lightgbm":
        from lightgbm import LGBMClassifier

        LGBMClassifier(n_estimators=7, verbosity=-1, n_jobs=1).fit(X, Y, eval_X=X[:50], eval_y=Y[:50])
        name = "valid_0.binary_logloss"
    else:
        from xgboost import XGBClassifier

        XGBClassifier(n_estimators=7, n_jobs=1).fit(X, Y, eval_set=[(X[:50], Y[:50])], verbose=False)
        name = "validation_0.logloss"
    told = only_run()
    assert told["params"]["n_estimators"] == 7
    assert told["points"][name] == 7
    with mw.Factory(".") as factory:
        course = [point["value"] for point in factory.course(told["id"])[name]]
    assert course[-1] < course[0]


def test_a_training_that_fails_is_a_failed_run() -> None:
    mw.autolog("sklearn")
    with pytest.raises(ValueError, match="NaN"):
        LogisticRegression().fit(np.full((3, 1), np.nan), [0, 1, 0])
    told = only_run()
    assert told["status"] == "failed"


def test_accumulated_gradients_are_one_step() -> None:
    pytest.importorskip("torch")
    mw.autolog("torch")
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.Adam([weight], lr=0.01)
    with mw.run("accumulated") as run:
        for _ in range(3):
            for target in (1.0, 3.0):
                ((weight - target) ** 2).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
    told = only_run()
    assert told["points"]["loss"] == 3
    assert run.params["trained_weights"] == 1
    with mw.Factory(".") as factory:
        assert factory.course(told["id"], "loss")["loss"][0]["value"] == pytest.approx((1 + 9) / 2)


def test_a_library_is_seen_when_it_is_imported_later_and_not_imported_for_it(tmp_path: Path) -> None:
    code = (
        "import sys, modelworks as mw\n"
        "mw.autolog()\n"
        "assert not {'lightgbm', 'xgboost', 'torch'} & set(sys.modules), 'imported for nothing'\n"
        "import lightgbm, numpy as np\n"
        "x = np.random.default_rng(0).normal(size=(100, 2))\n"
        "data = lightgbm.Dataset(x, x[:, 0] > 0)\n"
        "lightgbm.train({'objective': 'binary', 'verbosity': -1}, data, 3, valid_sets=[data])\n"
        "print(mw.runs()['metrics.training.binary_logloss'][0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert 0 < float(done.stdout) < 1
