"""Runs on a server: batched, in order, once; kept on this machine while it does not answer."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import modelworks as mw
from modelworks.access import tokens
from modelworks.cli import main
from modelworks.core.clock import new_id, system_clock
from modelworks.core.errors import Conflict, Denied, Invalid, ModelworksError, NotFound, NotReady, Unavailable
from modelworks.factory import Factory
from modelworks.models.flavors import FLAVORS
from modelworks.sdk import remote, standalone
from modelworks.sdk.process import start
from modelworks.track.content import table
from modelworks.track.model import Logged
from modelworks.track.offer import offer


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "server"
    (folder / ".modelworks").mkdir(parents=True)
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "laptop"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(remote, "_PATIENCE", 1.0)
    yield folder
    standalone.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def waits(folder: Path) -> list[Path]:
    return list((folder / ".modelworks" / "outbox").glob("*/*.journal"))


def test_a_run_on_a_server_is_as_one_in_a_folder(project: Path, here: Path) -> None:
    with start(project) as server:
        with mw.run("far", server=server.url, experiment="e", tags={"a": "b"}) as run:
            run.log_params(depth=6)
            for step in range(2500):
                run.log_metrics(loss=1 / (step + 1))
            run.log_metrics(odd=float("inf"))
            run.log_artifact(b"content", "notes.txt")
            with mw.run("inner", server=server.url) as inner:
                inner.log_metrics(auc=0.5)
        found = mw.runs("params.depth = 6", server=server.url)
        assert (found["name"].to_list(), found["status"].to_list()) == (["far"], ["done"])
        with mw.connect(server.url) as client:
            told = client.run(id=run.id)
            assert told["points"] == {"loss": 2500, "odd": 1}
            assert told["children"][0]["id"] == inner.id
            assert len(client.course(id=run.id, metric="loss")["loss"]) == 2500
            assert client.artifact(run.id, "notes.txt") == b"content"
            with pytest.raises(Invalid, match=r"notes\.txt"):
                client.artifact(run.id, "other.txt")
        with mw.run(resume=run.id, server=server.url) as again:
            assert again.params == {"depth": 6}
            again.log_metrics(loss=0.0)
        standalone.close()
        with mw.connect(server.url) as client:
            assert client.run(id=run.id)["points"]["loss"] == 2501
            source = client.run(id=run.id)["source"]
    assert waits(here) == []
    with Factory(project) as factory:
        assert b'"numpy": {' in factory.stores.artifacts.get(source["environment"])


def plane() -> tuple[pd.DataFrame, np.ndarray[Any, Any]]:
    """Rows of numbers and texts, and which side of a line they are on."""
    random = np.random.default_rng(3)
    frame = pd.DataFrame({"x": random.normal(size=200), "kind": random.choice(["a", "b"], 200)})
    frame["kind"] = frame["kind"].astype(object)
    return frame, np.where(frame["x"] + (frame["kind"] == "a") > 0.3, "yes", "no")


def pipeline() -> Any:
    prepared = make_column_transformer((StandardScaler(), ["x"]), (OneHotEncoder(), ["kind"]))
    return make_pipeline(prepared, LogisticRegression())


def _answers(client: Any) -> bool:
    try:
        client.predict("side", [{"x": 0.0, "kind": "a"}])
    except (NotFound, NotReady):
        return False
    return True


def test_a_model_goes_to_a_server_as_a_proven_graph(project: Path, here: Path) -> None:
    frame, y = plane()
    model = pipeline().fit(frame[:150], y[:150])
    with start(project) as server, mw.connect(server.url) as client:
        with mw.run("far", server=server.url) as run:
            run.log_metrics(mine=1.0)
            version = run.log_model(model, "side", frame[150:], y[150:])
            with pytest.raises(Conflict, match="side@1"):
                run.log_model(model, "side", frame[150:], y[150:])
        assert str(version.ref) == "side@1"
        assert (version.package.flavor, version.run) == ("onnx", run.id)
        assert version.package.compiled is not None
        assert version.metrics["log_loss"] == pytest.approx(
            log_loss(y[150:], model.predict_proba(frame[150:])), rel=1e-4
        )
        standalone.close()  # what is measured of the model is sent in the run's own time
        told = client.run(id=run.id)
        assert (told["made"], told["metrics"]["mine"], told["metrics"]["roc_auc"]) == (
            "side@1",
            1.0,
            version.metrics["roc_auc"],
        )
        client.deploy(ref="side@1")
        until(lambda: client.status()["live"] == 1 and _answers(client), "the server takes the version up")
        answers = client.predict("side", frame[:5])["predictions"]
        given = [answer["output"] for answer in answers]
        assert given == pytest.approx(list(model.predict_proba(frame[:5])[:, 1]), abs=1e-4)


def test_a_server_reads_no_pickle_of_a_stranger(
    project: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame, _ = plane()
    mark = here / "it ran"

    class Bomb:
        """What runs when it is read."""

        def __reduce__(self) -> Any:
            return (Path.touch, (mark,))

    with start(project) as server, mw.connect(server.url) as client:
        with mw.run("far", server=server.url) as run:
            run.settle()
            model = client.upload(pickle.dumps(Bomb()))
            signature = {"inputs": [{"name": "x", "kind": "number", "nullable": False}], "task": "regression",
                         "classes": []}  # fmt: skip
            rows = client.upload(table(frame[["x"]], "rows")[1])
            for flavor in [*(name for name in FLAVORS if FLAVORS[name].pickled), "lightgbm"]:
                with pytest.raises(ModelworksError) as refused:
                    client.log_model(
                        run=run.id, name="m", flavor=flavor, signature=signature, model=model, rows=rows
                    )
                assert isinstance(refused.value, Denied) == FLAVORS[flavor].pickled, flavor
            assert not mark.exists()
            with pytest.raises(Denied, match="pickle"):
                run.log_model(lambda part: [{"any": "thing"}] * len(part), "plain", frame)
        assert client.models() == []
        standalone.close()
    monkeypatch.setenv("MODELWORKS_SERVER_PICKLES", "accept")
    with start(project) as server:
        with mw.run("trusted", server=server.url) as run:
            version = run.log_model(lambda part: [{"any": "thing"}] * len(part), "plain", frame)
        assert (str(version.ref), version.package.flavor) == ("plain@1", "python")
        standalone.close()


def test_a_booster_goes_to_a_server_in_its_own_format(project: Path, here: Path) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    frame, y = plane()
    model = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1).fit(frame[["x"]], y)
    with start(project) as server:
        with mw.run("far", server=server.url) as run:
            version = run.log_model(model, "trees", frame[["x"]], y)
        standalone.close()
        assert version.package.flavor == "lightgbm"
        assert version.package.signature.classes == ("no", "yes")
        assert version.package.compiled is not None


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"signature": {"task": "regression"}}, "signature"),
        ({"signature": {"inputs": [{"name": "z", "kind": "number", "nullable": False}], "task": "regression",
                        "classes": []}}, "lacks columns"),
        ({"rows": "model"}, "no Parquet"),
        ({"model": "rows"}, "not a valid ONNX graph"),
        ({"flavor": "cobol"}, "cobol"),
        ({"run": "0" * 26}, "no run"),
        ({"name": "../up"}, "model name"),
    ],
)  # fmt: skip
def test_what_is_sent_wrong_is_refused(project: Path, here: Path, change: dict[str, Any], match: str) -> None:
    frame, y = plane()
    logged = Logged("", "", pipeline().fit(frame, y), "m", frame)
    sent = offer(logged)
    with Factory(project) as factory:
        run = new_id()
        factory.track([{"run": run, "time": 1, "name": "near"}])
        put = factory.stores.artifacts.put
        given = {"run": run, "name": "m", "flavor": sent.flavor, "signature": sent.signature,
                 "model": put(sent.content), "rows": put(sent.rows)}  # fmt: skip
        changed = {
            key: given.get(value, value) if isinstance(value, str) else value for key, value in change.items()
        }
        with pytest.raises(ModelworksError, match=match):
            factory.log_model(**{**given, **changed})
        assert factory.log_model(**given)["version"] == 1


@pytest.mark.fault
def test_a_server_that_is_killed_loses_nothing_and_takes_nothing_twice(
    project: Path, here: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    server = start(project, port=port)
    caplog.set_level(logging.WARNING)
    with mw.run("far", server=server.url) as run:
        for step in range(3000):
            run.log_metrics(loss=float(step), step=step)
            if step == 1000:
                run.settle()
            if step in (500, 1500):
                server.process.kill()  # at any moment: in the middle of a batch, for all we know
                server.process.wait()
                assert server.process.stdout is not None
                server.process.stdout.close()
                run.log_artifact(f"while it was away {step}".encode(), f"{step}.txt")
                with pytest.raises(Unavailable):
                    run.settle()
                server = start(project, port=port)
    run.settle()
    with server, mw.connect(server.url) as client:
        points = client.course(id=run.id)["loss"]
        assert [point["step"] for point in points] == list(range(3000))
        assert client.run(id=run.id)["status"] == "done"
        assert client.artifact(run.id, "1500.txt") == b"while it was away 1500"
        standalone.close()
    said = [record.message for record in caplog.records]
    assert sum("does not answer" in text for text in said) == 2
    assert any("answers again" in text for text in said)


LOGGER = """
import os, sys
import modelworks as mw
run = mw.run("killed", server=sys.argv[1])
print(run.id, flush=True)
n = 0
while True:
    run.log_metrics(loss=float(n), step=n)
    os.write(1, b"%d\\n" % n)
    n += 1
"""


@pytest.mark.fault
def test_what_a_killed_process_has_logged_is_sent_by_the_next(
    project: Path, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    logger = subprocess.Popen(
        [sys.executable, "-c", LOGGER, url], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert logger.stdout is not None
    run = logger.stdout.readline().decode().strip()
    for _ in range(100):
        logger.stdout.readline()
    server = start(project, port=port)
    with server:
        until(lambda: _known(url, run), "the process is heard")
        os.kill(logger.pid, signal.SIGKILL)
        last = [int(x) for x in logger.stdout.read().splitlines(keepends=True) if x.endswith(b"\n")][-1]
        logger.wait()
        logger.stdout.close()
        assert httpx.get(f"{url}/api/run", params={"id": run}).json()["status"] == "running"
        monkeypatch.setattr(sys, "argv", ["modelworks", "--server", url, "runs", "send"])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0
        assert "next:" in capsys.readouterr().err
        with mw.connect(url) as client:
            told = client.run(id=run)
            steps = [point["step"] for point in client.course(id=run)["loss"]]
        assert (told["status"], told["error"]) == ("lost", "its process died")
        assert steps == list(range(len(steps)))
        assert len(steps) in (last + 1, last + 2)
    assert waits(here) == []


def _known(url: str, run: str) -> bool:
    return httpx.get(f"{url}/api/run", params={"id": run}).status_code == 200


def test_a_server_that_never_answered_is_told_later(
    project: Path, here: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    caplog.set_level(logging.WARNING)
    with mw.run("early", server=f"http://127.0.0.1:{port}") as run:
        run.log_metrics(a=1)
    standalone.close()
    assert any("wait in" in record.message and "runs send" in record.message for record in caplog.records)
    assert waits(here)
    with start(project, port=port) as server:
        with mw.run("later", server=server.url):
            pass
        standalone.close()
        with mw.connect(server.url) as client:
            assert {told["name"]: told["status"] for told in client.runs()} == {
                "early": "done",
                "later": "done",
            }
            assert client.run(id=run.id)["metrics"] == {"a": 1}
    assert waits(here) == []


def test_a_token_is_sent_and_a_wrong_one_waits(
    project: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Factory(project) as factory, factory.stores.ledger.write() as db:
        token = tokens.create(db, "laptop", "builder", system_clock())
    with start(project) as server:
        with mw.run("wrong", server=server.url, token="mw_wrong") as run, pytest.raises(Denied):
            run.settle()
        standalone.close()
        monkeypatch.setenv("MODELWORKS_SERVER", server.url)
        monkeypatch.setenv("MODELWORKS_TOKEN", token)
        with mw.run("right") as run:
            run.settle()
        standalone.close()
        assert mw.runs()["name"].to_list() == ["right", "wrong"]


def test_entries_are_held_against_what_they_may_be(project: Path, here: Path) -> None:
    run, session = new_id(), new_id()
    with start(project) as server, mw.connect(server.url) as client:
        good = {"run": run, "time": 1, "name": "by hand", "metrics": {"a": 1.5, "b": "NaN"}}
        for bad in (
            {**good, "run": "../x"},
            {**good, "metrics": {"a": "high"}},
            {**good, "metrics": {"../a": 1}},
            {**good, "unknown": 1},
            {**good, "artifacts": {"a": "/etc/passwd"}},
            {**good, "time": -1},
            {**good, "name": "x" * 300},
            {**good, "status": "dead"},
        ):
            with pytest.raises(Invalid):
                client.track(entries=[good, bad])
        with pytest.raises(NotFound, match="no name"):
            client.track(entries=[{"run": run, "time": 1, "params": {"a": 1}}])
        assert client.runs() == []
        assert client.track(entries=[good], session=session, begin=0) == {"taken": 1, "next": 1}
        assert client.track(entries=[good, good], session=session, begin=0) == {"taken": 1, "next": 2}
        with pytest.raises(Invalid, match="do not follow"):
            client.track(entries=[good], session=session, begin=7)
        assert client.run(id=run)["points"] == {"a": 2, "b": 2}
        assert client.compare(ids=f"{run},{run}")["fields"]
        assert client.delete_runs(ids=[run]) == {"deleted": 1}
        assert client.runs() == []
        assert client.restore_runs(ids=[run]) == {"restored": 1}
        with pytest.raises(Invalid, match="at character 1:"):
            client.runs(where="auc > 1")
