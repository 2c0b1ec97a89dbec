"""The API over real HTTP: every verb, every kind of error, tokens, and no way in for strangers' pages."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from modelworks.cli.template import make
from modelworks.core.clock import system_clock
from modelworks.core.errors import Denied, Invalid, NotFound, TooMany, Unknown
from modelworks.data.arrow import MEDIA, to_arrow
from modelworks.factory import VERBS, Factory
from modelworks.sdk.client import connect
from modelworks.sdk.process import start


@pytest.fixture(scope="module")
def http(server: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server) as client:
        yield client


def test_every_verb_is_described_with_an_example_for_the_model(http: httpx.Client) -> None:
    document = http.get("/openapi.json").json()
    for name, route in VERBS.items():
        assert route.method.lower() in document["paths"][route.path], name
    example = document["paths"]["/predict/diagnosis"]["post"]["requestBody"]["content"]["application/json"][
        "example"
    ]
    assert http.post("/predict/diagnosis", json=example).status_code == 200


@pytest.mark.parametrize("path", ["/", "/docs", "/metrics", "/healthz", "/readyz", "/v2", "/v2/health/ready"])
def test_the_doors_are_open(http: httpx.Client, path: str) -> None:
    assert http.get(path).status_code == 200


def test_the_client_has_the_verbs(server: str, row: dict[str, float]) -> None:
    with connect(server) as client:
        assert client.models()[0]["name"] == "diagnosis"
        (answer,) = client.predict("diagnosis", [row])["predictions"]
        assert client.outcomes([{"prediction_id": answer["id"], "value": 1}]) == {"accepted": 1}
        assert client.why(prediction_id=answer["id"])["model_version"]["ref"].startswith("diagnosis@")
        with pytest.raises(NotFound, match="diagnosys"):
            client.model(ref="diagnosys")
        with pytest.raises(Invalid):
            client.predict("diagnosis", [{**row, "radius": None}])


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/api/model?ref=nothing", None, 404, "not_found"),
        ("GET", "/api/model?ref=../../etc", None, 400, "invalid"),
        ("GET", "/api/runs?limit=many", None, 400, "invalid"),
        ("GET", "/api/why", None, 400, "invalid"),
        ("GET", "/nowhere", None, 404, "not_found"),
        ("POST", "/api/rollback", {"ref": "diagnosis"}, 409, "conflict"),
        ("POST", "/api/deploy", {"ref": "diagnosis@99"}, 404, "not_found"),
        ("POST", "/api/deploy", {"reference": "diagnosis@1"}, 400, "invalid"),
        ("POST", "/ingest/nothing", {"rows": [{"a": 1}]}, 404, "not_found"),
        ("POST", "/ingest/tumours", {"row": 1}, 400, "invalid"),
        ("POST", "/predict/nothing", {"rows": [{}]}, 404, "not_found"),
        ("DELETE", "/api/models", None, 405, "invalid"),
    ],
)
def test_errors_have_a_kind_and_a_way_out(
    http: httpx.Client, method: str, path: str, body: Any, status: int, code: str
) -> None:
    answer = http.request(method, path, json=body)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["code"] == code
    assert error["what"]
    assert error["fix"]


def test_a_stranger_s_page_is_refused(http: httpx.Client) -> None:
    evil = {"origin": "http://evil.example"}
    assert http.post("/api/deploy", json={"ref": "diagnosis@1"}, headers=evil).status_code == 403
    assert http.get("/api/models", headers={"host": "evil.example"}).status_code == 403


def test_pushed_rows_are_held_against_the_contract(tmp_path: Path) -> None:
    make(tmp_path)
    good = {"sample": "p1", "taken": "2024-03-01T10:00:00Z", "radius": 1, "texture": 1, "smoothness": 1,
            "concavity": 1, "symmetry": 1, "malignant": 0}  # fmt: skip
    with start(tmp_path) as server, connect(server.url) as client:
        told = client.push("tumours", [good, {**good, "sample": "p2", "radius": -1}])
        assert (told["rows_added"], told["rows_quarantined"]) == (1, 1)
        assert "radius" in client.quarantine(dataset="tumours")[0]["reason"]


def test_a_token_opens_what_its_role_allows(tmp_path: Path, row: dict[str, float]) -> None:
    from modelworks.access import tokens

    make(tmp_path)
    with Factory(tmp_path) as factory:
        factory.ingest()
        factory.train()
        with factory.stores.ledger.write() as db:
            reader = tokens.create(db, "page", "reader", system_clock())
            admin = tokens.create(db, "me", "admin", system_clock())
            caller = tokens.create(db, "shop", "caller", system_clock(), ["diag*"], 0.01)
            other = tokens.create(db, "other", "caller", system_clock(), ["churn"])
    with start(tmp_path) as server:
        assert httpx.get(f"{server.url}/healthz").status_code == 200
        assert httpx.get(f"{server.url}/api/models").status_code == 401
        assert httpx.post(f"{server.url}/predict/diagnosis", json={"rows": [row]}).status_code == 401
        with connect(server.url, reader) as client:
            assert client.predict("diagnosis", [row])["predictions"]
            assert client.models()
            with pytest.raises(Denied, match="builder"):
                client.train()
            with pytest.raises(Denied, match="admin"):
                client.audit()
        with connect(server.url, admin) as client:
            assert client.audit()
            assert [one["caller"] for one in client.predictions()] == ["page"]
            assert client.predictions(caller="nobody") == []
        with connect(server.url, "mw_wrong") as client, pytest.raises(Unknown):
            client.models()
        with connect(server.url, caller) as client:
            assert client.predict("diagnosis", [row])["predictions"]
            with pytest.raises(TooMany, match=r"'shop' asks too often; 0\.01 requests a second"):
                client.predict("diagnosis", [row])
            with pytest.raises(Denied, match="a reader is needed"):
                client.models()
        with connect(server.url, other) as client, pytest.raises(Denied, match="may not ask the model"):
            client.predict("diagnosis", [row])


def test_it_will_not_listen_to_the_world_without_a_token(tmp_path: Path) -> None:
    from modelworks.api.guard import Guard

    make(tmp_path)
    with Factory(tmp_path) as factory, pytest.raises(Invalid, match="without a token"):
        Guard(factory.stores.ledger, "0.0.0.0")


def test_rows_as_arrow_and_each_delivery_once(tmp_path: Path) -> None:
    make(tmp_path)
    rows = pl.DataFrame(
        {
            "sample": pl.Series(["x1", "x2"], dtype=pl.Categorical), "taken": [datetime(2024, 3, 1)] * 2,
            "radius": [9.0, -9.0], "texture": pl.Series([2, 2], dtype=pl.Int8),
            "smoothness": ["0.1", "0.1"], "concavity": [0.1, 0.1],
            "symmetry": pl.Series(["0.1", "0.1"]).cast(pl.Decimal(9, 2)), "malignant": [True, False],
        }
    )  # fmt: skip
    with start(tmp_path) as server, connect(server.url) as client:
        for frame in (rows, rows.to_pandas(), rows.to_arrow()):
            report = client.push("tumours", frame, id=type(frame).__module__)
            assert (report["rows_added"], report["rows_quarantined"]) == (1, 1)
        again = client.push("tumours", rows, id=type(rows).__module__)
        assert (again["version"], "came before" in again["notes"][0]) == (None, True)
        with pytest.raises(Invalid, match="too long"):
            client.push("tumours", rows, id="x" * 201)
        assert client.push("tumours", rows.to_dicts(), id="as JSON")["rows_added"] == 1
        assert client.dataset(ref="tumours")["versions"][0]["rows"] == 1
        url, stream = f"{server.url}/ingest/tumours", {"content-type": MEDIA[0]}
        file = BytesIO()
        rows.write_ipc(file, compression="zstd")
        sent = httpx.post(url, content=file.getvalue(), headers={"content-type": MEDIA[1]})
        assert sent.json()["rows_added"] == 1
        whole = to_arrow(rows)
        huge = pl.DataFrame(
            {"radius": pl.Series(["x" * 400_000]).cast(pl.Categorical).new_from_index(0, 90_000)}
        )
        wide = pa.table({"radius": pa.array([1], pa.decimal256(60, 2))})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, wide.schema) as writer:
            writer.write_table(wide)
        zeros = pl.DataFrame({"radius": np.zeros(20_000_000)})
        for content, code in (
            (b"", "invalid"), (b"nothing", "invalid"), (whole[:100], "invalid"),
            (whole[:40] + b"\xff" * 400, "invalid"),
            (to_arrow(pl.DataFrame({"radius": pl.Series([None]).new_from_index(0, 300_000_000)})), "too_large"),
            (to_arrow(huge), "too_large"), (sink.getvalue().to_pybytes(), "invalid"),
            (to_arrow(rows.head(0)), "invalid"), (to_arrow(zeros), "too_large"),
        ):  # fmt: skip
            refused = httpx.post(url, content=content, headers=stream, timeout=60)
            assert refused.status_code in (400, 413)
            assert refused.json()["error"]["code"] == code
