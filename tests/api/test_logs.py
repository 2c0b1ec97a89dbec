"""What a running server tells of requests: ids that come back, a log for machines, spans for a collector."""

from __future__ import annotations

import gzip
import json
import queue
import shutil
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from modelworks.api import logs
from modelworks.core.errors import Invalid, Unavailable
from modelworks.sdk.process import start
from modelworks.serving.about import Traces, about

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


class Collector(ThreadingHTTPServer):
    """Takes spans as any collector of OTLP over HTTP does."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Taken)
        self.spans: queue.Queue[Any] = queue.Queue()


class Taken(BaseHTTPRequestHandler):
    """One export."""

    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.server.spans.put(span)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        threading.Thread(target=collector.serve_forever).start()
        yield collector
        collector.shutdown()


def test_a_request_is_found_again_in_answer_log_and_trace(
    trained: Path,
    tmp_path: Path,
    row: dict[str, float],
    collector: Collector,
    capfd: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(trained, tmp_path / "project")
    (tmp_path / "project" / "modelworks.toml").write_text(
        f'[server]\nlog = "json"\ntraces = "http://127.0.0.1:{collector.server_port}"\ntrace_share = 0.0\n'
    )
    sampled, unsampled = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"
    with start(tmp_path / "project") as server, httpx.Client(base_url=server.url, timeout=30) as client:
        for number in range(3):  # the same head but for the id
            told = client.post(
                "/predict/diagnosis", json={"rows": [row]}, headers={"x-request-id": f"mine-{number}"}
            )
            assert (told.status_code, told.headers["x-request-id"]) == (200, f"mine-{number}")
        wrong = client.post(
            "/predict/diagnosis", json={}, headers={"x-request-id": "bad", "traceparent": sampled}
        )
        assert (wrong.status_code, wrong.headers["x-request-id"]) == (400, "bad")
        plain = client.post("/predict/diagnosis", json={"rows": [row]}, headers={"traceparent": unsampled})
        assert "x-request-id" not in plain.headers
        meta = client.get("/v2/models/diagnosis", headers={"x-request-id": "meta", "traceparent": sampled})
        assert meta.headers["x-request-id"] == "meta"
        status = client.get("/api/status", headers={"x-request-id": "status", "traceparent": sampled})
        assert status.headers["x-request-id"] == "status"
        client.get("/api/why", params={"id": "nothing"}, headers={"x-request-id": "x" * 500})
    spans = {span.name: span for span in (collector.spans.get(timeout=30) for _ in range(3))}
    assert set(spans) == {"POST /predict/{model}", "GET /v2/models/{model}", "GET /api/status"}
    assert collector.spans.empty()
    for span in spans.values():
        assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
        assert 0 <= span.end_time_unix_nano - span.start_time_unix_nano < 30e9
    told_of = {one.key: one.value for one in spans["POST /predict/{model}"].attributes}
    assert told_of["http.response.status_code"].int_value == 400
    assert told_of["modelworks.model"].string_value == "diagnosis"
    assert told_of["modelworks.request_id"].string_value == "bad"
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    seen = {(line["message"], line["status"], line["request"]) for line in lines}
    assert seen == {("GET /api/status", 200, "status"), ("GET /api/why", 400, None)}
    assert all(line["level"] == "INFO" and line["milliseconds"] > 0 and line["time"] for line in lines)


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(Invalid, match=r"server\.log cannot be 'xml'"):
        logs.configure("xml")
    with pytest.raises(Invalid, match=r"server\.trace_share cannot be 2"):
        Traces("http://127.0.0.1:1", 2)
    assert about(None) is None
    assert about(None, b"line\r\nbreak") is None


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    with pytest.raises(Unavailable, match=r"modelworks\[otel\]"):
        Traces("http://127.0.0.1:1", 0.5)
