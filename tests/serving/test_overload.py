"""More than a real server can do, and its end: who is refused is told at once, who is connected is answered."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import serve_world as world
from serve_world import Wire

from modelworks.serving import prediction_log
from modelworks.stores import Stores

BODY = json.dumps({"rows": [world.ROW]}).encode()
REQUEST = b"POST /predict/delay HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Stores:
    return world.make_world(tmp_path_factory.mktemp("overload"))


def refused(told: tuple[int, dict[str, str], Any]) -> bool:
    """Whether an answer says to come again; otherwise it has to be a prediction."""
    status, headers, answer = told
    if status == 200:
        assert answer["predictions"][0]["version"] == 1
        return False
    assert (status, answer["error"]["code"], headers["retry-after"]) == (503, "busy", "1")
    return True


def test_what_there_is_no_time_for_is_refused_and_in_its_place(stores: Stores) -> None:
    with (
        world.server_process(stores.spool.parent, wait=1e-9) as (_, port),
        Wire(port) as wire,
        Wire(port) as two,
    ):
        answered = 0
        for _ in range(3):  # the first slice is a guess, the next ones are not
            wire.send(REQUEST * 200)
            told = [refused(wire.answer()) for _ in range(200)]
            assert told == sorted(told)
            assert not told[0]
            assert told[-1]
            answered += told.count(False)
        two.send(REQUEST)  # alone it is answered
        assert not refused(two.answer())
        prediction_log.drain(stores)
        assert stores.tables.scan("predictions").collect().height == answered + 1


def test_each_of_many_that_come_at_once_is_told(stores: Stores) -> None:
    with world.server_process(stores.spool.parent, wait=1e-9) as (process, port):
        wires = [Wire(port) for _ in range(40)]
        for wire in wires:  # it is seen that there is time for one
            wire.send(REQUEST)
            wire.answer()
        os.kill(process.pid, signal.SIGSTOP)
        for wire in wires:
            wire.send(REQUEST)
        os.kill(process.pid, signal.SIGCONT)
        told = [refused(wire.answer()) for wire in wires]
        assert 1 <= told.count(False) < 20
        for wire in wires:
            wire.send(REQUEST)
            assert not refused(wire.answer())  # and the connection goes on
            wire.close()


def test_one_connection_too_many_is_told_so(stores: Stores) -> None:
    with (
        world.server_process(stores.spool.parent, connections=2) as (_, port),
        Wire(port) as first,
        Wire(port) as second,
    ):
        for wire in (first, second):
            wire.send(REQUEST)
            assert not refused(wire.answer())
        with Wire(port) as third:
            assert refused(third.answer())
            assert third.ended()
        first.send(REQUEST)
        assert not refused(first.answer())


def test_a_server_that_ends_answers_once_more(stores: Stores, tmp_path: Path) -> None:
    with world.server_process(stores.spool.parent, drain=60.0) as (process, port):
        wires = [Wire(port) for _ in range(3)]
        for wire in wires:
            wire.send(REQUEST)
            assert "connection" not in wire.answer()[1]
        process.terminate()
        told: list[dict[str, str]] = []
        while not told or "connection" not in told[-1]:  # until it has heard of it
            with Wire(port) as late:
                late.send(REQUEST)
                status, headers, _ = late.answer()
                assert status == 200
                told.append(headers)
        for wire in wires:
            wire.send(REQUEST)
            status, headers, _ = wire.answer()
            assert (status, headers["connection"]) == (200, "close")
            assert wire.ended()
            wire.close()
        assert process.wait(30) == 0  # nobody is connected: it does not wait for a minute
