"""A small factory whose loop runs in processes that may be killed, and what must hold of its ledger then."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Connection, func, select

from modelworks.cli import main
from modelworks.stores.ledger.tables import (
    audit,
    campaigns,
    dataset_versions,
    decisions,
    deployment_history,
    deployments,
    ingested,
    leases,
    model_versions,
    rollouts,
    runs,
)

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["modelworks.cli.app", "modelworks.factory", "modelworks.api.up", "skl2onnx", "sklearn.linear_model"]
)
SHOPS = ("a", "b", "c", "d")
START = datetime(2024, 1, 1, tzinfo=UTC)
FACTORY = """
import os, time
import modelworks as mw
from sklearn.linear_model import LogisticRegression

orders = mw.Dataset(
    "orders", source=mw.Files("data/*.csv"), key="id", time="ordered",
    contract={"id": str, "ordered": mw.Time(), "shop": str, "price": float, "returned": int},
)
common = dict(
    dataset=orders, target="returned", features=["price"], per=["shop"], min_rows=20, metrics=["log_loss"],
    retrain=[mw.OnRows(10)], cooldown="1s", backoff=0,
)

@mw.model(**common, approval="manual")
def returns(X, y, params):
    while os.path.exists("hold"):
        time.sleep(0.05)
    return LogisticRegression(C=1.0).fit(X, y)

@mw.model(**common, rollout=mw.Canary(steps=[50], rows=3, hold="1s", patience="2s"))
def refunds(X, y, params):
    return LogisticRegression(C=2.0).fit(X, y)
"""
OUTCOMES = {"promote", "begin", "refuse", "wait", "fail", "close"}


def make(root: Path) -> None:
    """The project, with a first file."""
    (root / "data").mkdir(parents=True)
    (root / "factory.py").write_text(FACTORY)
    (root / "modelworks.toml").write_text('[train]\nexecutor = "inline"\n[monitor]\nevery = "0.5s"\n')
    write(root, 0, 60)


def rows(day: int, each: int) -> list[dict[str, Any]]:
    """Orders of one day, some of each shop."""
    rng = np.random.default_rng(day)
    return [
        {
            "id": f"{day}-{shop}-{n}",
            "ordered": (START + timedelta(days=day, minutes=n)).isoformat(),
            "shop": shop,
            "price": round(float(rng.gamma(2, 20)), 2),
            "returned": int(rng.integers(0, 2)),
        }
        for shop in SHOPS
        for n in range(each)
    ]


def write(root: Path, day: int, each: int) -> None:
    """One day's file, whole when it is seen."""
    found = rows(day, each)
    text = "\n".join([",".join(found[0]), *(",".join(map(str, row.values())) for row in found)])
    (root / "data" / ".new").write_text(text)
    (root / "data" / ".new").rename(root / "data" / f"{day:03d}.csv")


def start(root: Path, *command: str) -> BaseProcess:
    """A process of the factory, with all that it starts in a group of its own; it need not import anything first."""
    chosen = {name: value for name, value in os.environ.items() if name.startswith("MODELWORKS_")}
    process = PROCESSES.Process(target=_command, args=(root, command, chosen))
    process.start()
    return process


def _command(root: Path, command: Sequence[str], chosen: Mapping[str, str]) -> None:
    os.setsid()
    os.chdir(root)
    os.environ.update(chosen)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open("said.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT), 2)
    sys.argv = ["modelworks", *command]
    main()


def kill(process: BaseProcess) -> None:
    """SIGKILL, the whole group."""
    assert process.pid is not None
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:  # it is so young that it has no group of its own yet
        process.kill()
    process.join()


def quiet(db: Connection, files: int) -> bool:
    """Whether everything of so many files is trained, and nothing goes on."""
    if db.scalar(select(func.count(ingested.c.source.distinct()))) != files:
        return False
    last = db.scalar(select(func.max(dataset_versions.c.version)))
    newest = select(func.max(campaigns.c.dataset_version)).group_by(campaigns.c.model)
    going = db.scalar(select(func.count()).where(campaigns.c.finished.is_(None)))
    under_way = db.scalar(select(func.count()).where(rollouts.c.status == "running"))
    return db.scalars(newest).all() == [last] * 2 and not going and not under_way


def hold(db: Connection, approved: list[tuple[str, str, int]]) -> dict[str, int]:
    """What must be so in the end; returns what there was.

    Args:
        db: The ledger.
        approved: Model, segment and version of every approval that was acknowledged.
    """
    every = db.execute(select(decisions).order_by(decisions.c.id)).all()
    ran = Counter(tuple(row) for row in db.execute(select(runs.c.campaign, runs.c.segment)))
    assert set(ran.values()) == {1}
    begun = db.execute(select(campaigns)).all()
    assert {row.status for row in begun} <= {"finished", "closed"}
    assert len({row.key for row in begun}) == len(begun)

    # Each decision to train is taken once, comes to one end, and only then the next is taken.
    open_: dict[tuple[str, str], str] = {}
    for row in every:
        place = row.model, row.segment
        if row.action == "train":
            assert place not in open_, f"{place} was decided twice"
            open_[place] = row.campaign
        elif row.action in OUTCOMES and row.campaign is not None:
            assert open_.pop(place, row.campaign) == row.campaign
            assert (row.campaign, row.segment) in ran or row.action == "close"
    assert open_ == {}
    ends = Counter((row.campaign, row.segment) for row in every if row.action in OUTCOMES and row.campaign)
    assert set(ends.values()) == {1}
    assert all(ends[pair] == 1 for pair in ran)

    # Each run made one version, numbers have no gaps, and each version was judged once.
    made = db.execute(select(model_versions)).all()
    assert len({row.run for row in made}) == len(made) == len(ran)
    numbers = defaultdict(list)
    for row in made:
        numbers[row.model, row.segment].append(row.version)
    assert all(sorted(found) == [*range(1, len(found) + 1)] for found in numbers.values())

    # Champions are who was promoted, in that order, and nobody else.
    promoted = defaultdict(list)
    for row in every:
        if row.action == "promote":
            promoted[row.model, row.segment].append(row.evidence["version"])
    history = defaultdict(list)
    for row in db.execute(select(deployment_history).order_by(deployment_history.c.revision)):
        history[row.model, row.segment].append(row.champion)
    assert history == promoted
    for row in db.execute(select(deployments)):
        assert row.champion == history[row.model, row.segment][-1]

    # Every approval that was acknowledged was honoured, once, and is in the audit trail once; no other is.
    by_people = [
        (row.model, row.segment, row.evidence["version"])
        for row in every
        if row.action == "promote" and row.trigger == "person"
    ]
    assert sorted(by_people) == sorted(approved)
    lines = db.scalars(select(audit.c.what).where(audit.c.verb == "approve")).all()
    assert sorted(lines) == sorted(f"{model}[{segment}]@{version}" for model, segment, version in approved)
    assert db.scalar(select(func.count()).select_from(leases)) in (0, 1, 2)  # of those who are just at work
    counted = Counter(row.action for row in every)
    return {"campaigns": len(begun), "versions": len(made), **counted}
