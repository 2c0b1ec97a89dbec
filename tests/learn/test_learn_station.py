"""Learn on a real ledger: what is known of every segment, and decisions that grow with what happens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, update

from modelworks.core.clock import FrozenClock
from modelworks.core.ref import segment_text
from modelworks.learn.budget import Budget, Spent
from modelworks.learn.policy import Decision
from modelworks.learn.states import Attempt
from modelworks.learn.station import LearnStation
from modelworks.models.definition import Definition
from modelworks.monitor.watch import Watch
from modelworks.stores.ledger import Ledger
from modelworks.stores.ledger.tables import campaigns, decisions, deployments, runs

NOW = datetime(2024, 6, 1, tzinfo=UTC)
DEFINITION = Definition(
    "delay", "flights", "late", ("wind",), fit=lambda x, y, params: None, per=("carrier",)
)
WATCH = Watch(
    ("UA",), 2, 500, 400, 0.3, "log_loss", 0.6, 0.02, 0.5, 0.03, 0.7, {"wind": 0.4}, 0.1, shifted=("wind",)
)
TRAIN = Decision(("UA",), "train", "every", "because", {"every": {"tried": NOW}}, 1.0)
HOLD = replace(TRAIN, action="hold", reason="because; but it waits")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    yield (made := Ledger(f"sqlite:///{tmp_path / 'ledger.db'}"))
    made.close()


def trained(ledger: Ledger, campaign: str, at: datetime, version: int, *segments: str) -> None:
    """A campaign of one run a segment."""
    with ledger.write() as db:
        row: dict[str, Any] = {
            "id": campaign,
            "model": "delay",
            "key": campaign,
            "reason": "",
            "dataset": "flights",
        }
        row |= {"dataset_version": version, "segments": len(segments), "status": "finished", "created": at}
        db.execute(insert(campaigns).values(row))
        blank: dict[str, Any] = {"params": {}, "metrics": {}, "tags": {}, "artifacts": {}, "started": at}
        for segment in segments:
            run = {"id": f"{campaign}-{segment}", "name": "delay", "segment": segment, "campaign": campaign}
            run |= {
                "kind": "training",
                "status": "failed",
                "dataset": "flights",
                "dataset_version": version,
                **blank,
            }
            db.execute(insert(runs).values(run))


def deployed(ledger: Ledger, *segments: str) -> None:
    rows = [
        {
            "model": "delay",
            "segment": segment,
            "champion": 1,
            "strategy": {},
            "reason": "",
            "revision": n,
            "updated": NOW,
        }
        for n, segment in enumerate(segments)
    ]
    with ledger.write() as db:
        db.execute(insert(deployments), rows)


def test_the_last_attempt_counts_whatever_came_of_it(ledger: Ledger) -> None:
    trained(ledger, "first", NOW - timedelta(days=30), 1, "", "UA")
    trained(ledger, "second", NOW - timedelta(days=3), 7, "UA")
    assert LearnStation(ledger, FrozenClock(NOW)).attempts("delay") == {
        (): Attempt(NOW - timedelta(days=30), 1),
        ("UA",): Attempt(NOW - timedelta(days=3), 7),
    }
    assert LearnStation(ledger, FrozenClock(NOW)).attempts("another") == {}


def test_states_are_of_segments_that_live_or_could(ledger: Ledger) -> None:
    deployed(ledger, "", "UA")
    station = LearnStation(ledger, FrozenClock(NOW))
    attempts = {("UA",): Attempt(NOW - timedelta(days=3), 7)}
    rows = {(): (900, 40), ("UA",): (500, 30), ("AA",): (100, 100), ("B6",): (99, 99)}
    states = station.states(DEFINITION, rows=rows, attempts=attempts, watches=[WATCH], now=NOW)
    assert [state.segment for state in states] == [(), ("AA",), ("UA",)]
    whole, fresh, known = states
    assert (whole.live, whole.tried, whole.loss, whole.rows, whole.new_rows) == (True, None, None, 900, 40)
    assert (fresh.live, fresh.rows, fresh.min_rows) == (False, 100, 100)
    assert (known.tried, known.labelled, known.loss, known.promised) == (
        NOW - timedelta(days=3),
        400,
        0.6,
        0.5,
    )
    assert (known.promised_error, known.shifted, known.psi) == (0.03, ("wind",), {"wind": 0.4})


def record(ledger: Ledger, at: datetime, *decided: Decision, campaign: str | None = None) -> None:
    with ledger.write() as db:
        LearnStation(ledger, FrozenClock(at)).record(db, "delay", decided, campaign)


def test_decisions_are_kept_with_their_reason(ledger: Ledger) -> None:
    record(ledger, NOW, TRAIN, replace(HOLD, segment=("AA",)), campaign="c1")
    train, hold = sorted(
        LearnStation(ledger, FrozenClock(NOW)).decisions("delay"), key=lambda row: -len(row["action"])
    )
    assert (train["action"], train["segment"], train["reason"], train["campaign"]) == (
        "train",
        "UA",
        "because",
        "c1",
    )
    assert train["evidence"] == {"every": {"tried": "2024-06-01T00:00:00+00:00"}}
    assert (hold["action"], hold["segment"], hold["campaign"], hold["at"]) == ("hold", "AA", None, NOW)
    assert LearnStation(ledger, FrozenClock(NOW)).decisions("another") == []


def test_waiting_is_written_once_until_something_happens(ledger: Ledger) -> None:
    for day in range(5):
        record(ledger, NOW + timedelta(days=day), HOLD, replace(HOLD, segment=("AA",)))
    record(ledger, NOW + timedelta(days=5), TRAIN)
    for day in range(6, 9):
        record(ledger, NOW + timedelta(days=day), HOLD, replace(HOLD, segment=("AA",)))
    kept = LearnStation(ledger, FrozenClock(NOW)).decisions("delay")[::-1]
    assert [(row["segment"], row["action"], row["at"]) for row in kept if row["segment"] == "UA"] == [
        ("UA", "hold", NOW),
        ("UA", "train", NOW + timedelta(days=5)),
        ("UA", "hold", NOW + timedelta(days=6)),
    ]
    assert [row["action"] for row in kept if row["segment"] == "AA"] == ["hold"]


def test_a_fleet_that_waits_costs_a_few_statements(ledger: Ledger) -> None:
    fleet = [replace(HOLD, segment=(f"S{number}",)) for number in range(1200)]
    record(ledger, NOW, *fleet)
    record(ledger, NOW + timedelta(days=1), *fleet)
    kept = LearnStation(ledger, FrozenClock(NOW)).decisions("delay", limit=5000)
    assert {row["segment"] for row in kept} == {segment_text(one.segment) for one in fleet}
    assert len(kept) == 1200


def ended(ledger: Ledger, *rows: tuple[str, str, str], campaign: str | None = "c") -> None:
    """What became of trainings: segment, action, trigger."""
    with ledger.write() as db:
        for segment, action, trigger in rows:
            row = {"model": "delay", "segment": segment, "action": action, "trigger": trigger, "reason": ""}
            db.execute(insert(decisions).values(evidence={}, campaign=campaign, at=NOW, **row))


def test_trainings_that_bring_nothing_are_counted_until_one_does(ledger: Ledger) -> None:
    trained(ledger, "first", NOW, 1, "UA", "AA", "B6", "DL")
    ended(
        ledger,
        *(("UA", action, "gate") for action in ("refuse", "promote", "refuse", "fail", "begin", "abandon")),
        *(("AA", action, "gate") for action in ("refuse", "wait")),
        ("B6", "refuse", "person"),  # that is an opinion of what had passed
        ("DL", "refuse", "gate"),
    )
    attempts = LearnStation(ledger, FrozenClock(NOW)).attempts("delay")
    assert {segment[0]: one.refused for segment, one in attempts.items()} == {
        "UA": 3,
        "AA": 0,
        "B6": 0,
        "DL": 1,
    }


def test_what_was_spent_is_of_today_and_of_the_policy(ledger: Ledger) -> None:
    station = LearnStation(ledger, FrozenClock(NOW))
    assert station.spent("delay", NOW) == Spent()
    later = NOW + timedelta(hours=3)
    for campaign, at, segments in (
        ("old", NOW - timedelta(hours=1), ["UA"]),
        ("new", later, ["UA", "AA", "B6"]),
    ):
        trained(ledger, campaign, at, 1, *segments)
    with ledger.write() as db:
        db.execute(update(campaigns).values(seconds=6.0, by="policy"))
    trained(ledger, "hand", later, 1, "DL")
    record(ledger, NOW - timedelta(hours=1), TRAIN, campaign="old")
    record(
        ledger, later, TRAIN, replace(TRAIN, segment=("AA",)), replace(TRAIN, segment=("B6",)), campaign="new"
    )
    ended(ledger, ("B6", "close", "code"), campaign="new")
    assert station.spent("delay", later) == Spent(2, 6.0, 12.0 / 5)


def test_what_was_taken_back_today_of_yesterday_s_leaves_today_s_budget_as_it_is(ledger: Ledger) -> None:
    other = replace(TRAIN, segment=("AA",))
    record(ledger, NOW - timedelta(hours=1), TRAIN, other, campaign="old")
    record(ledger, NOW + timedelta(hours=1), TRAIN, campaign="new")
    row = {"model": "delay", "trigger": "code", "reason": "", "evidence": {}, "at": NOW + timedelta(hours=2)}
    with ledger.write() as db:
        taken_back = [{**row, "action": "close", "segment": one, "campaign": "old"} for one in ("UA", "AA")]
        db.execute(insert(decisions), taken_back)
    station = LearnStation(ledger, FrozenClock(NOW))
    assert station.spent("delay", NOW + timedelta(hours=3)).trainings == 1
    with ledger.write() as db:
        db.execute(insert(decisions), [{**row, "action": "close", "segment": "UA", "campaign": "new"}])
    assert station.spent("delay", NOW + timedelta(hours=3)).trainings == 0


def test_what_an_attempt_learned_from_is_what_its_plan_says(ledger: Ledger) -> None:
    trained(ledger, "first", NOW - timedelta(days=3), 1, "", "UA")
    trained(ledger, "second", NOW, 2, "UA")
    plan = {"code": "abc", "inputs": {"flights": 2, "weather": 5}}
    with ledger.write() as db:
        db.execute(update(campaigns).where(campaigns.c.id == "second").values(plan=plan))
    station = LearnStation(ledger, FrozenClock(NOW))
    attempts = station.attempts("delay")
    assert attempts["UA",] == Attempt(NOW, 2, 0, plan["inputs"], "abc")
    assert attempts[()] == Attempt(NOW - timedelta(days=3), 1)
    deployed(ledger, "", "UA")
    now: dict[str, Any] = {"rows": {}, "attempts": attempts, "watches": [], "now": NOW}
    whole, mine = station.states(replace(DEFINITION, code="xyz"), **now, inputs={"flights": 2, "weather": 6})
    assert (mine.new_data, mine.new_code) == ({"weather": 6}, True)
    assert (whole.new_data, whole.new_code) == ({}, False)  # what it learned from is not known
    whole, mine = station.states(replace(DEFINITION, code="abc"), **now, inputs={"flights": 2, "weather": 5})
    assert (mine.new_data, mine.new_code) == ({}, False)


def test_the_factory_may_have_a_budget_of_its_own(ledger: Ledger) -> None:
    assert LearnStation(ledger, FrozenClock(NOW)).whole(NOW) == []
    station = LearnStation(ledger, FrozenClock(NOW), Budget(trainings=5))
    (limit,) = station.whole(NOW)
    assert (limit.left, limit.spent) == (5, Spent())
    trained(ledger, "yesterday", NOW - timedelta(days=1), 1, "UA")
    trained(ledger, "c", NOW, 1, "UA", "AA")
    record(ledger, NOW - timedelta(days=1), TRAIN, campaign="yesterday")
    record(ledger, NOW, TRAIN, replace(TRAIN, segment=("AA",)), campaign="c")
    with ledger.write() as db:
        db.execute(update(campaigns).where(campaigns.c.id == "c").values(by="policy", seconds=3.0))
    (limit,) = station.whole(NOW)
    assert (limit.left, limit.spent) == (3, Spent(2, 3.0, 1.5))
    assert station.longest_ago() == {"delay": NOW}


def test_what_was_read_of_a_campaign_that_is_over_holds_until_it_is_begun_again(ledger: Ledger) -> None:
    def ended(campaign: str, at: datetime | None) -> None:
        with ledger.write() as db:
            db.execute(update(campaigns).where(campaigns.c.id == campaign).values(finished=at))

    def tried() -> dict[str, int]:
        return {
            ",".join(map(str, one)): found.dataset_version for one, found in station.attempts("delay").items()
        }

    station = LearnStation(ledger, FrozenClock(NOW))
    trained(ledger, "first", NOW - timedelta(days=2), 1, "UA")
    ended("first", NOW)
    assert tried() == {"UA": 1}
    trained(ledger, "second", NOW - timedelta(days=1), 2, "UA")
    assert tried() == {"UA": 2}
    ended("first", None)
    with ledger.write() as db:
        blank: dict[str, Any] = {"params": {}, "metrics": {}, "tags": {}, "artifacts": {}, "started": NOW}
        run = {"id": "r", "name": "delay", "segment": "AA", "campaign": "first", "kind": "training"}
        db.execute(insert(runs).values(**run, status="failed", dataset="flights", dataset_version=1, **blank))
    assert tried() == {"UA": 2, "AA": 1}
