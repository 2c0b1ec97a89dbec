"""Runs: begun, written, ended, deleted, restored."""

import math
import time

import mlflow
import pandas as pd
import pytest
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException


def test_a_run_as_a_person_writes_it(client, experiment):
    with mlflow.start_run(run_name="baseline", description="the *first*", tags={"team": "pricing"}) as run:
        mlflow.log_param("depth", 6)
        mlflow.log_params({"kind": "tree", "rate": 0.1})
        mlflow.log_metric("loss", 0.5, step=1)
        mlflow.log_metrics({"loss": 0.25, "auc": 0.9}, step=2)
        mlflow.set_tag("round", "one")
        mlflow.set_tags({"a": "1", "b": "2"})
        mlflow.delete_tag("a")
    found = client.get_run(run.info.run_id)
    assert found.data.params == {"depth": "6", "kind": "tree", "rate": "0.1"}
    assert found.data.metrics == {"loss": 0.25, "auc": 0.9}
    assert {"team": "pricing", "round": "one", "b": "2"}.items() <= found.data.tags.items()
    assert "a" not in found.data.tags
    assert found.data.tags["mlflow.note.content"] == "the *first*"
    assert found.data.tags["mlflow.runName"] == found.info.run_name == "baseline"
    assert found.info.status == "FINISHED"
    assert found.info.experiment_id == experiment
    assert found.info.start_time <= found.info.end_time
    assert [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, "loss")] == [
        (1, 0.5),
        (2, 0.25),
    ]
    assert client.get_metric_history(run.info.run_id, "nothing") == []


def test_a_run_that_raises_has_failed(client, experiment):
    with pytest.raises(ZeroDivisionError), mlflow.start_run() as run:
        _ = 1 / 0
    found = client.get_run(run.info.run_id)
    assert found.info.status == "FAILED"
    assert found.info.run_name


def test_runs_in_runs(client, experiment):
    with mlflow.start_run() as outer, mlflow.start_run(nested=True) as inner:
        pass
    assert client.get_run(inner.info.run_id).data.tags["mlflow.parentRunId"] == outer.info.run_id
    assert mlflow.get_parent_run(inner.info.run_id).info.run_id == outer.info.run_id
    found = client.search_runs([experiment], f"tags.mlflow.parentRunId = '{outer.info.run_id}'")
    assert [one.info.run_id for one in found] == [inner.info.run_id]


def test_a_run_goes_on(client, experiment):
    with mlflow.start_run() as run:
        mlflow.log_metric("loss", 1.0, step=0)
    with mlflow.start_run(run_id=run.info.run_id):
        assert client.get_run(run.info.run_id).info.status == "RUNNING"
        mlflow.log_metric("loss", 0.5, step=1)
    assert len(client.get_metric_history(run.info.run_id, "loss")) == 2


def test_a_batch(client, experiment):
    run = client.create_run(experiment, start_time=1_700_000_000_000, run_name="old").info.run_id
    now = int(time.time() * 1000)
    metrics = [Metric("loss", 1 / (step + 1), now + step, step) for step in range(900)]
    client.log_batch(run, metrics, [Param("p", "1"), Param("q", "x y")], [RunTag("t", "1")])
    found = client.get_run(run)
    assert found.info.start_time == 1_700_000_000_000
    assert found.data.params == {"p": "1", "q": "x y"}
    assert found.data.tags["t"] == "1"
    assert found.data.metrics["loss"] == 1 / 900
    history = client.get_metric_history(run, "loss")
    assert [(m.step, m.value, m.timestamp) for m in history] == [
        (step, 1 / (step + 1), now + step) for step in range(900)
    ]
    client.set_terminated(run, "KILLED", end_time=1_700_000_100_000)
    ended = client.get_run(run).info
    assert (ended.status, ended.end_time) == ("KILLED", 1_700_000_100_000)


def test_the_metric_of_the_highest_step_counts(client, experiment):
    run = client.create_run(experiment).info.run_id
    client.log_metric(run, "loss", 1.0, step=10, timestamp=1000)
    client.log_metric(run, "loss", 2.0, step=5, timestamp=2000)
    assert client.get_run(run).data.metrics["loss"] == 1.0
    client.log_metric(run, "loss", 3.0, step=10, timestamp=3000)
    assert client.get_run(run).data.metrics["loss"] == 3.0


def test_numbers_that_json_lacks(client, experiment):
    run = client.create_run(experiment).info.run_id
    for step, value in enumerate((math.nan, math.inf, -math.inf)):
        client.log_metric(run, f"m{step}", value)
    found = client.get_run(run).data.metrics
    assert math.isnan(found["m0"])
    assert found["m1"] == math.inf
    assert found["m2"] == -math.inf
    assert math.isnan(client.get_metric_history(run, "m0")[0].value)


def test_a_parameter_keeps_its_value(client, experiment):
    run = client.create_run(experiment).info.run_id
    client.log_param(run, "depth", 6)
    client.log_param(run, "depth", 6)
    with pytest.raises(MlflowException, match="already logged") as error:
        client.log_param(run, "depth", 7)
    assert error.value.error_code == "INVALID_PARAMETER_VALUE"
    with pytest.raises(MlflowException, match="already logged"):
        client.log_batch(run, params=[Param("new", "1"), Param("depth", "7")])
    assert client.get_run(run).data.params == {"depth": "6"}


def test_a_run_is_renamed(client, experiment):
    run = client.create_run(experiment, run_name="before").info.run_id
    client.update_run(run, name="after")
    assert client.get_run(run).info.run_name == "after"
    client.set_tag(run, "mlflow.runName", "at last")
    assert client.get_run(run).info.run_name == "at last"
    client.update_run(run, status="FINISHED")
    assert client.get_run(run).info.status == "FINISHED"


def test_a_run_is_deleted_and_restored(client, experiment):
    run = client.create_run(experiment).info.run_id
    client.delete_run(run)
    assert client.get_run(run).info.lifecycle_stage == "deleted"
    assert client.search_runs([experiment]) == []
    with pytest.raises(MlflowException, match="active"):
        client.log_param(run, "a", 1)
    client.restore_run(run)
    client.log_param(run, "a", 1)
    assert client.get_run(run).data.params == {"a": "1"}


def test_datasets_that_a_run_took_in(client, experiment):
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]})
    dataset = mlflow.data.from_pandas(frame, name="small", source="https://example.org/small.csv")
    with mlflow.start_run() as run:
        mlflow.log_input(dataset, context="training", tags={"part": "1"})
    (taken,) = client.get_run(run.info.run_id).inputs.dataset_inputs
    assert (taken.dataset.name, taken.dataset.digest) == ("small", dataset.digest)
    assert {tag.key: tag.value for tag in taken.tags} == {"mlflow.data.context": "training", "part": "1"}
    loaded = mlflow.data.get_source(taken)
    assert loaded.to_dict()["url"] == "https://example.org/small.csv"
    for query in ("datasets.name = 'small'", "datasets.context = 'training'", "dataset.name LIKE 'sm%'"):
        assert [one.info.run_id for one in client.search_runs([experiment], query)] == [run.info.run_id]
    assert client.search_runs([experiment], "datasets.name = 'large'") == []


def test_what_cannot_be_written(client, experiment):
    run = client.create_run(experiment).info.run_id
    for key in ("../up", "a" * 300, ""):
        with pytest.raises(MlflowException) as error:
            client.log_param(run, key, 1)
        assert error.value.error_code == "INVALID_PARAMETER_VALUE"
    with pytest.raises(MlflowException) as error:
        client.log_param("0" * 32, "a", 1)
    assert error.value.error_code == "RESOURCE_DOES_NOT_EXIST"
    with pytest.raises(MlflowException) as error:
        client.delete_tag(run, "nothing")
    assert error.value.error_code == "RESOURCE_DOES_NOT_EXIST"
    assert client.get_run(run).data.params == {}


def test_autologging(client, experiment, data):
    from sklearn.linear_model import LogisticRegression

    X, y = data
    mlflow.sklearn.autolog(log_models=False, silent=True)
    try:
        with mlflow.start_run() as run:
            LogisticRegression(C=0.5, max_iter=3000).fit(X, y)
    finally:
        mlflow.sklearn.autolog(disable=True)
    found = client.get_run(run.info.run_id)
    assert found.data.params["C"] == "0.5"
    assert found.data.metrics["training_accuracy_score"] > 0.8
    assert found.inputs.dataset_inputs


def test_logging_beside_the_work(client, experiment):
    with mlflow.start_run() as run:
        waiting = [mlflow.log_metric("m", step, step=step, synchronous=False) for step in range(50)]
        mlflow.log_params({"a": 1, "b": 2}, synchronous=False)
        for one in waiting:
            one.wait()
    mlflow.flush_async_logging()
    assert len(client.get_metric_history(run.info.run_id, "m")) == 50
    assert client.get_run(run.info.run_id).data.params == {"a": "1", "b": "2"}


def test_system_metrics(client, experiment):
    from mlflow.store.tracking.rest_store import RestStore

    assert RestStore.get_metric_history_bulk_interval_from_steps is not None
    run = client.create_run(experiment).info.run_id
    for step in range(10):
        client.log_metric(run, "system/cpu_utilization_percentage", step * 10.0, step=step)
    name = "system/cpu_utilization_percentage"
    assert client.get_run(run).data.metrics[name] == 90.0
    store = client._tracking_client.store
    some = store.get_metric_history_bulk_interval_from_steps(run, name, [2, 4], 10)
    assert [one.value for one in some] == [20.0, 40.0]
