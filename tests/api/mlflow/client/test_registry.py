"""Registered models and their versions."""

import time

import mlflow
import pytest
from mlflow.exceptions import MlflowException


@pytest.fixture
def source(client, experiment):
    """Where a run has logged something like a model."""
    run = client.create_run(experiment).info
    client.log_text(run.run_id, "flavors: {}\n", "model/MLmodel")
    return f"{run.artifact_uri}/model"


@pytest.fixture
def model(client, name, source):
    """A registered model with three versions."""
    client.create_registered_model(name, tags={"team": "pricing"}, description="what it is for")
    for i in range(3):
        client.create_model_version(name, source, tags={"round": str(i)}, description=f"number {i}")
    return name


def test_a_model_is_made_and_found(client, name):
    made = client.create_registered_model(name, tags={"team": "pricing"}, description="what it is for")
    assert made.name == name
    found = client.get_registered_model(name)
    assert (found.description, found.tags) == ("what it is for", {"team": "pricing"})
    assert found.creation_timestamp > 1_600_000_000_000
    assert found.latest_versions == []
    with pytest.raises(MlflowException) as error:
        client.create_registered_model(name)
    assert error.value.error_code == "RESOURCE_ALREADY_EXISTS"
    with pytest.raises(MlflowException) as error:
        client.get_registered_model(f"{name}-not")
    assert error.value.error_code == "RESOURCE_DOES_NOT_EXIST"


def test_a_model_is_changed(client, model):
    client.update_registered_model(model, description="something else")
    client.set_registered_model_tag(model, "a", "1")
    client.set_registered_model_tag(model, "b", "2")
    client.delete_registered_model_tag(model, "a")
    found = client.get_registered_model(model)
    assert found.description == "something else"
    assert found.tags == {"team": "pricing", "b": "2"}
    assert found.last_updated_timestamp >= found.creation_timestamp


def test_models_are_searched(client, name):
    for i in range(5):
        client.create_registered_model(f"{name}-{i}", tags={"half": "ab"[i // 3]})
        time.sleep(0.002)  # two in one millisecond have no order

    def found(text, **more):
        return [one.name[-1] for one in client.search_registered_models(text, **more)]

    assert found(f"name LIKE '{name}-%'") == ["0", "1", "2", "3", "4"]
    assert found(f"name ILIKE '{name.upper()}-%' AND tags.half = 'b'") == ["3", "4"]
    assert found(f"name = '{name}-2'") == ["2"]
    assert found(f"name LIKE '{name}-%'", order_by=["last_updated_timestamp DESC"]) == [
        "4",
        "3",
        "2",
        "1",
        "0",
    ]
    assert found(f"name LIKE '{name}-%'", order_by=["name DESC"]) == ["4", "3", "2", "1", "0"]
    first = client.search_registered_models(f"name LIKE '{name}-%'", max_results=3)
    rest = client.search_registered_models(f"name LIKE '{name}-%'", max_results=3, page_token=first.token)
    assert (len(first), len(rest)) == (3, 2)


def test_versions_are_found(client, model, source):
    found = client.get_model_version(model, "2")
    assert (found.version, found.description, found.tags) == ("2", "number 1", {"round": "1"})
    assert (found.source, found.status, found.current_stage) == (source, "READY", "None")
    assert [one.version for one in client.search_model_versions(f"name = '{model}'")] == ["3", "2", "1"]
    tagged = client.search_model_versions(f"name = '{model}' AND tags.round = '2'")
    assert [one.version for one in tagged] == ["3"]
    run = source.split("/")[-3]
    assert {one.name for one in client.search_model_versions(f"run_id = '{run}'")} == {model}
    numbered = client.search_model_versions(f"name = '{model}'", order_by=["version_number ASC"])
    assert [one.version for one in numbered] == ["1", "2", "3"]
    pages = client.search_model_versions(f"name = '{model}'", max_results=2)
    assert len(client.search_model_versions(f"name = '{model}'", max_results=2, page_token=pages.token)) == 1
    with pytest.raises(MlflowException) as error:
        client.get_model_version(model, "99")
    assert error.value.error_code == "RESOURCE_DOES_NOT_EXIST"


def test_a_version_is_changed(client, model):
    client.update_model_version(model, "1", "better words")
    client.set_model_version_tag(model, "1", "a", "1")
    client.set_model_version_tag(model, "1", "b", "2")
    client.delete_model_version_tag(model, "1", "b")
    found = client.get_model_version(model, "1")
    assert found.description == "better words"
    assert found.tags == {"round": "0", "a": "1"}
    assert client.get_model_version(model, "2").tags == {"round": "1"}


def test_aliases(client, model):
    client.set_registered_model_alias(model, "best", "1")
    client.set_registered_model_alias(model, "other", "1")
    client.set_registered_model_alias(model, "best", "2")
    assert client.get_model_version_by_alias(model, "best").version == "2"
    assert client.get_registered_model(model).aliases == {"best": "2", "other": "1"}
    assert client.get_model_version(model, "1").aliases == ["other"]
    client.delete_registered_model_alias(model, "best")
    with pytest.raises(MlflowException) as error:
        client.get_model_version_by_alias(model, "best")
    assert error.value.error_code == "RESOURCE_DOES_NOT_EXIST"
    with pytest.raises(MlflowException):
        client.set_registered_model_alias(model, "best", "99")
    with pytest.raises(MlflowException):
        client.set_registered_model_alias(model, "latest", "1")


@pytest.mark.filterwarnings("ignore")
def test_stages_are_labels(client, model):
    client.transition_model_version_stage(model, "1", "Staging")
    client.transition_model_version_stage(model, "2", "production")
    newest = {one.current_stage: one.version for one in client.get_latest_versions(model)}
    assert newest == {"Staging": "1", "Production": "2", "None": "3"}
    client.transition_model_version_stage(model, "3", "Production", archive_existing_versions=True)
    assert client.get_model_version(model, "2").current_stage == "Archived"
    assert [one.version for one in client.get_latest_versions(model, ["Production"])] == ["3"]
    with pytest.raises(MlflowException, match="Invalid Model Version stage"):
        client.transition_model_version_stage(model, "1", "Nowhere")


def test_the_address_of_the_files(client, model, source, tmp_path):
    address = client.get_model_version_download_uri(model, "1")
    place = mlflow.artifacts.download_artifacts(address, dst_path=str(tmp_path))
    with open(f"{place}/MLmodel") as file:
        assert file.read() == "flavors: {}\n"


def test_the_files_of_a_version_do_not_follow_its_run(client, model, source):
    client.log_text(source.split("/")[-3], "something else", "model/MLmodel")
    assert mlflow.artifacts.load_text(f"models:/{model}/1/MLmodel") == "flavors: {}\n"


def test_a_version_is_copied(client, model, name):
    copied = client.copy_model_version(f"models:/{model}/2", f"{name}-copy")
    assert (copied.name, copied.version, copied.source) == (f"{name}-copy", "1", f"models:/{model}/2")
    assert mlflow.artifacts.load_text(f"models:/{name}-copy/1/MLmodel") == "flavors: {}\n"


def test_a_model_is_renamed(client, model):
    client.set_registered_model_alias(model, "best", "2")
    client.rename_registered_model(model, f"{model}-b")
    found = client.get_registered_model(f"{model}-b")
    assert (found.aliases, found.tags) == ({"best": "2"}, {"team": "pricing"})
    assert client.get_model_version(f"{model}-b", "1").description == "number 0"
    with pytest.raises(MlflowException):
        client.get_registered_model(model)


def test_versions_and_models_are_deleted(client, model, source):
    client.set_registered_model_alias(model, "best", "3")
    client.delete_model_version(model, "3")
    with pytest.raises(MlflowException):
        client.get_model_version(model, "3")
    assert client.get_registered_model(model).aliases == {}
    assert client.create_model_version(model, source).version == "4", "a number is not given again"
    client.delete_registered_model(model)
    with pytest.raises(MlflowException) as error:
        client.get_registered_model(model)
    assert error.value.error_code == "RESOURCE_DOES_NOT_EXIST"
    assert client.search_model_versions(f"name = '{model}'") == []


@pytest.mark.parametrize(
    "source", ["/etc/passwd", "file:///etc", "runs:/nothing/model", "models:/m-none", "nothing"]
)
def test_sources_that_are_none(client, name, source):
    client.create_registered_model(name)
    with pytest.raises(MlflowException) as error:
        client.create_model_version(name, source)
    assert error.value.error_code in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST")
    assert client.search_model_versions(f"name = '{name}'") == []


@pytest.mark.parametrize("bad", ["../up", "a/b", "", "a" * 200, "@x"])
def test_names_that_are_none(client, bad):
    with pytest.raises(MlflowException):
        client.create_registered_model(bad)


def test_models_that_the_factory_made(client):
    """Of the project that the server runs."""
    found = client.get_registered_model("diagnosis")
    assert found.latest_versions[0].version == "1"
    assert found.aliases == {"champion": "1"}
    version = client.get_model_version_by_alias("diagnosis", "champion")
    run = client.get_run(version.run_id)
    assert run.data.metrics["roc_auc"] > 0.9
    client.set_registered_model_tag("diagnosis", "seen", "yes")
    assert client.get_registered_model("diagnosis").tags["seen"] == "yes"
    for refused in (
        lambda: client.delete_registered_model("diagnosis"),
        lambda: client.rename_registered_model("diagnosis", "other"),
        lambda: client.delete_model_version("diagnosis", "1"),
        lambda: client.delete_registered_model_alias("diagnosis", "champion"),
    ):
        with pytest.raises(MlflowException):
            refused()
    assert client.get_model_version_by_alias("diagnosis", "champion").version == "1"
