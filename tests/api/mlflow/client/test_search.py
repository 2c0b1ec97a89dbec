"""MLflow's filter strings, orders and pages, over runs."""

import mlflow
import pytest
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException


@pytest.fixture(scope="module")
def runs():
    """Ten runs: an experiment, and ids in the order of their making."""
    from os import environ
    from uuid import uuid4

    mlflow.set_tracking_uri(f"{environ['MODELWORKS_URL']}/mlflow")
    client = mlflow.MlflowClient()
    experiment = client.create_experiment(f"search {uuid4().hex}")
    made = []
    for i in range(10):
        run = client.create_run(experiment, run_name=f"Run-{i}", start_time=1_700_000_000_000 + i * 1000)
        client.log_param(run.info.run_id, "depth", i)
        client.log_param(run.info.run_id, "kind", "tree" if i % 2 else "Line")
        client.log_metric(run.info.run_id, "loss", i / 10)
        if i < 5:
            client.log_metric(run.info.run_id, "val loss", 1 - i / 10)
        client.set_tag(run.info.run_id, "half", "first" if i < 5 else "second")
        if i != 9:
            client.set_terminated(
                run.info.run_id,
                "FAILED" if i == 8 else "FINISHED",
                end_time=1_700_000_000_000 + i * 1000 + 500,
            )
        made.append(run.info.run_id)
    return experiment, made


CASES = [
    ("", range(9, -1, -1)),
    ("metrics.loss < 0.35", (3, 2, 1, 0)),
    ("metrics.loss >= 0.35 and metrics.loss != 0.5", (9, 8, 7, 6, 4)),
    ("metric.loss = 0.2", (2,)),
    ("metrics.`val loss` > 0.75", (2, 1, 0)),
    ('metrics."val loss" > 0.75', (2, 1, 0)),
    ("params.depth = '7'", (7,)),
    ("param.kind = 'tree' AND parameters.depth != '7'", (9, 5, 3, 1)),
    ("params.kind LIKE 'L%'", (8, 6, 4, 2, 0)),
    ("params.kind LIKE 'l%'", ()),
    ("params.kind ILIKE 'l%'", (8, 6, 4, 2, 0)),
    ("tags.half = 'first'", (4, 3, 2, 1, 0)),
    ("tag.half != 'first' and metrics.loss > 0.75", (9, 8)),
    ("tags.nothing = 'x'", ()),
    ("tags.nothing != 'x'", ()),
    ("attributes.status = 'RUNNING'", (9,)),
    ("attribute.status = 'FAILED'", (8,)),
    ("status != 'FINISHED'", (9, 8)),
    ("attributes.run_name = 'Run-3'", (3,)),
    ("run_name LIKE 'Run-%' and run_name ILIKE '%-4'", (4,)),
    ("tags.`mlflow.runName` = 'Run-3'", (3,)),
    ("tags.mlflow.runName = 'Run-3'", (3,)),
    ("attributes.start_time >= 1700000007000", (9, 8, 7)),
    ("attributes.end_time < 1700000001000", (0,)),
    ("metrics.loss > 0.1 and tags.half = 'first' and params.kind = 'tree'", (3,)),
]


@pytest.mark.parametrize(("query", "expected"), CASES, ids=[case[0] or "all" for case in CASES])
def test_a_filter(client, runs, query, expected):
    experiment, made = runs
    found = client.search_runs([experiment], query)
    assert [made.index(one.info.run_id) for one in found] == list(expected)


def test_ids_in_a_list(client, runs):
    experiment, made = runs
    wanted = ", ".join(f"'{one}'" for one in made[:3])
    found = client.search_runs([experiment], f"attributes.run_id IN ({wanted})")
    assert {one.info.run_id for one in found} == set(made[:3])
    found = client.search_runs([experiment], f"attributes.run_id = '{made[4]}'")
    assert [one.info.run_id for one in found] == [made[4]]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (["metrics.loss ASC"], range(10)),
        (["metrics.loss DESC"], range(9, -1, -1)),
        (["metrics.`val loss` ASC", "start_time ASC"], (4, 3, 2, 1, 0, 9, 8, 7, 6, 5)),
        (["params.kind ASC", "metrics.loss DESC"], (8, 6, 4, 2, 0, 9, 7, 5, 3, 1)),
        (["attributes.start_time ASC"], range(10)),
        (["tags.half DESC", "params.depth"], (5, 6, 7, 8, 9, 0, 1, 2, 3, 4)),
        (["run_name"], range(10)),
    ],
    ids=str,
)
def test_an_order(client, runs, order, expected):
    experiment, made = runs
    found = client.search_runs([experiment], order_by=order)
    assert [made.index(one.info.run_id) for one in found] == list(expected)


def test_pages(client, runs):
    experiment, made = runs
    seen, token = [], None
    while True:
        page = client.search_runs(
            [experiment], max_results=4, page_token=token, order_by=["metrics.loss ASC"]
        )
        assert len(page) <= 4
        seen += [one.info.run_id for one in page]
        token = page.token
        if token is None:
            break
    assert seen == made


def test_what_is_in_sight(client, runs):
    experiment, made = runs
    client.delete_run(made[0])
    try:
        assert len(client.search_runs([experiment])) == 9
        deleted = client.search_runs([experiment], run_view_type=ViewType.DELETED_ONLY)
        assert [one.info.run_id for one in deleted] == [made[0]]
        assert len(client.search_runs([experiment], run_view_type=ViewType.ALL)) == 10
    finally:
        client.restore_run(made[0])


def test_as_a_frame(runs):
    experiment, made = runs
    frame = mlflow.search_runs([experiment], "metrics.loss < 0.35", order_by=["metrics.loss DESC"])
    assert list(frame["run_id"]) == [made[i] for i in (3, 2, 1, 0)]
    assert list(frame["metrics.loss"]) == [0.3, 0.2, 0.1, 0.0]
    assert list(frame["params.depth"]) == ["3", "2", "1", "0"]
    assert list(frame["tags.half"]) == ["first"] * 4


@pytest.mark.parametrize(
    "query", ["metrics.loss >", "nothing = 1", "params.a ~ 'x'", "metrics.loss = 'a'", "(("]
)
def test_what_cannot_be_read(client, runs, query):
    with pytest.raises(MlflowException) as error:
        client.search_runs([runs[0]], query)
    assert error.value.error_code == "INVALID_PARAMETER_VALUE"
