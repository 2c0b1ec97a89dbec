"""The API does what its OpenAPI document says: nothing else comes back, whatever is sent."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from tests.api import fuzz

from modelworks.core.clock import system_clock
from modelworks.factory import VERBS, Factory
from modelworks.sdk.process import start

needs_schemathesis = pytest.mark.skipif(
    not fuzz.PYTHON.exists(), reason="schemathesis is not here: 'make clients' makes its environment"
)


@needs_schemathesis
def test_schemathesis_finds_nothing(server: str) -> None:
    fine, said = fuzz.held(server, seconds=12, cases=3)
    assert fine, said
    assert "Tested: " in said, said


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A project with a token, and the token."""
    from modelworks.access import tokens
    from modelworks.cli.template import make

    folder = tmp_path_factory.mktemp("guarded")
    make(folder)
    with Factory(folder) as factory, factory.stores.ledger.write() as db:
        return folder, tokens.create(db, "fuzz", "admin", system_clock())


@needs_schemathesis
def test_with_a_token_and_without(guarded: tuple[Path, str]) -> None:
    folder, token = guarded
    with start(folder) as server:
        authorization = {"Authorization": f"Bearer {token}"}
        document = httpx.get(f"{server.url}/openapi.json", headers=authorization).json()
        for path, methods in document["paths"].items():
            for method in methods:
                answer = httpx.request(method, server.url + path.replace("{", "").replace("}", ""))
                assert answer.status_code == 401, (method, path)
                assert isinstance(answer.json()["error"], str if path.startswith("/v2") else dict)
        fine, said = fuzz.held(
            server.url,
            seconds=6,
            cases=2,
            more=["-H", f"Authorization: Bearer {token}", "--phases", "examples,fuzzing"],
        )
        assert fine, said


def test_every_operation_says_how_it_refuses(server: str) -> None:
    document = httpx.get(f"{server}/openapi.json").json()
    for path, methods in document["paths"].items():
        for operation in methods.values():
            assert {"4XX", "503"} <= set(operation["responses"]), path
            assert "422" not in operation["responses"], path
    rows = document["paths"]["/predict/diagnosis"]["post"]["requestBody"]["content"]["application/json"][
        "schema"
    ]
    assert rows["properties"]["rows"]["items"]["properties"]["radius"]["type"] == "number"


@pytest.mark.parametrize("limit", [-1, 10**30])
@pytest.mark.parametrize("verb", ["audit", "predictions", "decisions", "alerts", "rollouts", "deployments"])
def test_no_number_is_too_large_for_the_database(server: str, verb: str, limit: int) -> None:
    answer = httpx.get(server + VERBS[verb].path, params={"limit": limit})
    assert answer.status_code == 400
    assert "limit" in answer.json()["error"]["what"]


def test_nothing_is_asked_for(server: str) -> None:
    assert httpx.get(f"{server}/api/predictions", params={"limit": 0}).json() == []


def test_more_days_than_a_calendar_has(server: str) -> None:
    answer = httpx.get(f"{server}/api/monitor", params={"model": "diagnosis", "days": 10**8})
    assert answer.status_code == 400


def test_a_dataset_that_is_not_there(server: str) -> None:
    answer = httpx.get(f"{server}/api/verify", params={"ref": "nothing"})
    assert answer.status_code == 404
    assert "nothing" in answer.json()["error"]["what"]
