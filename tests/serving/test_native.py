"""Models that are not compiled: answered in worker processes that may die, in turn with everything else."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import psutil
import pytest
import serve_world as world

from modelworks.core.batch import Batch
from modelworks.core.errors import NotReady, Unavailable
from modelworks.models.package import Package, Proof
from modelworks.models.packaging import pack
from modelworks.models.signature_of import signature
from modelworks.serving.native.metrics import workers_text
from modelworks.serving.native.pool import Apart, Died
from modelworks.serving.native.pools import Pools
from modelworks.stores import Stores, open_stores
from modelworks.track import lock

X = pd.DataFrame({"x": np.arange(50.0), "file": ["nothing"] * 50})


def numbers(frame: pd.DataFrame) -> Any:
    """Twice the number."""
    return (frame["x"] * 2).to_numpy()


def fatal(frame: pd.DataFrame) -> Any:
    """Twice the number; 666 ends the process, 99 is refused."""
    import os
    import signal

    if (frame["x"] == 666).any():
        os.kill(os.getpid(), signal.SIGKILL)
    if (frame["x"] == 99).any():
        raise ValueError("no 99")
    return (frame["x"] * 2).to_numpy()


def where(frame: pd.DataFrame) -> Any:
    """The process and its interpreter."""
    import os
    import sys

    return [[os.getpid(), sys.prefix] for _ in range(len(frame))]


def waits(frame: pd.DataFrame) -> Any:
    """How many rows are asked together; waits for a file where one is named."""
    import os
    import time

    for name in frame["file"]:
        while name.startswith("/") and not os.path.exists(name):
            time.sleep(0.01)
    return np.full(len(frame), float(len(frame)))


def counts(row: dict[str, Any]) -> Iterator[int]:
    """The numbers below one."""
    yield from range(int(row["x"]))


def grows(kept: list[Any], frame: pd.DataFrame) -> Any:
    """Keeps 100 MB whenever it is asked for 555."""
    if (frame["x"] == 555).any():
        kept.append(np.ones(13_000_000))
    return np.full(len(frame), float(len(kept)))


def until(said: Callable[[], Any], seconds: float = 60) -> Any:
    """What is said, as soon as it is true."""
    end = time.monotonic() + seconds
    while not (found := said()):
        assert time.monotonic() < end
        time.sleep(0.01)
    return found


def deploy(stores: Stores, name: str, function: Any, columns: list[str]) -> None:
    """A function as the champion of a model."""
    world.declare(stores, name, columns)
    world.deploy(stores, name, (), (function, X[columns], numbers(X)))


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    """A ledger with `score`, which is compiled."""
    found = open_stores(tmp_path)
    world.declare(found, "score", [f"x{n}" for n in range(10)])
    world.deploy(found, "score", (), world.fit_numbers())
    yield found
    found.ledger.close()


SCORE = {"rows": [{f"x{n}": 1.0 for n in range(10)}]}


def package(stores: Stores, function: Any, columns: list[str], environment: str = "") -> Package:
    """A packed function."""
    x = X[columns]
    made = signature(x, numbers(X), columns, function)
    return pack(function, made, x, stores.artifacts, code="", environment=environment, reference=None)


def batch(x: float) -> Batch:
    """One row."""
    return Batch(np.array([[x]], dtype=np.float32), np.empty((1, 0), dtype=object))


def ask(model: Apart, x: float) -> Any:
    """About one row."""
    return model.predict(batch(x))[0, 0]


@pytest.mark.fault
def test_a_row_that_ends_its_worker_harms_nobody_else(stores: Stores, tmp_path: Path) -> None:
    deploy(stores, "double", fatal, ["x"])
    with world.server_process(tmp_path, native="processes") as (_, port), world.client(port) as client:

        def post(x: float) -> httpx.Response:
            return client.post("/predict/double", json={"rows": [{"x": x}]})

        assert post(3).json()["predictions"][0]["output"] == 6
        refused = post(99)
        assert refused.status_code == 503
        assert "ValueError: no 99" in refused.text
        dead = post(666)
        assert dead.status_code == 503
        assert dead.json()["error"]["code"] == "not_ready"
        assert "SIGKILL" in dead.text
        assert client.post("/predict/score", json=SCORE).status_code == 200
        assert post(4).json()["predictions"][0]["output"] == 8
        until(lambda: "is not asked" in post(666).text)  # the model that goes on is taken out of use
        assert post(4).status_code == 503
        assert "again and again" in post(4).text
        assert client.post("/predict/score", json=SCORE).status_code == 200


@pytest.mark.fault
def test_whoever_waits_when_the_worker_is_killed_gets_an_answer(stores: Stores, tmp_path: Path) -> None:
    deploy(stores, "wait", waits, ["x", "file"])
    file = tmp_path / "go"
    with world.server_process(tmp_path, native="processes") as (process, port):
        rows = [{"x": 1.0, "file": str(file)}]
        with world.client(port) as client:
            client.post("/predict/wait", json={"rows": [{"x": 1.0, "file": "nothing"}]})
            answers: list[httpx.Response] = []
            asking = threading.Thread(
                target=lambda: answers.append(
                    httpx.post(f"http://127.0.0.1:{port}/predict/wait", json={"rows": rows}, timeout=60)
                )
            )
            asking.start()
            (worker,) = psutil.Process(process.pid).children()
            until(lambda: worker.cpu_times().user and worker.status() == psutil.STATUS_SLEEPING)
            # Nobody else has to wait for it.
            assert client.post("/predict/score", json=SCORE).status_code == 200
            worker.kill()
            until(lambda: worker not in psutil.Process(process.pid).children())
            file.touch()
            asking.join(60)
            assert answers[0].status_code == 200, answers[0].text


def test_what_arrives_while_the_worker_is_busy_is_one_batch(stores: Stores, tmp_path: Path) -> None:
    deploy(stores, "wait", waits, ["x", "file"])
    file = tmp_path / "go"

    def request(name: str) -> bytes:
        body = json.dumps({"rows": [{"x": 1.0, "file": name}]}).encode()
        return b"POST /predict/wait HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)

    def rows(wire: world.Wire) -> float:
        """How many were answered together."""
        return float(wire.answer()[2]["predictions"][0]["output"])

    with world.server_process(tmp_path, native="processes") as (_, port), ExitStack() as open_:
        first, last, *others = [open_.enter_context(world.Wire(port)) for _ in range(10)]
        for _ in range(3):  # a call in which a worker was started says little of the next
            first.send(request("nothing"))
            assert rows(first) == 1
        for wire in (first, *others):
            wire.send(request(str(file)))
        last.send(b"GET /v2/health/live HTTP/1.1\r\n\r\n")  # when this is answered, they have arrived
        assert last.answer()[0] == 200
        file.touch()
        assert sum(rows(wire) > 1 for wire in (first, *others)) >= 8


def test_answers_leave_in_the_order_in_which_they_were_asked(stores: Stores, tmp_path: Path) -> None:
    deploy(stores, "double", numbers, ["x"])

    def request(path: str, body: dict[str, Any]) -> bytes:
        content = json.dumps(body).encode()
        return b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (
            path.encode(),
            len(content),
            content,
        )

    with world.server_process(tmp_path, native="processes") as (_, port):
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            many = b"".join(
                request("/predict/double", {"rows": [{"x": n}]}) + request("/predict/score", SCORE)
                + b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n"
                for n in range(20)
            )  # fmt: skip
            connection.sendall(many[:300])
            connection.sendall(many[300:])
            connection.sendall(b"nonsense\r\n\r\n")
            got = b""
            while part := connection.recv(65536):
                got += part
        bodies = [one.partition(b"\r\n\r\n")[2] for one in got.split(b"HTTP/1.1 ")[1:]]
        assert len(bodies) >= 60, got[-300:]
        for n in range(20):
            double, score, live = (json.loads(body) for body in bodies[3 * n : 3 * n + 3])
            assert double["model"] == "double"
            assert double["predictions"][0]["output"] == 2 * n
            assert score["model"] == "score"
            assert live == {"live": True}


@pytest.mark.fault
def test_workers_end_with_the_server_however_it_ends(stores: Stores, tmp_path: Path) -> None:
    deploy(stores, "wait", waits, ["x", "file"])
    with world.server_process(tmp_path, native="processes") as (process, port):
        with world.client(port) as client:
            client.post("/predict/wait", json={"rows": [{"x": 1.0, "file": "nothing"}]})
        (worker,) = psutil.Process(process.pid).children()

        def hang() -> None:
            with pytest.raises(httpx.HTTPError):
                httpx.post(
                    f"http://127.0.0.1:{port}/predict/wait",
                    json={"rows": [{"x": 1.0, "file": "/never"}]},
                    timeout=60,
                )

        busy = threading.Thread(target=hang)
        busy.start()
        until(lambda: worker.status() == psutil.STATUS_SLEEPING)
        os.kill(process.pid, signal.SIGKILL)
        worker.wait(30)  # in the middle of a call
        busy.join(60)


def test_a_worker_that_grows_is_started_again_between_two_calls(stores: Stores) -> None:
    pools = Pools(stores.artifacts, memory=600_000_000)
    try:
        model = pools.predictor("grows@1", package(stores, partial(grows, []), ["x"]))
        (pool,) = pools
        assert ask(model, 0) == 0
        assert model.settle() >= 0
        steps = pools.predictor("steps@1", package(stores, counts, ["x"])).stream(batch(100_000))
        first = next(steps)
        before = pool.worker
        assert before is not None
        until(lambda: ask(model, 555) >= 0 and pool.counted.grown)
        assert ask(model, 0) == 0
        # What streams is given to its end by the worker that has grown, which ends with it.
        assert before.alive
        pieces = [piece for some in (first, *iter(lambda: next(steps, []), [])) for piece in some]
        assert pieces == [(0, b"%d" % number) for number in range(100_000)]
        until(lambda: not before.alive)
        assert pool.counted.crashes == 0
        assert pool.counted.starts == 2
    finally:
        pools.close()


@pytest.mark.fault
def test_the_model_that_ends_its_workers_is_paused_and_those_beside_it_are_not(
    stores: Stores, pools: Pools
) -> None:
    bad = pools.predictor("bad@1", package(stores, fatal, ["x"]))
    good = pools.predictor("good@1", package(stores, numbers, ["x"]))
    assert ask(good, 4) == 8
    with pytest.raises(Unavailable, match="no 99"):
        ask(bad, 99)
    for _ in range(3):
        with pytest.raises(Died, match="SIGKILL"):
            ask(bad, 666)
        assert ask(good, 4) == 8
    with pytest.raises(NotReady, match="again and again"):
        ask(bad, 1)
    told = workers_text(pools)
    assert 'modelworks_paused{version="bad@1"}' in told
    assert 'modelworks_worker_crashes_total{worker="python"} 3.0' in told
    bad.paused = 0.0  # its pause is over
    assert ask(bad, 1) == 2
    (pool,) = pools
    assert pool.counted.crashes == 3


def test_a_model_that_nobody_asks_any_more_leaves_its_worker(stores: Stores, pools: Pools) -> None:
    one, other = (pools.predictor(f"{name}@1", package(stores, numbers, ["x"])) for name in "ab")
    assert ask(one, 1) == ask(other, 1) == 2
    (pool,) = pools
    assert pool.worker is not None
    assert pool.worker.loaded == {one.key, other.key}
    one.leave()
    pools.tend()
    assert pool.worker.loaded == {other.key}
    assert ask(one, 1) == 2  # a question that began before a swap
    assert pool.worker.loaded == {other.key}


def test_a_model_is_answered_in_the_environment_that_was_made_of_its_lock(
    stores: Stores, tmp_path: Path
) -> None:
    document = lock.read(lock.environment(("numpy",))[1])
    document["packages"]["numpy"]["version"] = "1.0"  # made with another one than this process has
    environment = stores.artifacts.put(json.dumps(document).encode())
    made = package(stores, where, ["x"], environment)
    folder = tmp_path / "environments"
    pools = Pools(stores.artifacts, environments=folder)
    assert pools.predictor("before@1", made).pool.exe is None  # nobody has made it yet
    pools.close()

    from hashlib import sha256

    name = "\n".join([document["python"], *sorted(lock.requirements(document))])
    place = folder / sha256(name.encode()).hexdigest()[:16]
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    (site,) = place.glob("lib/python*/site-packages")
    (site / "all.pth").write_text("\n".join(entry for entry in sys.path if entry.endswith("site-packages")))
    (place / "house").mkdir()
    (place / "house" / "modelworks").symlink_to(Path(lock.__file__).parents[1])
    (place / "ready").touch()
    pools = Pools(stores.artifacts, environments=folder)
    try:
        process, prefix = ask(pools.predictor("after@1", made), 1)
        assert process != os.getpid()
        assert prefix == str(place)
    finally:
        pools.close()


def test_numbers_texts_and_plain_answers_go_over_as_they_are(stores: Stores, pools: Pools) -> None:
    model, x, _ = world.fit(labels=["early", "on time", "late"])
    takes = signature(
        x, np.array(["early", "on time", "late"])[np.arange(len(x)) % 3], list(x.columns), model
    )
    made = pack(model, takes, x.head(50), stores.artifacts, code="", environment="", reference=None)
    native = Package(**{**vars(made), "compiled": None, "proof": Proof(0, None, 0.0, "for this test")})
    from modelworks.models.layout import to_batch
    from modelworks.models.packaging import load

    rows = to_batch(x, takes)
    apart = pools.predictor("kind@1", native)
    np.testing.assert_array_equal(apart.predict(rows), load(native, stores.artifacts).predict(rows))
    none = Batch(np.empty((0, 2), dtype=np.float32), np.empty((0, 1), dtype=object))
    with pytest.raises(Unavailable):
        apart.predict(none)
