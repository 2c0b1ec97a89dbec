"""Models: logged, loaded back by every kind of URI, searched."""

import mlflow
import numpy as np
import pytest
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler


class Twice(mlflow.pyfunc.PythonModel):
    """A model in Python."""

    def predict(self, context, model_input, params=None):
        return model_input.sum(axis=1) * 2


def sklearn(data):
    X, y = data
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    info = mlflow.sklearn.log_model(
        model, name="model", input_example=X.head(20), pip_requirements=["scikit-learn"]
    )
    return info, model.predict(X)


def pickled(data):
    X, y = data
    model = make_pipeline(
        make_column_transformer(
            (OneHotEncoder(handle_unknown="ignore"), []), (StandardScaler(), list(X.columns))
        ),
        RandomForestClassifier(10, random_state=7),
    ).fit(X, y)
    info = mlflow.sklearn.log_model(
        model, name="model", signature=infer_signature(X, y), pip_requirements=["scikit-learn"],
        serialization_format="cloudpickle",
    )  # fmt: skip
    return info, model.predict(X)


def lightgbm(data):
    from lightgbm import LGBMClassifier

    X, y = data
    model = LGBMClassifier(n_estimators=10, verbose=-1).fit(X, y)
    info = mlflow.lightgbm.log_model(
        model.booster_, name="model", input_example=X.head(20), pip_requirements=["lightgbm"]
    )  # fmt: skip
    return info, model.predict_proba(X)[:, 1]


def pyfunc(data):
    X, _ = data
    info = mlflow.pyfunc.log_model(
        python_model=Twice(), name="model", input_example=X.head(), pip_requirements=["pandas"]
    )  # fmt: skip
    return info, X.sum(axis=1) * 2


@pytest.mark.parametrize("flavor", [sklearn, pickled, lightgbm, pyfunc], ids=lambda one: one.__name__)
def test_a_model_comes_back_by_every_address(client, experiment, name, data, flavor):
    X, _ = data
    with mlflow.start_run() as run:
        info, expected = flavor(data)
    version = mlflow.register_model(f"runs:/{run.info.run_id}/model", name)
    assert version.version == "1"
    assert client.get_model_version(name, "1").run_id == run.info.run_id
    client.set_registered_model_alias(name, "best", 1)
    for address in (
        f"models:/{name}@best",
        f"models:/{name}/1",
        f"models:/{name}/latest",
        f"runs:/{run.info.run_id}/model",
        f"models:/{info.model_id}",
        info.model_uri,
    ):
        loaded = mlflow.pyfunc.load_model(address)
        np.testing.assert_array_equal(loaded.predict(X), expected)


def test_a_logged_model(client, experiment, data):
    with mlflow.start_run() as run:
        mlflow.log_params({"depth": 3})
        info, _ = sklearn(data)
        mlflow.log_metric("auc", 0.9, model_id=info.model_id)
    found = mlflow.get_logged_model(info.model_id)
    assert (found.name, found.source_run_id, found.experiment_id) == ("model", run.info.run_id, experiment)
    assert found.status == "READY"
    assert found.params["depth"] == "3"
    assert [(metric.key, metric.value) for metric in found.metrics] == [("auc", 0.9)]
    out = client.get_run(run.info.run_id).outputs.model_outputs
    assert [one.model_id for one in out] == [info.model_id]
    assert client.get_run(run.info.run_id).data.metrics["auc"] == 0.9
    files = {one.path for one in client.list_logged_model_artifacts(info.model_id)}
    assert {"MLmodel", "requirements.txt"} <= files


def test_a_logged_model_by_hand(client, experiment, name, tmp_path):
    model = mlflow.initialize_logged_model(
        name=name, params={"a": "1"}, tags={"team": "x"}, model_type="agent"
    )
    assert model.status == "PENDING"
    (tmp_path / "weights.bin").write_bytes(b"12345")
    client.log_model_artifact(model.model_id, str(tmp_path / "weights.bin"))
    client.log_model_artifacts(model.model_id, str(tmp_path))
    mlflow.log_model_params({"b": "2"}, model.model_id)
    client.set_logged_model_tags(model.model_id, {"more": "y", "gone": "z"})
    client.delete_logged_model_tag(model.model_id, "gone")
    mlflow.finalize_logged_model(model.model_id, "READY")
    found = mlflow.get_logged_model(model.model_id)
    assert (found.status, found.model_type) == ("READY", "agent")
    assert found.params == {"a": "1", "b": "2"}
    assert {"team": "x", "more": "y"}.items() <= found.tags.items()
    assert "gone" not in found.tags
    assert [one.path for one in client.list_logged_model_artifacts(model.model_id)] == ["weights.bin"]
    place = mlflow.artifacts.download_artifacts(
        f"{found.artifact_location}/weights.bin", dst_path=str(tmp_path / "d")
    )
    with open(place, "rb") as file:
        assert file.read() == b"12345"
    client.delete_logged_model(model.model_id)
    with pytest.raises(MlflowException) as error:
        client.get_logged_model(model.model_id)
    assert error.value.error_code == "RESOURCE_DOES_NOT_EXIST"


def test_logged_models_are_searched(client, experiment):
    made = []
    for i in range(6):
        model = client.create_logged_model(
            experiment, name=f"model{i}", params={"depth": str(i)}, tags={"half": "ab"[i // 3]}
        )
        run = client.create_run(experiment).info.run_id
        client.log_metric(
            run, "auc", i / 10, model_id=model.model_id, dataset_name="d", dataset_digest=str(i % 2)
        )
        client.finalize_logged_model(model.model_id, "READY" if i != 5 else "FAILED")
        made.append(model.model_id)

    def found(text=None, **more):
        return [made.index(one.model_id) for one in client.search_logged_models([experiment], text, **more)]

    assert found() == [5, 4, 3, 2, 1, 0]
    assert found("metrics.auc > 0.25 and params.depth != '4'") == [5, 3]
    assert found("tags.half = 'a'") == [2, 1, 0]
    assert found("name = 'model3'") == [3]
    assert found("name LIKE 'model%' AND attributes.name != 'model3'") == [5, 4, 2, 1, 0]
    assert found(order_by=[{"field_name": "metrics.auc", "ascending": True}]) == [0, 1, 2, 3, 4, 5]
    assert found(order_by=[{"field_name": "name", "ascending": False}]) == [5, 4, 3, 2, 1, 0]
    assert found(datasets=[{"dataset_name": "d", "dataset_digest": "1"}]) == [5, 3, 1]
    assert found("status = 'FAILED'") == [5]
    first = client.search_logged_models([experiment], max_results=4)
    rest = client.search_logged_models([experiment], max_results=4, page_token=first.token)
    assert [made.index(one.model_id) for one in [*first, *rest]] == [5, 4, 3, 2, 1, 0]
    frame = mlflow.search_logged_models([experiment], output_format="pandas")
    assert set(frame["model_id"]) == set(made)


def test_a_model_is_logged_and_registered_in_one_call(client, experiment, name, data):
    X, y = data
    with mlflow.start_run():
        for depth in (1, 2):
            model = LogisticRegression(C=depth, max_iter=3000).fit(X, y)
            mlflow.sklearn.log_model(
                model, name=f"m{depth}", registered_model_name=name, input_example=X.head(),
                pip_requirements=["scikit-learn"],
            )  # fmt: skip
    assert [one.version for one in client.search_model_versions(f"name = '{name}'")] == ["2", "1"]
    loaded = mlflow.sklearn.load_model(f"models:/{name}/2")
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    logged = mlflow.search_logged_models([experiment], filter_string="name = 'm1'", output_format="list")[0]
    assert mlflow.get_logged_model(logged.model_id).name == "m1"


def test_autologging_a_model(client, experiment, data):
    X, y = data
    mlflow.sklearn.autolog(silent=True)
    try:
        with mlflow.start_run() as run:
            model = LogisticRegression(max_iter=3000).fit(X, y)
    finally:
        mlflow.sklearn.autolog(disable=True)
    loaded = mlflow.sklearn.load_model(f"runs:/{run.info.run_id}/model")
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
