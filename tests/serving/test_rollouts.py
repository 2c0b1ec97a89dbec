"""Rollouts on a real server: bad challengers are taken out by themselves, good ones get there; nobody notices."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import rollout_world as world
from rollout_world import Works

from modelworks.core.errors import Conflict
from modelworks.core.plain import plain
from modelworks.deploy.strategies.blue_green import BlueGreen
from modelworks.deploy.strategies.canary import Canary
from modelworks.deploy.strategies.guard import Guard
from modelworks.deploy.strategies.shadow import Shadow

CALM = Guard(slower=1000)
"""Nothing is said of speed: machines of tests are slow."""
CANARY = Canary(steps=[2, 25, 100], rows=40, hold="1s", guard=CALM)


@pytest.fixture
def works(tmp_path: Path) -> Iterator[Works]:
    works = Works(tmp_path)
    with works.serving():
        yield works
    works.factory.close()


def log(works: Works) -> pl.DataFrame:
    """The prediction log, drained."""
    works.factory.drain()
    return works.stores.tables.scan("predictions").collect()


@pytest.mark.parametrize(
    ("temper", "why", "canary"),
    [
        ("crashing", "failed on", CANARY),
        ("nan", "failed on", CANARY),
        ("slow", "failed on", CANARY),
        ("drifting", "distributed otherwise", CANARY),
        (
            "wrong",
            "its loss is",
            Canary(steps=[2, 100], rows=10_000, hold="1s", guard=Guard(shift=1.0, slower=1000)),
        ),
    ],
)
def test_a_bad_challenger_is_rolled_back_by_itself_before_5_percent_saw_it(
    works: Works, temper: str, why: str, canary: Canary
) -> None:
    works.begin(canary, world.fit(temper))
    works.follows(2)

    def load() -> None:
        works.ask(200, outcomes=temper == "wrong")
        works.turn()

    works.until(lambda: works.rollout()["status"] != "running", load)
    over = works.rollout()
    assert (over["status"], why in over["reason"]) == ("abandoned", True), over["reason"]
    # Every request was answered, and of all of them less than one in twenty by the challenger.
    assert sum(works.versions.values()) == works.sent
    assert works.versions[2] < 0.05 * works.sent
    assert [step["share"] for step in over["steps"]] == [0.0, 0.02]
    assert works.stations.deploy.state_of("late", ()).champion == 1
    (alert,) = works.factory.alerts("late")
    assert (alert["kind"], "late@2 was rolled back" in alert["message"]) == ("rollout", True)
    if temper in ("crashing", "nan"):
        assert works.versions == {1: works.sent}  # nobody has seen it fail
        failed = log(works).filter(pl.col("failure").is_not_null())
        assert failed["arm"].unique().to_list() == ["champion"]
        assert len(failed) == over["evidence"]["challenger"]["failed"] >= 1


def test_a_good_challenger_reaches_all_requests(works: Works) -> None:
    works.begin(Canary(steps=[20, 50, 100], rows=20, hold="1s", guard=CALM), world.fit(seed=1))
    works.follows(2)

    def load() -> None:
        works.ask(60, outcomes=True)
        works.turn()

    works.until(lambda: works.rollout()["status"] != "running", load)
    over = works.rollout()
    assert over["status"] == "promoted", over["reason"]
    assert [step["share"] for step in over["steps"]] == [1.0, 0.5, 0.2]
    assert works.factory.alerts("late") == []
    works.until(lambda: works.ask(1)[0]["version"] == 2)
    # Shares are nested: who met the challenger once never met the champion after that.
    seen = log(works).sort("time").group_by("key", maintain_order=True).agg("version")
    assert over["evidence"]["challenger"]["outcomes"] > 0
    assert len(seen) == works.sent


def test_who_met_the_challenger_at_5_percent_meets_it_at_25(works: Works) -> None:
    works.begin(Canary(steps=[10, 40, 100], rows=10**6, hold="1s"), world.fit(seed=1))
    works.follows(2)
    sent, _ = world.rows(range(300))

    def versions() -> dict[str, int]:
        with world.world.client(works.port) as client:
            told = client.post("/predict/late", json={"rows": sent}).json()["predictions"]
        return {row["flight"]: one["version"] for row, one in zip(sent, told, strict=True)}

    few = versions()
    assert versions() == few
    move(works, 0.4)
    works.until(lambda: sum(v == 2 for v in versions().values()) > 60)
    many = versions()
    assert {key for key, version in few.items() if version == 2} <= {key for key, v in many.items() if v == 2}
    assert 5 <= sum(v == 2 for v in few.values()) <= 60 < sum(v == 2 for v in many.values()) <= 180


def move(works: Works, share: float) -> None:
    """Set the share of the running rollout, as a step of its strategy would."""
    from modelworks.deploy import rollouts
    from modelworks.deploy.strategies.port import Step

    with works.stores.ledger.write() as db:
        (one,) = rollouts.running(db)
        assert rollouts.go_on(db, one, Step("go_on", "as a test wants it", share), 0, {}, one.begun)


def test_a_shadow_answers_beside_the_champion_and_nobody_hears_it(works: Works) -> None:
    works.begin(Shadow(rows=60, outcomes=30, hold="1s", guard=CALM), world.fit(seed=1))
    works.follows(2)

    def load() -> None:
        works.ask(40, outcomes=True)
        works.turn()

    works.until(lambda: works.rollout()["status"] != "running", load)
    assert works.rollout()["status"] == "promoted", works.rollout()["reason"]
    assert works.rollout()["evidence"]["pairs"] >= 30
    logged = log(works)
    silent = logged.filter(pl.col("arm") == "shadow")
    assert set(silent["version"]) == {2}
    beside = silent.join(logged, left_on="shadow_of", right_on="id")
    assert (beside["key"] == beside["key_right"]).all()
    assert set(beside["version_right"]) == {1}


@pytest.mark.parametrize("temper", ["crashing", "slow"])
def test_a_shadow_that_crashes_or_sleeps_disturbs_nobody(works: Works, temper: str) -> None:
    works.begin(Shadow(rows=10**6, hold="1s"), world.fit(temper))
    works.follows(2)

    def load() -> None:
        works.ask(40)
        works.turn()

    works.until(lambda: works.rollout()["status"] != "running", load)
    assert works.rollout()["status"] == "abandoned"
    assert works.versions == {1: works.sent}


def test_blue_green_switches_at_once_and_back_without_loading(works: Works) -> None:
    works.begin(BlueGreen(), world.fit(seed=1))
    works.follows(2)
    works.ask(5)
    assert works.versions == {1: 5}
    works.until(lambda: works.rollout()["status"] != "running", works.turn)
    assert works.rollout()["reason"] == "replaces 1 in one switch: the server has it"
    works.until(lambda: works.ask(1)[0]["version"] == 2)
    works.factory.rollback("late")
    works.until(lambda: works.ask(1)[0]["version"] == 1)


def test_one_command_undoes_a_rollout_or_ends_it_early(works: Works) -> None:
    works.begin(CANARY, world.fit(seed=1))
    with pytest.raises(Conflict, match="cannot be archived"):
        works.factory.archive("late@2")
    told = plain(works.factory.rollback("late", "a complaint"))
    assert (told["ref"], told["action"]) == ("late@2", "abandon")
    assert works.rollout()["reason"] == "abandoned by hand: a complaint"
    with pytest.raises(Conflict, match="is not being rolled out"):
        works.factory.promote("late")
    works.begin(CANARY, world.fit(seed=2))
    works.factory.promote("late@3")
    assert works.rollout()["status"] == "promoted"
    works.until(lambda: works.ask(1)[0]["version"] == 3)
    works.begin(CANARY, world.fit(seed=3))
    works.factory.deploy("late@1")
    assert (works.rollout()["status"], works.rollout()["reason"]) == (
        "abandoned", "version 1 takes its place",
    )  # fmt: skip


def test_a_newer_challenger_takes_the_place_of_one_that_is_on_its_way(works: Works) -> None:
    works.begin(CANARY, world.fit(seed=1))
    works.begin(CANARY, world.fit(seed=2))
    newest, older = plain(works.factory.rollouts("late"))
    assert (newest["challenger"], newest["status"]) == (3, "running")
    assert (older["challenger"], older["status"], older["reason"]) == (
        2,
        "abandoned",
        "version 3 takes its place",
    )


def test_a_challenger_that_cannot_be_loaded_is_abandoned(works: Works) -> None:
    version = world.world.register(works.stores, "late", (), world.fit(seed=1))
    damage(works, version)
    with works.stores.ledger.write() as db:
        from modelworks.deploy.deployment import Promotion

        works.stations.deploy.bring_out(db, [Promotion("late", (), version, "it passed", CANARY.to_json())])
    works.until(lambda: works.rollout()["status"] != "running", lambda: (works.ask(2), works.turn()))
    assert "cannot be loaded" in works.rollout()["reason"]
    assert works.versions == {1: works.sent}


def damage(works: Works, version: int) -> None:
    """Let a version's package name blobs that are not there."""
    from sqlalchemy import select, update

    from modelworks.stores.ledger.tables import model_versions as table

    here = (table.c.model == "late", table.c.version == version)
    with works.stores.ledger.write() as db:
        package: dict[str, Any] = dict(db.scalar(select(table.c.package).where(*here)))
        package.update({name: "0" * 64 for name in ("model", "compiled") if package.get(name)})
        db.execute(update(table).where(*here).values(package=package))


def test_retries_and_corrections_over_http_count_once_and_decide_nothing_again(works: Works) -> None:
    works.begin(Canary(steps=[50, 100], rows=10**6, hold="1s", guard=CALM), world.fit(seed=1))
    works.follows(2)
    answers = works.ask(40)

    def tell(**more: Any) -> None:
        with world.world.client(works.port) as client:
            for by in ("prediction_id", "key"):
                told = [
                    {by: one["id"] if by == "prediction_id" else f"F{number}", "value": 1, **more}
                    for number, one in enumerate(answers)
                ]
                reply = client.post("/outcomes", json={"outcomes": told + told[:5]})
                assert reply.json() == {"accepted": 45}, reply.text
        works.turn()

    def sides() -> list[tuple[int, float]]:
        evidence = works.rollout()["evidence"]
        return [(evidence[arm]["outcomes"], evidence[arm]["loss"]) for arm in ("champion", "challenger")]

    tell()
    first = sides()
    assert sum(number for number, _ in first) == 40
    tell(time="2013-01-01T00:00:00+05:00")  # by a clock that is years behind
    assert sides() == [(number, pytest.approx(loss)) for number, loss in first]
    tell(value=0)
    corrected = sides()
    assert [number for number, _ in corrected] == [number for number, _ in first]
    assert corrected[0][1] != pytest.approx(first[0][1])
    works.factory.promote("late")
    works.turn()
    over = works.rollout()
    tell()
    assert works.rollout() == over
    assert works.stations.deploy.state_of("late", ()).champion == 2
