"""A real server process over real sockets: HTTP's corners, slow and greedy clients, swaps under load."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import serve_world as world
from serve_world import Wire

from modelworks.serving import log_search, prediction_log
from modelworks.stores import Stores

BODY = json.dumps({"rows": [world.ROW]}).encode()
HEAD = b"POST /predict/delay HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
REQUEST = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
LIMIT = 200_000


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Stores:
    return world.make_world(tmp_path_factory.mktemp("server"))


@pytest.fixture(scope="module")
def port(stores: Stores) -> Iterator[int]:
    state = stores.spool.parent
    with world.server_process(state, max_body=LIMIT, request=1.0, idle=30.0) as (process, port):
        yield port
        process.terminate()
        assert process.wait(20) == 0


def test_keep_alive_and_a_head_seen_before(port: int) -> None:
    ids = set()
    with Wire(port) as wire:
        for _ in range(5):
            wire.send(REQUEST)
            status, headers, answer = wire.answer()
            assert status == 200
            assert "date" in headers
            ids.add(answer["predictions"][0]["id"])
    assert len(ids) == 5


@pytest.mark.parametrize("size", [1, 7, 60, 200])
def test_requests_in_pieces(port: int, size: int) -> None:
    with Wire(port) as wire:
        wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(REQUEST), size):
            wire.send(REQUEST[start : start + size])
        assert wire.answer()[0] == 200
        wire.send(REQUEST)
        assert wire.answer()[0] == 200


def test_pipelined_requests_are_answered_in_order(port: int) -> None:
    def row(carrier: str) -> bytes:
        body = json.dumps({"rows": [{**world.ROW, "carrier": carrier}]}).encode()
        return HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body

    ready = b"GET /v2/health/ready HTTP/1.1\r\nHost: x\r\n\r\n"
    bad = HEAD + b"Content-Length: 1\r\n\r\n{"
    with Wire(port) as wire:
        wire.send(row("UA") + ready + row("ZZ") + bad + row("AA") + ready + ready + row("UA"))
        answers = [wire.answer() for _ in range(8)]
    assert [status for status, _, _ in answers] == [200, 200, 200, 400, 200, 200, 200, 200]
    segments = [a["predictions"][0]["segment"] if "predictions" in a else a for _, _, a in answers]
    told = {"ready": True}
    assert segments[:3] + segments[4:] == ["UA,EWR", told, "", "", told, told, "UA,EWR"]


def test_chunked_bodies(port: int) -> None:
    chunks = (
        b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (BODY[:5], BODY[5:40], BODY[40:]))
        + b"0\r\n\r\n"
    )
    with Wire(port) as wire:
        for _ in range(2):
            wire.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
            assert wire.answer()[0] == 200
        wire.send(REQUEST)
        assert wire.answer()[0] == 200


@pytest.mark.parametrize("path", [b"/predict/delay", b"/outcomes", b"/nowhere"])
def test_a_body_over_the_limit_is_refused_and_the_client_sees_it(port: int, path: bytes) -> None:
    big = b"x" * (100 * 1024 * 1024)
    with httpx.Client() as client:
        answer = client.post(f"http://127.0.0.1:{port}{path.decode()}", content=big)
        assert answer.status_code == 413
        assert answer.json()["error"]["code"] == "too_large"
    if path == b"/nowhere":  # not found is known before the body
        return
    with Wire(port) as wire:
        wire.send(b"POST %b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" % path)
        wire.send(b"%x\r\n%b\r\n" % (2 * LIMIT, big[: 2 * LIMIT]))
        assert wire.answer()[0] == 413
        assert wire.ended()


def test_what_came_before_a_refused_request_is_answered(port: int) -> None:
    ready = b"GET /v2/health/ready HTTP/1.1\r\nHost: x\r\n\r\n"
    with Wire(port) as wire:
        wire.send(ready + REQUEST + ready + HEAD + b"Content-Length: 999999999\r\n\r\nx")
        assert [wire.answer()[0] for _ in range(3)] == [200, 200, 200]
        assert wire.ended()


def test_expect_continue(port: int) -> None:
    with Wire(port) as wire:
        wire.send(HEAD + b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n" % len(BODY))
        assert wire.head()[0] == 100
        wire.send(BODY)
        assert wire.answer()[0] == 200
        wire.send(HEAD + b"Content-Length: 999999999\r\nExpect: 100-continue\r\n\r\n")
        assert wire.answer()[0] == 413


def test_connections_that_end(port: int) -> None:
    with Wire(port) as wire:
        wire.send(REQUEST.replace(b"Host: x", b"Connection: close"))
        status, headers, _ = wire.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert wire.ended()
    with Wire(port) as wire:
        wire.send(REQUEST.replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert wire.answer()[0] == 200
        assert wire.ended()
    with Wire(port) as wire:
        wire.send(REQUEST)
        wire.socket.shutdown(socket.SHUT_WR)
        assert wire.answer()[0] == 200


@pytest.mark.parametrize(
    "nonsense",
    [
        b"nonsense\r\n\r\n",
        b"POST /predict/delay HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"POST /predict/delay HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"POST /predict/delay HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET http:// HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_not_http(port: int, nonsense: bytes) -> None:
    with Wire(port) as wire:
        wire.send(REQUEST + nonsense)
        assert wire.answer()[0] == 200
        status, _, answer = wire.answer()
        assert status in (400, 404)
        assert set(answer["error"]) == {"code", "what", "why", "fix"}


def test_methods_over_the_wire(port: int) -> None:
    with world.client(port) as client:
        assert client.options("/predict/delay").headers["allow"] == "POST, OPTIONS"
        assert client.get("/predict/delay").status_code == 405
        head = client.head("/v2/models/delay")
        assert (head.status_code, head.content) == (200, b"")
        assert int(head.headers["content-length"]) == len(client.get("/v2/models/delay").content)
        assert client.get("/nowhere").status_code == 404
        assert client.post("/predict/delay?trace=1", content=BODY).status_code == 200
        assert client.post("/predict/..%2f..%2fetc", content=BODY).status_code == 400
        large = {"rows": [world.ROW] * 1500}
        assert len(client.post("/predict/delay", json=large).json()["predictions"]) == 1500


def test_a_request_that_does_not_arrive_is_ended_and_others_go_on(port: int) -> None:
    with Wire(port) as slow, Wire(port) as half, Wire(port) as quick:
        slow.send(REQUEST[:20])
        half.send(REQUEST[:-5])
        quick.send(REQUEST)
        assert quick.answer()[0] == 200
        for wire in (slow, half):
            status, _, answer = wire.answer()
            assert status == 408
            assert "in time" in answer["error"]["what"]
            assert wire.ended()


def pour(connection: socket.socket) -> int:
    """Send requests until nothing more is taken; returns the bytes."""
    sent = 0
    try:
        while True:
            sent += connection.send(REQUEST)
    except TimeoutError:
        return sent


def test_a_client_that_does_not_read_is_not_read_from(stores: Stores) -> None:
    # Of a server that is patient: what is not read from waits for the system to bring the rest of it.
    with (
        world.server_process(stores.spool.parent) as (_, port),
        Wire(port, buffer=65536) as greedy,
        Wire(port) as other,
    ):
        greedy.socket.settimeout(0.5)
        sent = pour(greedy.socket)
        other.send(REQUEST)
        assert other.answer()[0] == 200
        greedy.socket.settimeout(20)
        whole = sent // len(REQUEST)
        assert whole > 100
        for number in range(whole - 1):
            told = greedy.answer()
            assert told[0] == 200, (number, whole, told)


def test_a_swap_under_load_drops_nothing_and_answers_with_what_is_live(stores: Stores, port: int) -> None:
    versions = {1: world.fit(2)}
    live = {1}
    lock = threading.Lock()
    done = threading.Event()
    seen: list[tuple[int, set[int]]] = []
    failures: list[Any] = []

    def ask() -> None:
        with Wire(port) as wire:
            while not done.is_set():
                with lock:
                    may = set(live)
                wire.send(REQUEST)
                status, _, answer = wire.answer()
                with lock:
                    may |= live
                if status != 200:
                    failures.append(answer)
                    return
                seen.append((answer["predictions"][0]["version"], may))

    def answered_by(version: int) -> None:
        """Wait until a swap has arrived."""
        with Wire(port) as wire:
            while True:
                wire.send(REQUEST)
                if wire.answer()[2]["predictions"][0]["version"] == version:
                    return

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for seed in range(10, 16):
            version = world.register(
                stores, "delay", ("UA", "EWR"), versions.setdefault(seed, world.fit(seed))
            )
            with lock:
                live.add(version)
            world.promote(stores, "delay", ("UA", "EWR"), version)
            answered_by(version)
            with lock:
                live.intersection_update({version})
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert not failures
    assert len({version for version, _ in seen}) >= 6
    assert all(version in may for version, may in seen)


def test_a_new_segment_and_model_go_live_without_a_restart(stores: Stores, port: int) -> None:
    body = json.dumps({"rows": [{**world.ROW, "carrier": "B6", "origin": "JFK"}]}).encode()
    with world.client(port) as client:
        assert client.post("/predict/delay", content=body).json()["predictions"][0]["segment"] == ""
        world.deploy(stores, "delay", ("B6",), world.fit(5))
        while (
            found := client.post("/predict/delay", content=body).json()["predictions"][0]["segment"]
        ) != "B6":
            assert found == ""
        assert client.post("/predict/late", content=BODY).status_code == 404
        world.declare(stores, "late", world.FEATURES)
        world.deploy(stores, "late", (), world.fit(6))
        while client.post("/predict/late", content=BODY).status_code != 200:
            pass


def test_who_may_predict_and_who_may_no_longer(stores: Stores, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first")
    with world.server_process(stores.spool.parent, token=str(token)) as (_, port), Wire(port) as wire:
        known = REQUEST.replace(b"Host: x", b"Authorization: Bearer first")
        for _ in range(3):
            wire.send(known)
            assert wire.answer()[0] == 200
            wire.send(REQUEST)
            status, headers, answer = wire.answer()
            assert (status, headers["www-authenticate"], answer["error"]["code"]) == (
                401,
                "Bearer",
                "unknown",
            )
        token.write_text("second")
        status = 200
        while status == 200:  # until the head that was remembered is asked for again
            wire.send(known)
            status = wire.answer()[0]
        assert status == 401


def test_who_asks_too_often_is_told_so_in_its_place(stores: Stores, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first 0.01")
    with world.server_process(stores.spool.parent, token=str(token)) as (_, port), Wire(port) as wire:
        known = REQUEST.replace(b"Host: x", b"Authorization: Bearer first")
        wire.send(known)
        assert wire.answer()[0] == 200
        wire.send(known * 3)  # one after the other on the wire, and parsed each
        for _ in range(3):
            status, headers, answer = wire.answer()
            assert (status, answer["error"]["code"]) == (429, "too_many")
            assert 50 < int(headers["retry-after"]) <= 100
        wire.send(known)  # a head that is known, if the first one was kept
        assert wire.answer()[0] == 429
        chunked = b"POST /predict/delay HTTP/1.1\r\nAuthorization: Bearer first\r\nTransfer-Encoding: chunked\r\n\r\n"
        wire.send(chunked + b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY))
        assert wire.answer()[0] == 429
        secret = known.replace(b"/predict/delay", b"/predict/secret")
        wire.send(secret)
        status, headers, answer = wire.answer()
        assert (status, answer["error"]["code"]) == (403, "denied")
        assert "www-authenticate" not in headers


def test_a_second_server_on_the_port_says_so(stores: Stores, port: int) -> None:
    command = world.server_command(stores.spool.parent, port=port)
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0
    assert "cannot listen" in done.stderr


def test_everything_that_was_acknowledged_is_in_the_log(stores: Stores, port: int, tmp_path: Path) -> None:
    with world.client(port) as client:
        ids = [client.post("/predict/delay", content=BODY).json()["predictions"][0]["id"] for _ in range(20)]
        client.post("/predict/delay", content=b"{")
    assert all(log_search.find(stores, one) for one in ids[::7])
    prediction_log.drain(stores)
    logged = stores.tables.scan("predictions").select("id").collect()["id"]
    assert set(ids) <= set(logged)
    assert logged.n_unique() == len(logged)
