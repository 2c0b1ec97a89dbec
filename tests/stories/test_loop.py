"""The loop is killed again and again: nothing that was decided is lost, nothing is done twice.

``MODELWORKS_KILLS`` says how often; `make kill-loop` does it fifty times.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from random import Random

import loop_world as world
import pytest
from sqlalchemy import select

from modelworks.core.clock import system_clock
from modelworks.core.errors import Conflict
from modelworks.core.plain import plain
from modelworks.factory import Factory
from modelworks.stores.ledger.tables import aliases, campaigns, decisions, leases

KILLS = int(os.environ.get("MODELWORKS_KILLS", "0"))
PATIENCE = 240.0
PROCESSES = (("up", "--port", "0"), ("worker",))


def until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def approve(factory: Factory, random: Random) -> list[tuple[str, str, int]]:
    """Approve some of what waits; what was acknowledged."""
    done = []
    with factory.stores.ledger.read() as db:
        waiting = db.execute(select(aliases).where(aliases.c.alias == "candidate")).all()
    for row in waiting:
        if random.random() < 0.5:
            try:
                factory.approve(f"{row.model}[{row.segment}]@{row.version}")
            except Conflict:
                continue  # a newer one has taken its place
            done.append((row.model, row.segment, row.version))
    return done


@pytest.mark.fault
def test_killed_at_random_instants(tmp_path: Path, ledger_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kills = KILLS or (1 if ledger_url else 3)
    monkeypatch.setenv("MODELWORKS_LEDGER_URL", ledger_url)
    random, approved, met = Random(kills), list[tuple[str, str, int]](), 0
    world.make(tmp_path)
    alive = [world.start(tmp_path, *command) for command in PROCESSES]
    days = 1
    with Factory(tmp_path, who="boss") as factory:

        def quiet() -> bool:
            with factory.stores.ledger.read() as db:
                return world.quiet(db, days)

        def at_work() -> bool:
            with factory.stores.ledger.read() as db:
                claimed = db.scalars(select(leases.c.what)).all()  # those of the dead among them
            return any(factory.stores.ledger.leases.held(one) for one in claimed) or quiet()

        try:
            until(quiet, "the first training")
            for number in range(kills):
                world.write(tmp_path, days, 12)
                days += 1
                factory.predict("refunds", [{"shop": "a", "price": 3.0}] * 5)
                if number % 3:  # into the work, not into the start of the processes
                    until(at_work, "somebody at work")
                time.sleep(random.uniform(0, 1.5 if number % 3 else 4))
                hit = random.choice([(0,), (1,), (0, 1)])
                met += not quiet()
                for place in hit:
                    world.kill(alive[place])
                approved += approve(factory, random)  # when both are killed, nobody else is there
                if number == kills // 2:
                    code = (tmp_path / "factory.py").read_text()
                    (tmp_path / "factory.py").write_text(code.replace("C=1.0", "C=0.5"))
                for place in hit:
                    alive[place] = world.start(tmp_path, *PROCESSES[place])
            until(quiet, "everything is trained in the end")
        finally:
            for process in alive:
                world.kill(process)
        with factory.stores.ledger.read() as db:
            told = world.hold(db, approved)
    print(f"{kills} kills, {met} of them with work under way, {len(approved)} approvals: {told}")
    assert met or kills < 10


@pytest.fixture
def still(tmp_path: Path) -> Path:
    """The same project, with nobody at it."""
    world.make(tmp_path)
    return tmp_path


def test_an_approval_given_while_all_is_down_and_the_code_has_changed(still: Path) -> None:
    with Factory(still) as factory:
        factory.apply()
        assert {row["action"] for row in plain(factory.decisions("returns"))} == {"train", "wait"}
    code = (still / "factory.py").read_text()
    (still / "factory.py").write_text(code.replace("C=1.0", "C=0.5"))
    with Factory(still, who="boss") as factory:
        assert factory.approve("returns[a]")["ref"] == "returns[a]@1"
        with pytest.raises(Conflict, match="does not wait"):
            factory.approve("returns[a]")
        factory.apply()
        live = {row["segment"]: row["version"] for row in plain(factory.deployments("returns"))}
        assert live == {"a": 1}
        assert [row["what"] for row in plain(factory.audit()) if row["verb"] == "approve"] == ["returns[a]"]


def test_changed_code_is_trained_again_where_the_policy_says_so(still: Path) -> None:
    code = (still / "factory.py").read_text()
    code = code.replace("[mw.OnRows(10)]", "[mw.OnCode()]").replace(', approval="manual"', "")
    (still / "factory.py").write_text(code)
    with Factory(still) as factory:
        factory.ingest("orders")
        factory.train("returns")
        assert plain(factory.plan("returns")) == []
    (still / "factory.py").write_text(code.replace("C=1.0", "C=0.5"))
    later = system_clock() + timedelta(minutes=1)
    with Factory(still, clock=lambda: later) as factory:
        (report,) = plain(factory.apply("returns"))["trained"]
        assert report["trained"] == 1 + len(world.SHOPS)
        assert {
            row["trigger"] for row in plain(factory.decisions("returns")) if row["action"] == "train"
        } == {"on_code"}
        assert plain(factory.apply("returns"))["trained"] == []


def test_all_models_together_keep_to_the_budget_of_the_factory(still: Path) -> None:
    with (still / "modelworks.toml").open("a") as settings:
        settings.write("[learn]\ntrainings = 5\n")
    today = system_clock()
    with Factory(still, clock=lambda: today) as factory:
        told = plain(factory.apply())
        assert [(one["model"], one["trained"]) for one in told["trained"]] == [("returns", 5)]
        held = [one for one in told["decisions"] if one["action"] == "hold"]
        assert len(held) == 5
        assert held[0]["reason"].endswith("; but the factory's budget of today is used: 5 of 5 trainings")
        assert plain(factory.apply())["trained"] == []
    world.write(still, 1, 12)  # both could learn from these
    with Factory(still, clock=lambda: today + timedelta(days=1)) as factory:
        told = plain(factory.apply())  # the one that was not trained yet goes first
        assert [(one["model"], one["trained"]) for one in told["trained"]] == [("refunds", 5)]


@pytest.mark.fault
def test_what_was_cut_off_is_finished_as_it_was_planned(still: Path) -> None:
    """The plan of the first file is kept, though a second has come before it could be trained."""
    with Factory(still) as factory:
        cut_off(still, factory)
        world.write(still, 1, 12)
    later = system_clock() + timedelta(minutes=1)  # the cool-down of what was decided first is over
    with Factory(still, clock=lambda: later) as factory:
        first, second = plain(factory.apply("returns"))["trained"]
        assert (first["dataset"], first["trained"]) == ("orders@1", 5)
        assert (second["dataset"], second["trained"]) == ("orders@2", 5)
        with factory.stores.ledger.read() as db:
            assert {*db.scalars(select(campaigns.c.status))} == {"finished"}
            decided = db.execute(select(decisions.c.campaign, decisions.c.segment, decisions.c.action)).all()
        assert len(set(decided)) == len(decided) == 20


@pytest.mark.fault
def test_what_was_decided_for_other_code_is_closed_and_decided_again(still: Path) -> None:
    with Factory(still) as factory:
        cut_off(still, factory)
    code = (still / "factory.py").read_text()
    (still / "factory.py").write_text(code.replace("C=1.0", "C=0.5"))
    with Factory(still) as factory:
        (report,) = plain(factory.apply("returns"))["trained"]
        assert report["trained"] == 5
        closed = [row for row in plain(factory.decisions("returns", 100)) if row["action"] == "close"]
        assert {row["segment"] for row in closed} == {"", *world.SHOPS}
        assert closed[0]["reason"].endswith("the definition of returns has changed since it was decided")
        assert plain(factory.status())["training"] == []


@pytest.mark.fault
def test_what_no_longer_is_defined_is_closed(still: Path) -> None:
    with Factory(still) as factory:
        cut_off(still, factory)
    code = (still / "factory.py").read_text()
    (still / "factory.py").write_text(code.replace("def returns", "def renamed"))
    with Factory(still) as factory:
        factory.apply()
        assert plain(factory.status())["training"] == []
        closed = [row for row in plain(factory.decisions("returns", 100)) if row["action"] == "close"]
        assert "factory.py defines no returns any more" in closed[0]["reason"]


def cut_off(root: Path, factory: Factory) -> None:
    """A turn that is killed after the decision, in the first fit."""
    (root / "hold").touch()
    process = world.start(root, "apply", "returns")
    until(lambda: bool(plain(factory.status())["training"]), "a decision to train")
    world.kill(process)
    (root / "hold").unlink()
    (one,) = plain(factory.status())["training"]
    assert (one["done"], one["running"], one["stopped"]) == (0, False, False)
