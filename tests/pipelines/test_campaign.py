"""How far a training is, seen from outside; two at once; Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from modelworks.core.plain import plain
from modelworks.factory import Factory

FACTORY = """
import os
import modelworks as mw
from sklearn.linear_model import LogisticRegression

orders = mw.Dataset(
    "orders", source=mw.Files("data/*.csv"), time="ordered",
    contract={"ordered": mw.Time(), "shop": str, "number": float, "returned": int},
)

@mw.model(dataset=orders, target="returned", features=["number"], per=["shop"], min_rows=20, metrics=["log_loss"])
def returns(X, y, params):
    if len(y) == 16:  # shop 0, the smallest and so the last
        open("gate").close()  # a pipe: this waits until somebody opens its other end
    return LogisticRegression().fit(X, y)
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "factory.py").write_text(FACTORY)
    (tmp_path / "modelworks.toml").write_text("[train]\nworkers = 2\n")
    rows = [
        f"2024-01-{1 + n % 28:02d}T{n:02d}:00,shop {shop},{(n * 7919 + shop) % 13},{(n * 31 + shop) % 2}"
        for shop in range(12)
        for n in range(22 if shop else 20)
    ]
    (tmp_path / "data" / "orders.csv").write_text("ordered,shop,number,returned\n" + "\n".join(rows))
    with Factory(tmp_path) as factory:
        factory.ingest()
    os.mkfifo(tmp_path / "gate")
    return tmp_path


def start(root: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "modelworks", "train", "--json"],
        cwd=root,
        start_new_session=True,
        stdout=subprocess.PIPE,
        text=True,
    )


def going(factory: Factory) -> dict[str, Any]:
    """The one campaign, as the status shows it."""
    (one,) = plain(factory.status())["training"] or [{"done": 0}]
    return dict(one)


def wait_until_held(factory: Factory, process: subprocess.Popen[str]) -> dict[str, Any]:
    """Until all is written down but what waits at the gate."""
    while (told := going(factory))["done"] < 5:
        assert process.poll() is None
        time.sleep(0.05)
    return told


@pytest.mark.fault
def test_ctrl_c_keeps_what_is_done_and_the_next_goes_on(root: Path) -> None:
    with Factory(root) as factory:
        first = start(root)
        told = wait_until_held(factory, first)
        assert (told["model"], told["total"], told["running"]) == ("returns", 13, True)
        assert told["left"] > 0
        os.killpg(first.pid, signal.SIGINT)
        assert first.communicate(timeout=60)[0] == ""
        assert first.returncode == 130
        interrupted = going(factory)
        assert not interrupted["running"]
        assert interrupted["done"] >= told["done"]
        (root / "gate").unlink()
        (root / "gate").touch()
        second = start(root)
        (report,) = json.loads(second.communicate(timeout=120)[0])
        assert report["skipped"] == interrupted["done"]
        assert report["trained"] == 13 - interrupted["done"]
        assert plain(factory.status())["training"] == []


@pytest.mark.fault
def test_two_trainings_of_the_same_do_not_meet(root: Path) -> None:
    with Factory(root) as factory:
        first = start(root)
        wait_until_held(factory, first)
        second = start(root)
        time.sleep(0.2)
        with (root / "gate").open("w"):  # the first goes on, and whoever asks again does not wait
            (told,) = json.loads(first.communicate(timeout=120)[0])
        (root / "gate").unlink()
        (also,) = json.loads(second.communicate(timeout=120)[0])
        assert (told["trained"], told["failed"]) == (13, 0)
        assert (also["trained"], also["skipped"]) == (0, 13)
