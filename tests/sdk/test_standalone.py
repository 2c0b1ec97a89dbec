"""The standalone phase: a script in an empty folder, from a fitted model to an answer over HTTP."""

from __future__ import annotations

from pathlib import Path

import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import modelworks as mw
from modelworks.core.errors import NotFound


def test_from_a_fitted_model_to_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)  # noqa: N806
    X = X.iloc[:, :5].rename(columns=lambda name: name.replace(" ", "_"))  # noqa: N806
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    with mw.run("first") as run:
        run.log_params(C=1.0)
        run.log_metrics(accuracy=model.score(X, y))
        version = run.log_model(model, name="tumour", example=X.head(100))
    assert str(version.ref) == "tumour@1"
    assert version.package.compiled
    with mw.serve("tumour@latest") as server, mw.connect(server.url) as client:
        (answer,) = client.predict("tumour", X.head(1).to_dict("records"))["predictions"]
        assert answer["output"] == pytest.approx(model.predict_proba(X.head(1))[0, 1], abs=1e-4)
        assert client.runs()[0]["name"] == "first"
    with pytest.raises(NotFound):
        mw.serve("tumour@7")


def test_a_block_that_raises_is_a_failed_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ZeroDivisionError), mw.run("broken") as run:
        run.log_params(depth=1 / 0)
    with mw.Factory(tmp_path) as factory:
        (kept,) = factory.runs()
    assert (kept["status"], "ZeroDivisionError" in kept["error"]) == ("failed", True)
