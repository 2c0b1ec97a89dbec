"""A training that kills every process that begins it: it is given up, said, waited after, and stops nobody else."""

from __future__ import annotations

import signal
from pathlib import Path

import loop_world as world
import pytest
from sqlalchemy import select

from modelworks.core.plain import plain
from modelworks.factory import Factory
from modelworks.pipelines.campaign import ATTEMPTS
from modelworks.stores.ledger.tables import campaigns, runs


@pytest.fixture
def root(tmp_path: Path) -> Path:
    world.make(tmp_path)
    code = world.FACTORY.replace('cooldown="1s", backoff=0', 'cooldown="1d", backoff=3')
    code = code.replace(
        'os.path.exists("hold"):', 'os.path.exists("poison"):\n        os.kill(os.getpid(), 9)'
    )
    (tmp_path / "factory.py").write_text(code)
    (tmp_path / "poison").touch()
    return tmp_path


def turn(root: Path) -> int | None:
    """A turn of the loop in a process of its own: how that ended."""
    process = world.start(root, "apply")
    process.join()
    return process.exitcode


@pytest.mark.fault
def test_a_training_that_kills_its_process_is_given_up(root: Path) -> None:
    assert turn(root) == -signal.SIGKILL
    for _ in range(ATTEMPTS - 1):
        assert turn(root) == -signal.SIGKILL
        with Factory(root) as factory:  # from the second turn on the others come first
            assert {row["segment"] for row in plain(factory.deployments("refunds"))} == {"", *world.SHOPS}
    assert turn(root) == 0
    why = f"its training has ended the process {ATTEMPTS} times before anything was written down"
    with Factory(root) as factory:
        assert plain(factory.status())["training"] == []
        failed = [row for row in plain(factory.decisions("returns", 100)) if row["action"] == "fail"]
        assert {(row["segment"], row["reason"]) for row in failed} == {
            (one, why) for one in ("", *world.SHOPS)
        }
        with factory.stores.ledger.read() as db:
            query = select(campaigns.c.status, campaigns.c.closed).where(campaigns.c.model == "returns")
            assert db.execute(query).all() == [("closed", why)]
            assert {*db.scalars(select(runs.c.status).where(runs.c.name == "returns"))} == {"failed"}
        (alert,) = [one for one in plain(factory.alerts()) if one["kind"] == "training"]
        assert (alert["model"], alert["severity"], alert["closed"]) == ("returns", "critical", None)
        assert alert["message"].startswith(
            f"training returns was given up: it has ended the process {ATTEMPTS} times"
        )

        world.write(root, 1, 12)  # it would be time again, and the segments back off
    assert turn(root) == 0
    with Factory(root) as factory:
        held = [row for row in plain(factory.decisions("returns", 100)) if row["action"] == "hold"]
        assert {row["segment"] for row in held} == {"", *world.SHOPS}
        assert "nothing came of" in held[0]["reason"], held[0]["reason"]

    (root / "poison").unlink()  # a person has mended it
    with Factory(root) as factory:
        assert factory.train("returns")[0].trained == len(world.SHOPS) + 1
        assert [
            one for one in plain(factory.alerts()) if one["kind"] == "training" and not one["closed"]
        ] == []
        with factory.stores.ledger.read() as db:
            assert {*db.scalars(select(campaigns.c.attempts).where(campaigns.c.status == "finished"))} == {0}


@pytest.mark.fault
def test_what_was_done_before_it_died_stays_and_counts(root: Path) -> None:
    """Only shop d is poison: the others are written one by one once a process has died, and d alone fails."""
    code = (root / "factory.py").read_text()
    (root / "factory.py").write_text(
        code.replace('os.path.exists("poison")', 'X["price"].max() > 1000 and len(X) < 100')
    )  # fmt: skip
    first = (root / "data" / "000.csv").read_text()
    day = [line.split(",") for line in first.splitlines()]
    for line in day:
        if line[2] == "d":
            line[3] = "5000.0"
    (root / "data" / "000.csv").write_text("\n".join(",".join(line) for line in day))
    ended = [turn(root) for _ in range(ATTEMPTS + 2)]
    assert ended[-1] == 0
    assert set(ended[:-1]) <= {-signal.SIGKILL, 0}
    with Factory(root) as factory:
        with factory.stores.ledger.read() as db:
            told = dict(
                db.execute(select(runs.c.segment, runs.c.status).where(runs.c.name == "returns")).all()
            )
        assert told == {"": "done", "a": "done", "b": "done", "c": "done", "d": "failed"}
