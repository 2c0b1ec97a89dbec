"""The server is killed under load, again and again: what it acknowledged is in the log exactly once."""

from __future__ import annotations

import json
import random
import re
import socket
import threading
from pathlib import Path

import pytest
import serve_world as world

from modelworks.serving import log_search, prediction_log
from modelworks.stores import Stores

KILLS = 20
CLIENTS = 4
_ID = re.compile(rb'"id":"([0-9a-f]{26}-\d+)"')


def load(port: int, acknowledged: list[str], going: threading.Event) -> None:
    """Ask until the server dies; note what was acknowledged whole."""
    body = json.dumps({"rows": [world.ROW, {**world.ROW, "carrier": "ZZ"}]}).encode()
    request = b"POST /predict/delay HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    buffer = b""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(request * 4)  # pipelined, so that a kill finds work at every stage
            while data := connection.recv(65536):
                buffer += data
                while (end := buffer.find(b"]}")) >= 0:
                    assert buffer.startswith(b"HTTP/1.1 200")
                    acknowledged += [found.decode() for found in _ID.findall(buffer[:end])]
                    buffer = buffer[end + 2 :]
                    if len(acknowledged) > 100:
                        going.set()
                    connection.sendall(request)
    except OSError:
        pass


@pytest.mark.fault
def test_every_acknowledged_prediction_is_in_the_log_exactly_once(tmp_path: Path) -> None:
    stores: Stores = world.make_world(tmp_path)
    rng = random.Random(0)
    acknowledged: list[str] = []
    with world.Servers(tmp_path) as servers:
        for number in range(KILLS):
            process, port = servers.start()
            mine: list[str] = []
            going = threading.Event()
            clients = [threading.Thread(target=load, args=(port, mine, going)) for _ in range(CLIENTS)]
            for client in clients:
                client.start()
            assert going.wait(30)
            threading.Event().wait(rng.uniform(0, 0.05))
            if number % 4 == 1:  # a drain beside the traffic changes nothing
                prediction_log.drain(stores)
            servers.kill(process)
            for client in clients:
                client.join()
            acknowledged += mine
        assert len(acknowledged) > KILLS * 100
        some = rng.sample(acknowledged, 5)
        process, _ = servers.start()
        assert all(log_search.find(stores, one) for one in some)
        prediction_log.drain(stores)
        servers.kill(process)
    logged = stores.tables.scan("predictions").select("id").collect()["id"]
    assert logged.n_unique() == len(logged)
    assert set(acknowledged) <= set(logged)
    prediction_log.drain(stores)
    assert not list(stores.spool.glob("*.predictions"))
    assert all(log_search.find(stores, one) for one in some)
