"""Experiments."""

import mlflow
import pytest
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException


def test_an_experiment_is_made_and_found(client, name):
    made = client.create_experiment(name, tags={"team": "pricing"})
    assert client.get_experiment(made).name == name
    found = client.get_experiment_by_name(name)
    assert found.experiment_id == made
    assert found.tags == {"team": "pricing"}
    assert found.lifecycle_stage == "active"
    assert found.creation_time > 1_600_000_000_000
    assert client.get_experiment_by_name(f"{name}-not") is None


def test_a_name_is_given_once(client, name):
    client.create_experiment(name)
    with pytest.raises(MlflowException) as error:
        client.create_experiment(name)
    assert error.value.error_code == "RESOURCE_ALREADY_EXISTS"


def test_experiments_are_searched(client, name):
    made = [client.create_experiment(f"{name}-{i}", tags={"round": str(i % 2)}) for i in range(5)]
    found = client.search_experiments(filter_string=f"name LIKE '{name}-%'")
    assert {one.experiment_id for one in found} == set(made)
    assert client.search_experiments(filter_string=f"name LIKE '{name.upper()}-%'") == []
    assert len(client.search_experiments(filter_string=f"name ILIKE '{name.upper()}-%'")) == 5
    odd = client.search_experiments(filter_string=f"name LIKE '{name}-%' AND tags.round = '1'")
    assert {one.name for one in odd} == {f"{name}-1", f"{name}-3"}
    ordered = client.search_experiments(filter_string=f"name LIKE '{name}-%'", order_by=["name DESC"])
    assert [one.name for one in ordered] == [f"{name}-{i}" for i in (4, 3, 2, 1, 0)]
    first = client.search_experiments(filter_string=f"name LIKE '{name}-%'", max_results=3)
    rest = client.search_experiments(
        filter_string=f"name LIKE '{name}-%'", max_results=3, page_token=first.token
    )
    assert len(first) == 3
    assert len(rest) == 2
    assert rest.token is None
    assert any(one.name == "Default" for one in client.search_experiments())


def test_an_experiment_is_renamed_with_its_runs(client, name):
    made = client.create_experiment(name)
    run = client.create_run(made)
    client.rename_experiment(made, f"{name}-b")
    assert client.get_experiment(made).name == f"{name}-b"
    assert client.get_run(run.info.run_id).info.experiment_id == made
    assert [one.info.run_id for one in client.search_runs([made])] == [run.info.run_id]


def test_an_experiment_is_deleted_and_restored_with_its_runs(client, name):
    made = client.create_experiment(name)
    kept, gone = client.create_run(made).info.run_id, client.create_run(made).info.run_id
    client.delete_run(gone)
    client.delete_experiment(made)
    assert client.get_experiment(made).lifecycle_stage == "deleted"
    assert client.get_run(kept).info.lifecycle_stage == "deleted"
    deleted = client.search_experiments(view_type=ViewType.DELETED_ONLY, filter_string=f"name = '{name}'")
    assert [one.experiment_id for one in deleted] == [made]
    with pytest.raises(MlflowException, match="deleted"):
        client.create_run(made)
    client.restore_experiment(made)
    assert client.get_experiment(made).lifecycle_stage == "active"
    assert client.get_run(kept).info.lifecycle_stage == "active"
    assert client.get_run(gone).info.lifecycle_stage == "deleted"


def test_tags_of_an_experiment(client, name):
    made = client.create_experiment(name)
    client.set_experiment_tag(made, "a", "1")
    client.set_experiment_tag(made, "b", "2")
    client.set_experiment_tag(made, "a", "3")
    client.delete_experiment_tag(made, "b")
    assert client.get_experiment(made).tags == {"a": "3"}


def test_what_is_not_there(client):
    with pytest.raises(MlflowException) as error:
        client.get_experiment("987654321")
    assert error.value.error_code == "RESOURCE_DOES_NOT_EXIST"
    assert mlflow.get_experiment("0").name == "Default"
