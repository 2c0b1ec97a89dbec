"""Promotions move champion, alias, history and revision together; a rollback gives the previous one back."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import event

from modelworks.core.clock import FrozenClock, new_id
from modelworks.core.errors import Conflict, NotFound
from modelworks.core.ref import Ref, Segment
from modelworks.deploy import rollouts
from modelworks.deploy.deployment import Promotion
from modelworks.deploy.station import DeployStation
from modelworks.deploy.strategies.canary import Canary
from modelworks.models.package import Package, Proof
from modelworks.models.signature import Signature
from modelworks.registry.model_version import Draft
from modelworks.registry.station import RegistryStation
from modelworks.stores.ledger import Ledger

PACKAGE = Package(
    Signature((), "regression"), "sklearn", "a" * 64, None, Proof(0, None, 0.0, "-"), None, "e" * 64, "c" * 64
)
UA: Segment = ("UA", "EWR")
Belt = tuple[RegistryStation, DeployStation]


@pytest.fixture
def belt(tmp_path: Path) -> Belt:
    """Three versions of two segments, nothing deployed."""
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    clock = FrozenClock(datetime(2024, 1, 1, tzinfo=UTC))
    registry = RegistryStation(ledger, clock)
    register(registry, [(), UA] * 3)
    return registry, DeployStation(ledger, clock)


def register(registry: RegistryStation, segments: list[Segment]) -> None:
    """A version for each of `segments`."""
    with registry.ledger.write() as db:
        registry.register_many(db, [Draft("delay", segment, new_id(), PACKAGE, {}) for segment in segments])


def promote(deploy: DeployStation, *versions: tuple[Segment, int]) -> list[int]:
    """Promote in one transaction; returns the revisions."""
    wishes = [Promotion("delay", segment, version, f"because of {version}") for segment, version in versions]
    with deploy.ledger.write() as db:
        return [deployment.revision for deployment in deploy.promote_many(db, wishes)]


def test_a_promotion_moves_champion_alias_and_history_together(belt: Belt) -> None:
    registry, deploy = belt
    assert promote(deploy, ((), 1), (UA, 1)) == [1, 2]
    assert promote(deploy, (UA, 3)) == [3]
    state = {one.segment: (one.champion, one.previous, one.revision) for one in deploy.state("delay")}
    assert state == {(): (1, None, 1), UA: (3, 1, 3)}
    assert registry.get(Ref("delay", UA, "champion")).version == 3
    assert [(c.revision, c.champion, c.reason) for c in deploy.history("delay", UA)] == [
        (3, 3, "because of 3"), (2, 1, "because of 1"),
    ]  # fmt: skip
    assert [change.revision for change in deploy.history("delay")] == [3, 2, 1]
    assert len(deploy.history("delay", limit=1)) == 1
    one = deploy.state_of("delay", UA)
    assert (str(one.ref), one.node) == ("delay[UA,EWR]@3", "deployment:delay[UA,EWR]#3")
    assert one.strategy == {"kind": "direct"}


def test_promoting_the_champion_changes_nothing(belt: Belt) -> None:
    _, deploy = belt
    promote(deploy, (UA, 1), (UA, 2))
    before = deploy.state()
    assert promote(deploy, (UA, 2), (UA, 2)) == [2, 2]
    assert deploy.state() == before
    assert len(deploy.history("delay")) == 2


def test_of_several_for_one_segment_the_last_stays(belt: Belt) -> None:
    _, deploy = belt
    assert promote(deploy, (UA, 1), (UA, 2), (UA, 3)) == [1, 2, 3]
    one = deploy.state_of("delay", UA)
    assert (one.champion, one.previous) == (3, 2)
    assert [change.champion for change in deploy.history("delay", UA)] == [3, 2, 1]


def test_a_version_that_does_not_exist_stops_all_of_them(belt: Belt) -> None:
    _, deploy = belt
    with pytest.raises(NotFound, match=r"delay\[UA,EWR\]@9 cannot be deployed"):
        promote(deploy, ((), 1), (UA, 9))
    assert deploy.state() == []
    assert deploy.history("delay") == []


def test_a_rollback_gives_the_previous_champion_back_and_says_so(belt: Belt) -> None:
    registry, deploy = belt
    promote(deploy, (UA, 1), (UA, 2))
    with deploy.ledger.write() as db:
        back = deploy.rollback(db, "delay", UA, "too many complaints")
    assert (back.champion, back.previous, back.revision) == (1, 2, 3)
    assert back.reason == "rolled back from version 2 to 1: too many complaints"
    assert deploy.state_of("delay", UA) == back
    assert registry.get(Ref("delay", UA)).version == 1
    with deploy.ledger.write() as db:
        assert deploy.rollback(db, "delay", UA, "a mistake").champion == 2


def test_the_first_champion_cannot_be_rolled_back(belt: Belt) -> None:
    _, deploy = belt
    promote(deploy, (UA, 1))
    with pytest.raises(Conflict, match="its first champion"), deploy.ledger.write() as db:
        deploy.rollback(db, "delay", UA, "")


@pytest.mark.parametrize("segment", [(), ("no", "such")])
def test_what_is_not_deployed_is_not_found(belt: Belt, segment: Segment) -> None:
    _, deploy = belt
    promote(deploy, (UA, 1))
    with pytest.raises(NotFound, match="has 1 other deployment;"):
        deploy.state_of("delay", segment)
    with pytest.raises(NotFound), deploy.ledger.write() as db:
        deploy.rollback(db, "delay", segment, "")


def test_writers_at_once_share_one_growing_revision(belt: Belt) -> None:
    registry, deploy = belt
    register(registry, [UA] * 40)

    def work(first: int) -> None:
        for version in range(first, 40, 2):
            promote(deploy, (UA, version))

    threads = [threading.Thread(target=work, args=(first,)) for first in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    revisions = [change.revision for change in deploy.history("delay", UA)]
    assert revisions == list(range(39, 0, -1))
    assert deploy.state_of("delay", UA).revision == 39


def test_three_hundred_promotions_take_a_few_statements(belt: Belt) -> None:
    registry, deploy = belt
    segments: list[Segment] = [(str(number), "x") for number in range(300)]
    register(registry, segments)
    statements: list[str] = []
    event.listen(registry.ledger.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    assert promote(deploy, *((segment, 1) for segment in segments)) == list(range(1, 301))
    assert len(statements) <= 8, statements


def test_the_time_of_a_change_is_the_clocks(belt: Belt) -> None:
    _, deploy = belt
    assert isinstance(deploy.clock, FrozenClock)
    deploy.clock.advance(timedelta(days=40))
    promote(deploy, ((), 1))
    assert deploy.state()[0].updated == deploy.clock()
    assert deploy.history("delay")[0].created == deploy.clock()


def test_bringing_out_begins_a_rollout_where_there_is_a_champion_and_the_strategy_takes_its_time(
    belt: Belt,
) -> None:
    registry, deploy = belt
    how = Canary(steps=[5, 100]).to_json()
    for version, expected in ((1, "promote"), (1, "promote"), (2, "go_on")):
        wishes = [Promotion("delay", segment, version, "it passed", how) for segment in ((), UA)]
        with deploy.ledger.write() as db:
            assert [step.action for step in deploy.bring_out(db, wishes)] == [expected] * 2
    with deploy.ledger.read() as db:
        assert [(one.segment, one.state.champion, one.state.challenger) for one in rollouts.running(db)] == [
            ((), 1, 2), (UA, 1, 2),
        ]  # fmt: skip
    assert registry.get(Ref("delay", UA, "rollout")).version == 2
    with pytest.raises(NotFound), deploy.ledger.write() as db:
        deploy.bring_out(db, [Promotion("delay", UA, 9, "", how)])
    promote(deploy, (UA, 2))
    with deploy.ledger.read() as db:
        assert [one.segment for one in rollouts.running(db)] == [()]
        (over,) = [one for one in rollouts.recent(db) if one.segment == UA]
        assert (over.status, over.reason) == ("promoted", "promoted by hand")
        assert [step["action"] for step in rollouts.steps(db, [over.id])[over.id]] == ["promote", "begin"]
    with pytest.raises(NotFound):
        registry.get(Ref("delay", UA, "rollout"))


def test_nothing_to_promote_is_nothing_done(belt: Belt) -> None:
    assert promote(belt[1]) == []
