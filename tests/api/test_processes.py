"""Several server processes on one port: one server to whoever asks, also while some of them die."""

from __future__ import annotations

import shutil
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from modelworks.core.errors import Unavailable
from modelworks.factory import Factory
from modelworks.sdk.process import Server, start
from modelworks.serving import inference_pb2 as pb
from modelworks.serving.gathered import labelled, merged

PATIENCE = 60.0


@pytest.fixture
def project(trained: Path, tmp_path: Path) -> Path:
    """A project of its own, trained."""
    return Path(shutil.copytree(trained, tmp_path / "project", ignore=shutil.ignore_patterns("servers")))


def until(holds: Callable[[], Any]) -> Any:
    """Wait until something holds."""
    deadline = time.monotonic() + PATIENCE
    while not (found := holds()):
        assert time.monotonic() < deadline, holds
        time.sleep(0.02)
    return found


def servers(parent: int) -> list[psutil.Process]:
    """The server processes of a parent."""
    found = []
    for one in psutil.Process(parent).children():
        try:
            if "server" in one.cmdline():
                found.append(one)
        except psutil.Error:
            continue
    return found


def counted(url: str, name: str) -> dict[str, float]:
    """A metric by process."""
    text = httpx.get(f"{url}/metrics").text
    return {
        sample.labels["process"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and sample.labels.get("model") == "diagnosis"
    }


def ask(url: str, row: dict[str, float]) -> dict[str, Any]:
    """One request on a connection of its own."""
    answer = httpx.post(f"{url}/predict/diagnosis", json={"rows": [row]}, timeout=PATIENCE)
    assert answer.status_code == 200, answer.text
    return dict(answer.json()["predictions"][0])


@pytest.fixture(scope="module")
def pair(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path, int]]:
    """Two processes, that answer gRPC as well."""
    folder = tmp_path_factory.mktemp("pair") / "project"
    shutil.copytree(trained, folder, ignore=shutil.ignore_patterns("servers"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    toml = folder / "modelworks.toml"
    toml.write_text(toml.read_text().replace("[server]", f"[server]\nworkers = 2\ngrpc_port = {port}"))
    with start(folder) as server:
        yield server, folder, port


def test_all_of_them_answer_and_whichever_is_asked_tells_what_all_have_counted(
    pair: tuple[Server, Path, int], row: dict[str, float]
) -> None:
    server, _, _ = pair
    assert len(servers(server.process.pid)) == 2
    before = sum(counted(server.url, "modelworks_requests_total").values())
    asked = 0

    def both() -> bool:
        nonlocal asked
        for _ in range(20):
            ask(server.url, row)
            asked += 1
        return len([n for n in counted(server.url, "modelworks_requests_total").values() if n]) == 2

    until(both)
    told = {frozenset(counted(server.url, "modelworks_requests_total").items()) for _ in range(10)}
    assert len(told) == 1  # whoever was asked
    by = dict(next(iter(told)))
    assert set(by) == {str(one.pid) for one in servers(server.process.pid)}
    assert sum(by.values()) == before + asked
    assert "modelworks_processes 2.0" in httpx.get(f"{server.url}/metrics").text


def test_grpc_is_answered_by_all_of_them_on_one_port(
    pair: tuple[Server, Path, int], row: dict[str, float]
) -> None:
    server, _, port = pair
    before = counted(server.url, "modelworks_requests_total")
    request = pb.ModelInferRequest(model_name="diagnosis")
    for name, value in row.items():
        made = request.inputs.add(name=name, datatype="FP32", shape=[1])
        made.contents.fp32_contents.append(value)

    def both() -> bool:
        for _ in range(10):
            options = [("grpc.use_local_subchannel_pool", 1)]  # a connection of its own
            with grpc.insecure_channel(f"127.0.0.1:{port}", options) as channel:
                call = channel.unary_unary(
                    "/inference.GRPCInferenceService/ModelInfer",
                    pb.ModelInferRequest.SerializeToString,
                    pb.ModelInferResponse.FromString,
                )
                assert call(request, timeout=PATIENCE).model_name == "diagnosis"
        now = counted(server.url, "modelworks_requests_total")
        return all(now[process] > before.get(process, 0) for process in now)

    until(both)


def test_a_new_champion_is_live_in_all_of_them(pair: tuple[Server, Path, int], row: dict[str, float]) -> None:
    server, folder, _ = pair
    with Factory(folder) as factory:
        factory.train(force=True)
        factory.deploy("diagnosis@2", "to see it change")

        def everywhere() -> bool:
            return {ask(server.url, row)["version"] for _ in range(30)} == {2}

        until(everywhere)
        factory.rollback("diagnosis", "and back")
        until(lambda: {ask(server.url, row)["version"] for _ in range(30)} == {1})


class Load:
    """Asks again and again, on connections that stay; notes what was answered, and which connections broke."""

    def __init__(self, url: str, row: dict[str, float]) -> None:
        self.url = url
        self.row = row
        self.over = threading.Event()
        self.answered: list[str] = []
        self.refused: list[str] = []
        self.broken = 0
        self.threads = [threading.Thread(target=self._ask) for _ in range(4)]
        for thread in self.threads:
            thread.start()

    def _ask(self) -> None:
        while not self.over.is_set():
            with httpx.Client(base_url=self.url, timeout=PATIENCE) as client:
                try:
                    while not self.over.is_set():
                        answer = client.post("/predict/diagnosis", json={"rows": [self.row]})
                        if answer.status_code == 200:
                            self.answered.append(answer.json()["predictions"][0]["id"])
                        else:
                            self.refused.append(answer.text)
                        if answer.headers.get("connection") == "close":
                            break
                except httpx.ConnectError:
                    if self.over.is_set():
                        return
                    self.refused.append("nobody listens")
                    return
                except httpx.TransportError:
                    self.broken += 1

    def goes_on(self) -> None:
        """Wait until some more is answered."""
        before = len(self.answered)
        until(lambda: len(self.answered) > before + 50)

    def end(self) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join(PATIENCE)


@pytest.mark.fault
def test_one_that_is_killed_takes_only_its_connections_with_it_and_the_end_is_orderly(
    project: Path, row: dict[str, float]
) -> None:
    with start(project, workers=2) as server:
        load = Load(server.url, row)
        load.goes_on()
        for _ in range(3):
            victim = servers(server.process.pid)[0]
            victim.kill()
            load.goes_on()
            until(lambda gone=victim.pid: gone not in {one.pid for one in servers(server.process.pid)})
            until(lambda: len(servers(server.process.pid)) == 2)
        load.goes_on()
        # Those whose connection was open there, and nobody else.
        assert load.broken <= 3 * len(load.threads)
        broken = load.broken
        assert load.refused == []
        load.over.set()  # before the last answers: whoever asks afterwards would find nobody
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE) == 0
        load.end()
        assert load.broken == broken
        assert load.refused == []
    with Factory(project) as factory:
        factory.drain()
        logged = Counter(factory.stores.tables.scan("predictions").select("id").collect()["id"].to_list())
    assert set(load.answered) <= set(logged)
    assert set(logged.values()) == {1}
    assert not list((project / ".modelworks" / "servers").glob("*.sock"))


@pytest.mark.fault
def test_when_the_first_is_killed_all_end(project: Path, row: dict[str, float]) -> None:
    with start(project, workers=2, worker=True) as server:
        ask(server.url, row)
        family = psutil.Process(server.process.pid).children(recursive=True)
        assert len(servers(server.process.pid)) == 2
        server.process.kill()
        server.process.wait()
        psutil.wait_procs(family, PATIENCE)
        assert [one for one in family if one.is_running() and one.status() != psutil.STATUS_ZOMBIE] == []
    with start(project, workers=2) as server:  # and the next one begins as ever
        ask(server.url, row)
        assert len(counted(server.url, "modelworks_requests_total")) == 2


def test_what_keeps_them_from_starting_is_said(project: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(Unavailable) as caught:
            start(project, port=taken.getsockname()[1], workers=2)
    assert "cannot listen on" in str(caught.value)


def test_metrics_of_several_are_families_that_stand_once() -> None:
    one = '# HELP a Of a.\n# TYPE a counter\na{model="x"} 1.0\n# HELP b Of b.\n# TYPE b gauge\nb 2.0\n'
    other = '# HELP a Of a.\n# TYPE a counter\na{model="x"} 5.0\n'
    text = merged([labelled(one, "7"), labelled(other, "8")])
    assert text.count("# TYPE a counter") == 1
    found = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found == {
        ("a_total", ("model", "x"), ("process", "7")): 1.0,
        ("a_total", ("model", "x"), ("process", "8")): 5.0,
        ("b", ("process", "7")): 2.0,
    }
