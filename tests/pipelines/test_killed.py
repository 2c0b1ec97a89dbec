"""A campaign that is killed goes on where it was: nothing is trained twice, nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import select

from modelworks.core.plain import plain
from modelworks.factory import Factory
from modelworks.stores.ledger.tables import campaigns, model_versions, runs

SHOPS = 30
FACTORY = """
import os
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
    if X["number"].max() == X["number"].min():  # a shop, not their parent
        with open("fitted", "a") as file:
            file.write(f"{X['number'].iloc[0]:.0f}\\n")
        if X["number"].iloc[0] == 0 and os.path.exists("gate"):
            open("gate").close()  # a pipe: this waits until somebody opens its other end
    return LogisticRegression().fit(X, y)
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "factory.py").write_text(FACTORY)
    (tmp_path / "modelworks.toml").write_text("[train]\nworkers = 2\n")
    rows = [
        f"2024-01-{1 + n % 28:02d},shop {shop},{shop},{(n * 7919 + shop) % 13},{(n * 31 + shop) % 2}"
        for shop in range(SHOPS)
        for n in range(40 if shop else 38)  # shop 0 is the smallest, and so the last
    ]
    (tmp_path / "data" / "orders.csv").write_text("ordered,shop,number,price,returned\n" + "\n".join(rows))
    return tmp_path


@pytest.mark.fault
def test_killed_in_the_middle_and_run_again(root: Path) -> None:
    with Factory(root) as factory:
        factory.ingest()
    os.mkfifo(root / "gate")
    command = [sys.executable, "-m", "modelworks", "train", "--json"]
    first = subprocess.Popen(command, cwd=root, start_new_session=True, stdout=subprocess.DEVNULL)
    with Factory(root) as factory:
        # The gate holds one worker in its fit; what the other one did is written down meanwhile.
        while len(_runs(factory)) < SHOPS - 10:
            assert first.poll() is None
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        before = _runs(factory)
        assert 0 < len(before) < SHOPS + 1
        (root / "gate").unlink()
        fitted = Counter((root / "fitted").read_text().split())

        told = subprocess.run(command, cwd=root, capture_output=True, check=True, text=True)
        (report,) = json.loads(told.stdout)["result"] if "result" in told.stdout else json.loads(told.stdout)
        assert report["skipped"] == len(before)
        assert report["trained"] == SHOPS + 1 - len(before)
        after = _runs(factory)
        assert after.items() >= before.items()  # what was written down stayed as it was
        again = Counter((root / "fitted").read_text().split()) - fitted
        finished = {segment.removeprefix("shop ") for segment in before}
        assert not finished & set(again)
        assert set(again) | finished >= {str(shop) for shop in range(SHOPS)}
        with factory.stores.ledger.read() as db:
            assert db.scalars(select(campaigns.c.status)).all() == ["finished"]
            versions = db.execute(select(model_versions.c.segment, model_versions.c.version)).all()
        assert sorted(versions) == sorted((segment, 1) for segment in after)
        assert len(after) == SHOPS + 1
        assert len(plain(factory.deployments("returns"))) == SHOPS + 1


def _runs(factory: Factory) -> dict[str, str]:
    """Run by segment; a segment that had two would show."""
    with factory.stores.ledger.read() as db:
        rows = db.execute(select(runs.c.segment, runs.c.id)).all()
    assert len({row.segment for row in rows}) == len(rows)
    return {row.segment: row.id for row in rows}
