"""SIGKILL at random instants of a training of 300 segments: parent, whole group, workers; resumed until done."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import psutil
import pytest
from sqlalchemy import select

from modelworks.factory import Factory
from modelworks.stores.ledger.tables import campaigns, model_versions, runs

SHOPS = 300
FACTORY = """
import os, time
import modelworks as mw
from sklearn.linear_model import LogisticRegression

orders = mw.Dataset(
    "orders", source=mw.Files("data/*.csv"), time="ordered",
    contract={"ordered": mw.Time(), "shop": str, "number": float, "price": float, "returned": int},
)

@mw.model(
    dataset=orders, target="returned", features=["number", "price"], per=["shop"], min_rows=20, metrics=["log_loss"],
)
def returns(X, y, params):
    file = os.open(params["file"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, b"x")
    os.close(file)
    time.sleep(0.04)  # that a kill is likely to meet a fit
    return LogisticRegression().fit(X, y)
""".replace("metrics=[", 'params={"file": __file__.replace("factory.py", "fits")}, metrics=[')


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "factory.py").write_text(FACTORY)
    (tmp_path / "modelworks.toml").write_text("[train]\nworkers = 2\nretries = 5\n")
    rows = [
        f"2024-01-{1 + n % 28:02d},shop {shop},{(n * 7919 + shop) % 13},{(n * 31 + shop) % 2}"
        for shop in range(SHOPS)
        for n in range(30)
    ]
    lines = [
        f"{when},{shop},{number},{number},{late}" for when, shop, number, late in (r.split(",") for r in rows)
    ]
    (tmp_path / "data" / "orders.csv").write_text("ordered,shop,number,price,returned\n" + "\n".join(lines))
    with Factory(tmp_path) as factory:
        factory.ingest()
    return tmp_path


class Training:
    """A training in processes of its own."""

    def __init__(self, root: Path, environment: dict[str, str]) -> None:
        self.fits = root / "fits"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "modelworks", "train", "--json"],
            cwd=root,
            env=os.environ | environment,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def wait_for_a_fit(self) -> None:
        before = _size(self.fits)
        while _size(self.fits) == before and self.process.poll() is None:
            time.sleep(0.005)

    def others(self) -> list[int]:
        """What it started: fork server, workers."""
        found = []
        for pid in psutil.pids():
            try:
                if os.getpgid(pid) == self.process.pid and pid != self.process.pid:
                    found.append(pid)
            except (ProcessLookupError, PermissionError):
                continue
        return found

    def over(self) -> None:
        """Wait until nothing of it lives."""
        self.process.wait()
        while [pid for pid in self.others() if _lives(pid)]:
            time.sleep(0.01)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _lives(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _actors() -> list[int]:
    return [
        one.pid
        for one in psutil.process_iter(["cmdline"])
        if "ray::Actor" in "".join(one.info["cmdline"] or [])
    ]


@pytest.mark.fault
@pytest.mark.parametrize(("executor", "kills"), [("processes", 20), ("ray", 5)])
def test_killed_again_and_again(
    root: Path, executor: str, kills: int, request: pytest.FixtureRequest
) -> None:
    environment = {"MODELWORKS_TRAIN_EXECUTOR": executor}
    if executor == "ray":
        environment["MODELWORKS_TRAIN_RAY_ADDRESS"] = request.getfixturevalue("ray_address")
    random, started, met = Random(20), list[Training](), 0
    training: Training | None = None
    for number in range(kills):
        if training is None or training.process.poll() is not None:
            training = Training(root, environment)
            started.append(training)
            if number % 4:
                training.wait_for_a_fit()
        time.sleep(random.uniform(0, 0.7 if number % 4 else 3))
        met += training.process.poll() is None
        target = ["group", "parent", "worker"][number % 3]
        if target == "worker":
            workers = _actors() if executor == "ray" else training.others()
            for pid in random.sample(workers, min(len(workers), 1)):
                os.kill(pid, signal.SIGKILL)
            continue
        try:
            (os.killpg if target == "group" else os.kill)(training.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
        training.process.wait()
    last = Training(root, environment)
    assert last.process.wait() == 0
    for one in [*started, last]:
        one.over()
    assert met >= kills * 0.8  # the training was on when it was killed
    _check(root)


def _check(root: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "modelworks", "gc", "--grace", "1s", "--json"],
        cwd=root,
        capture_output=True,
        check=True,
        text=True,
    )
    report: dict[str, Any] = json.loads(told.stdout)
    with Factory(root) as factory:
        with factory.stores.ledger.read() as db:
            (campaign,) = db.execute(select(campaigns)).all()
            segments = db.execute(select(runs.c.segment, runs.c.status, runs.c.error)).all()
            versions = db.execute(select(model_versions)).all()
        assert (campaign.status, campaign.segments, campaign.total) == ("finished", SHOPS + 1, SHOPS + 1)
        assert len(segments) == len({row.segment for row in segments}) == SHOPS + 1
        assert {row.status for row in segments} == {"done"}, [row.error for row in segments if row.error]
        assert len(versions) == SHOPS + 1
        assert {row.version for row in versions} == {1}
        assert len(factory.deployments("returns")) == SHOPS + 1
        names = ("native", "compiled", "reference", "environment", "code")
        needed = {row.package[name] for row in versions for name in names} - {None}
        with factory.stores.ledger.read() as db:
            rests = {row["basis.json"] for row in db.scalars(select(runs.c.artifacts))}
        needed |= rests | {json.loads(factory.stores.artifacts.get(one))["source"] for one in rests}
        for digest in needed:
            factory.stores.artifacts.get(digest)
        there = {
            path.parent.name + path.name
            for path in (root / ".modelworks" / "artifacts").rglob("*")
            if path.is_file()
        }
        assert there == needed
        assert report["kept"] == len(needed)
        assert report["young"] == 0
        assert not list((root / ".modelworks" / "scratch").iterdir())
