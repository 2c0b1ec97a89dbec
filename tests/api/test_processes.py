"""Several server processes on one port: real ones, killed and told to end under load."""

from __future__ import annotations

import re
import shutil
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil
import pytest

from modelworks.factory import Factory
from modelworks.sdk.process import Server, start
from modelworks.serving.gathered import labelled, merged


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def servers(parent: int) -> list[psutil.Process]:
    return [one for one in psutil.Process(parent).children() if "server" in one.cmdline()]


def counted(url: str) -> dict[str, float]:
    """Requests that were answered, by process."""
    text = httpx.get(f"{url}/metrics", timeout=30).text
    assert text.count("# TYPE modelworks_requests_total counter") == 1
    return {
        found[1]: float(found[2])
        for found in re.finditer(r'^modelworks_requests_total\{process="(\d+)",.*\} (\S+)$', text, re.M)
    }


class Load:
    """Asks without a pause, a connection each time; what breaks is noted."""

    def __init__(self, url: str, row: dict[str, float]) -> None:
        self.url, self.row = url, row
        self.ids: list[str] = []
        self.refused: list[int] = []
        self.broken = 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        while not self.over.is_set():
            try:
                reply = httpx.post(f"{self.url}/predict/diagnosis", json={"rows": [self.row]}, timeout=60)
            except httpx.HTTPError:
                self.broken += 1
                continue
            if reply.status_code == 200:
                self.ids.append(reply.json()["predictions"][0]["id"])
            else:
                self.refused.append(reply.status_code)

    def end(self) -> None:
        self.over.set()
        self.thread.join(60)


@pytest.mark.fault
def test_one_is_killed_under_load(trained: Path, row: dict[str, float]) -> None:
    with start(trained, workers=2) as server:
        loads = [Load(server.url, row) for _ in range(3)]
        first = servers(server.process.pid)
        assert len(first) == 2
        until(lambda: all(len(load.ids) > 20 for load in loads), "answers")
        first[0].kill()
        at = [len(load.ids) for load in loads]
        until(lambda: all(len(one.ids) > n + 20 for one, n in zip(loads, at, strict=True)), "answers go on")
        until(lambda: len(counted(server.url)) == 2, "another takes its place")
        now = {str(one.pid) for one in servers(server.process.pid)}
        assert set(counted(server.url)) == now != {str(one.pid) for one in first}
        for load in loads:
            load.end()
            assert load.refused == []
            assert load.broken <= 1  # what was open where it was killed
    with Factory(trained) as factory:
        factory.drain()
        logged = factory.stores.tables.scan("predictions").select("id").collect()["id"].to_list()
    told = [id for load in loads for id in load.ids]
    assert len(set(logged)) == len(logged)
    assert set(told) <= set(logged)


@pytest.mark.fault
def test_they_end_with_the_one_that_started_them(trained: Path) -> None:
    server: Server = start(trained, worker=True, workers=2)
    below = psutil.Process(server.process.pid).children(recursive=True)
    assert len(below) >= 3
    server.process.kill()
    server.process.wait(20)
    assert psutil.wait_procs(below, 60)[1] == []
    if server.process.stdout is not None:
        server.process.stdout.close()


def test_told_to_end_they_drain(trained: Path, row: dict[str, float]) -> None:
    with start(trained, workers=2) as server:
        with httpx.Client(base_url=server.url, timeout=30) as client:
            ask = {"rows": [row]}
            assert client.post("/predict/diagnosis", json=ask).status_code == 200
            server.process.send_signal(signal.SIGTERM)
            # The connection that is open ends with an answer.
            assert client.post("/predict/diagnosis", json=ask).status_code == 200
        assert server.process.wait(60) == 0
    assert list((trained / ".modelworks" / "servers").iterdir()) == []


def test_a_new_champion_is_live_in_all(trained: Path, tmp_path: Path, row: dict[str, float]) -> None:
    folder = tmp_path / "project"
    shutil.copytree(trained, folder)
    with start(folder, workers=2) as server, Factory(folder) as factory:
        factory.train(force=True)
        (before,) = [one["version"] for one in factory.deployments()]
        other = 1 if before == 2 else 2
        factory.deploy(f"diagnosis@{other}")

        def everywhere() -> bool:
            """Whether many connections led to both processes, and all were answered by the new one."""
            counts = counted(server.url)
            with ExitStack() as stack:
                clients = [stack.enter_context(httpx.Client(timeout=30)) for _ in range(24)]
                url, ask = f"{server.url}/predict/diagnosis", {"rows": [row]}
                with ThreadPoolExecutor(24) as pool:
                    replies = list(pool.map(lambda one: one.post(url, json=ask).json(), clients))
            versions = {reply["predictions"][0]["version"] for reply in replies}
            grown = [process for process, count in counted(server.url).items() if count > counts[process]]
            return versions == {other} and len(grown) == 2

        until(everywhere, "the new champion answers in both")


def test_metrics_of_several_are_one_text() -> None:
    one = '# HELP a Of a {thing}.\n# TYPE a gauge\na{x="1"} 2.0\n# HELP b B.\n# TYPE b gauge\nb 1.0\n'
    text = merged([labelled(one, "7"), labelled(one, "8")])
    assert text == (
        '# HELP a Of a {thing}.\n# TYPE a gauge\na{process="7",x="1"} 2.0\na{process="8",x="1"} 2.0\n'
        '# HELP b B.\n# TYPE b gauge\nb{process="7"} 1.0\nb{process="8"} 1.0\n'
    )
