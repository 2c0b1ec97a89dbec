"""MLflow's door over real HTTP: tokens and roles, limits, errors in MLflow's form; its searches on either ledger."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import pytest

from modelworks.access import tokens
from modelworks.api.mlflow import app as _app  # noqa: F401 - enters the calls
from modelworks.api.mlflow.calls import CALLS, Door
from modelworks.cli.template import make
from modelworks.core.clock import system_clock
from modelworks.factory import Factory
from modelworks.sdk.process import start

API = "/mlflow/api/2.0/mlflow"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str], Path]]:
    """A server with small limits that asks for tokens; its URL, tokens by role, its folder."""
    folder = tmp_path_factory.mktemp("project")
    make(folder)
    with (folder / "modelworks.toml").open("a") as file:
        file.write("\n")
    with Factory(folder) as factory, factory.stores.ledger.write() as db:
        given = {role: tokens.create(db, role, role, system_clock()) for role in tokens.ROLES}
    limits = {"MODELWORKS_SERVER_MAX_BODY": "100000", "MODELWORKS_SERVER_MAX_ARTIFACT": "1000000"}
    with patch.dict(os.environ, limits):
        server = start(folder)
    with server:
        yield server.url, given, folder


def client(guarded: tuple[str, dict[str, str], Path], role: str = "builder") -> httpx.Client:
    headers = {"authorization": f"Bearer {guarded[1][role]}"} if role else {}
    return httpx.Client(base_url=guarded[0], headers=headers)


@pytest.fixture
def http(guarded: tuple[str, dict[str, str], Path]) -> Iterator[httpx.Client]:
    with client(guarded) as made:
        yield made


@pytest.fixture
def run(http: httpx.Client) -> str:
    made = http.post(f"{API}/runs/create", json={"experiment_id": "0", "run_name": "r"})
    return str(made.json()["run"]["info"]["run_id"])


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error_code"]


def test_every_call_asks_for_its_role(guarded: tuple[str, dict[str, str], Path]) -> None:
    with client(guarded, "") as nobody, client(guarded, "reader") as reader:
        for call in CALLS:
            path = "/mlflow/api/2.0/" + call.path.replace("{model_id}", "m-0").replace("{tag_key}", "a")
            assert code(nobody.request(call.method, path)) == (401, "UNAUTHENTICATED"), path
            answer = reader.request(call.method, path)
            if call.role == "reader":
                assert answer.status_code in (200, 400, 404), path
            else:
                assert code(answer) == (403, "PERMISSION_DENIED"), path
        file = "/mlflow/api/2.0/mlflow-artifacts/artifacts/0/x/artifacts/y"
        assert code(reader.put(file, content=b"x")) == (403, "PERMISSION_DENIED")
        assert code(reader.delete(file)) == (403, "PERMISSION_DENIED")
        assert code(reader.get(file))[0] == 400
        assert nobody.get(file).headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("method", "path", "content", "expected"),
    [
        ("GET", "/runs/nothing", None, (404, "ENDPOINT_NOT_FOUND")),
        ("POST", "/runs/get", b"{}", (404, "ENDPOINT_NOT_FOUND")),
        ("POST", "/runs/create", b"{", (400, "INVALID_PARAMETER_VALUE")),
        ("POST", "/runs/create", b"[]", (400, "INVALID_PARAMETER_VALUE")),
        ("POST", "/runs/create", b'{"start_time": "soon"}', (400, "INVALID_PARAMETER_VALUE")),
        ("POST", "/runs/create", b'{"experiment_id": "../0"}', (404, "RESOURCE_DOES_NOT_EXIST")),
        ("POST", "/runs/search", b'{"max_results": 10000000}', (400, "INVALID_PARAMETER_VALUE")),
        ("POST", "/runs/search", b'{"experiment_ids": ["0"], "page_token": "x"}', (400, "INVALID_PARAMETER_VALUE")),
        ("GET", "/registered-models/get?name=../x", None, (400, "INVALID_PARAMETER_VALUE")),
        ("GET", "/experiments/get", None, (400, "INVALID_PARAMETER_VALUE")),
    ],
)  # fmt: skip
def test_errors_have_mlflow_s_form(
    http: httpx.Client, method: str, path: str, content: bytes | None, expected: tuple[int, str]
) -> None:
    assert code(http.request(method, API + path, content=content)) == expected


def test_a_body_and_a_file_have_their_limits(
    guarded: tuple[str, dict[str, str], Path], http: httpx.Client, run: str
) -> None:
    assert http.post(f"{API}/runs/create", content=b" " * 200_000).status_code == 413
    place = f"/mlflow/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts"
    assert http.put(f"{place}/fits", content=b"x" * 900_000).status_code == 200
    assert http.put(f"{place}/large", content=b"x" * 1_100_000).status_code == 413
    assert http.put(f"{place}/chunked", content=(b"x" * 100_000 for _ in range(12))).status_code == 413
    assert http.get(f"{place}/fits").content == b"x" * 900_000
    listed = http.get(f"{API}/artifacts/list", params={"run_id": run}).json()["files"]
    assert listed == [{"path": "fits", "is_dir": False, "file_size": 900_000}]


def test_half_a_file_is_none(guarded: tuple[str, dict[str, str], Path], http: httpx.Client, run: str) -> None:
    url = httpx.URL(guarded[0])
    with socket.create_connection((url.host, url.port or 80)) as wire:
        path = f"/mlflow/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/half"
        head = (f"PUT {path} HTTP/1.1\r\nHost: {url.host}\r\nContent-Length: 500000\r\n"
                f"Authorization: Bearer {guarded[1]['builder']}\r\n\r\n")  # fmt: skip
        wire.sendall(head.encode() + b"x" * 200_000)
        incoming = guarded[2] / ".modelworks" / "incoming"
        while not any(incoming.iterdir()):
            pass
    while any(incoming.iterdir()):
        pass
    assert http.get(f"{API}/artifacts/list", params={"run_id": run}).json()["files"] == []


def test_runs_of_the_factory_are_not_written_to(
    guarded: tuple[str, dict[str, str], Path], http: httpx.Client
) -> None:
    with Factory(guarded[2]) as factory:
        factory.ingest()
        factory.train()
        (trained,) = factory.runs("kind = 'training'")
    answer = http.post(f"{API}/runs/set-tag", json={"run_id": trained["id"], "key": "a", "value": "b"})
    assert code(answer) == (409, "RESOURCE_CONFLICT")
    found = http.get(f"{API}/runs/get", params={"run_id": trained["id"]}).json()["run"]
    assert {metric["key"] for metric in found["data"]["metrics"]} >= {"roc_auc", "log_loss"}


def test_what_was_done_is_in_the_audit_trail(
    guarded: tuple[str, dict[str, str], Path], http: httpx.Client
) -> None:
    assert http.post(f"{API}/registered-models/create", json={"name": "audited"}).status_code == 200
    with Factory(guarded[2]) as factory:
        row = next(one for one in factory.audit() if one["what"] == "model:audited")
    assert (row["who"], row["verb"]) == ("builder", "mlflow create_registered_model")


# -- searches, on either ledger ------------------------------------------------------------------------------


@pytest.fixture
def asked(tmp_path: Path, ledger_url: str) -> Iterator[Any]:
    """Answers calls of a project on a ledger of each kind."""
    (tmp_path / "factory.py").write_text("")
    with patch.dict(os.environ, {"MODELWORKS_LEDGER_URL": ledger_url} if ledger_url else {}):
        factory = Factory(tmp_path)
    calls = {(call.method, call.path): call for call in CALLS}
    door = Door(factory, "me")
    yield lambda method, path, **given: calls[method, f"mlflow/{path}"](door, given)
    factory.close()


def test_runs_are_searched(asked: Any) -> None:
    made = []
    for i in range(4):
        tags = [{"key": "team", "value": "Ab"[i % 2]}]
        run = asked("POST", "runs/create", run_name=f"Run_{i}", start_time=1000 + i, tags=tags)["run"][
            "info"
        ]["run_id"]
        points = [{"key": "loss", "value": i / 4, "step": step} for step in range(3)]
        asked(
            "POST", "runs/log-batch", run_id=run, metrics=points, params=[{"key": "depth", "value": str(i)}]
        )
        dataset = {"name": f"d{i % 2}", "digest": "1"}
        asked("POST", "runs/log-inputs", run_id=run, datasets=[{"dataset": dataset}])
        made.append(run)

    def found(text: str, *order: str) -> list[int]:
        rows = asked("POST", "runs/search", experiment_ids=["0"], filter=text, order_by=order)["runs"]
        return [made.index(row["info"]["run_id"]) for row in rows]

    assert found("") == [3, 2, 1, 0]
    assert found("metrics.loss > 0.2 and params.depth != '2'") == [3, 1]
    assert found("tags.team LIKE 'a%'") == []
    assert found("tags.team ILIKE 'a%'", "metrics.loss ASC") == [0, 2]
    assert found("run_name LIKE 'Run_%' and datasets.name = 'd1'") == [3, 1]
    assert found("attributes.start_time > 1001", "start_time ASC") == [2, 3]
    assert found("run_name LIKE 'Run*'") == []
    assert len(asked("GET", "metrics/get-history", run_id=made[0], metric_key="loss")["metrics"]) == 3


def test_experiments_and_logged_models_are_searched(asked: Any) -> None:
    numbers = [
        asked("POST", "experiments/create", name=f"e{i}", tags=[{"key": "k", "value": str(i)}])[
            "experiment_id"
        ]
        for i in range(3)
    ]
    rows = asked(
        "POST", "experiments/search", filter="tags.k != '1' and name LIKE 'e%'", order_by=["name DESC"]
    )
    assert [row["experiment_id"] for row in rows["experiments"]] == [numbers[2], numbers[0]]
    run = asked("POST", "runs/create", experiment_id=numbers[0])["run"]["info"]["run_id"]
    ids = []
    for i in range(3):
        params = [{"key": "depth", "value": str(i)}]
        model = asked("POST", "logged-models", experiment_id=numbers[0], name=f"m{i}", params=params)[
            "model"
        ]["info"]
        asked("POST", "runs/log-metric", run_id=run, key="auc", value=i / 4, model_id=model["model_id"])
        ids.append(model["model_id"])

    def found(text: str, **order: Any) -> list[int]:
        rows = asked("POST", "logged-models/search", experiment_ids=[numbers[0]], filter=text, **order)[
            "models"
        ]
        return [ids.index(row["info"]["model_id"]) for row in rows]

    assert found("metrics.auc >= 0.25 and params.depth = '2'") == [2]
    assert found("", order_by=[{"field_name": "metrics.auc"}]) == [0, 1, 2]
    assert found("name ILIKE 'M%'", order_by=[{"field_name": "params.depth", "ascending": False}]) == [
        2,
        1,
        0,
    ]


def test_models_and_versions_are_searched(asked: Any) -> None:
    run = asked("POST", "runs/create")["run"]["info"]
    asked("POST", "registered-models/create", name="first", tags=[{"key": "team", "value": "a"}])
    asked("POST", "registered-models/create", name="second")
    for i in range(3):
        asked("POST", "model-versions/create", name="first", source=f"s3://bucket/{i}", run_id=run["run_id"],
              tags=[{"key": "round", "value": str(i)}])  # fmt: skip
    asked("POST", "registered-models/alias", name="first", alias="best", version="2")

    def models(text: str) -> list[str]:
        return [
            row["name"] for row in asked("GET", "registered-models/search", filter=text)["registered_models"]
        ]

    def versions(text: str, *order: str) -> list[str]:
        found = asked("GET", "model-versions/search", filter=text, order_by=order)["model_versions"]
        return [row["version"] for row in found]

    assert models("tags.team = 'a'") == ["first"]
    assert models("name ILIKE 'SEC%'") == ["second"]
    assert models("tag.`mlflow.prompt.is_prompt` != 'true'") == ["first", "second"]
    assert versions("name = 'first' and tags.round != '1'", "version_number ASC") == ["1", "3"]
    assert versions(f"run_id = '{run['run_id']}'") == ["3", "2", "1"]
    assert versions("source_path LIKE 's3://bucket/%' and version_number > 2") == ["3"]
    assert (
        asked("GET", "registered-models/alias", name="first", alias="best")["model_version"]["version"] == "2"
    )
    asked("POST", "model-versions/transition-stage", name="first", version="1", stage="Staging")
    newest = asked("GET", "registered-models/get-latest-versions", name="first")["model_versions"]
    assert {row["current_stage"]: row["version"] for row in newest} == {"Staging": "1", "None": "3"}
    asked("POST", "registered-models/rename", name="first", new_name="third")
    assert versions("name = 'third'", "version_number DESC") == ["3", "2", "1"]
    asked("DELETE", "model-versions/delete", name="third", version="3")
    asked("DELETE", "registered-models/delete", name="third")
    assert models("") == ["second"]
