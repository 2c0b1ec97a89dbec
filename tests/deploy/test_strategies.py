"""Every rollout strategy of the catalog keeps the port's promises."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelworks.core.errors import Invalid
from modelworks.deploy.holdout import Holdout
from modelworks.deploy.strategies import STRATEGIES, strategy_of
from modelworks.deploy.strategies.ab import AB
from modelworks.deploy.strategies.bandit import Bandit
from modelworks.deploy.strategies.blue_green import BlueGreen
from modelworks.deploy.strategies.canary import Canary
from modelworks.deploy.strategies.direct import Direct
from modelworks.deploy.strategies.guard import Guard
from modelworks.deploy.strategies.port import Observation, Rollout, Strategy
from modelworks.deploy.strategies.seen import Arm, Sums
from modelworks.deploy.strategies.shadow import Shadow

NOW = datetime(2024, 1, 1, tzinfo=UTC)
MAKE = {
    "ab": lambda: AB(share=50),
    "bandit": Bandit,
    "blue_green": BlueGreen,
    "canary": lambda: Canary(steps=[5, 25, 100], by="customer"),
    "direct": Direct,
    "shadow": lambda: Shadow(guard=Guard(risk=0.1)),
}
"""How one of each is made; a plug without an entry here fails the contract."""

counts = st.integers(0, 10**6)
sums = st.builds(Sums, counts, st.floats(-1e6, 1e6), st.floats(0, 1e9))
arms = st.builds(Arm, counts, counts, counts, sums, st.dictionaries(st.integers(-99, 99), counts), sums)
rollouts = st.builds(
    Rollout,
    st.none() | st.integers(1, 9),
    st.integers(1, 9),
    st.floats(0, 1),
    st.none() | st.just(NOW),
    counts,
)
observations = st.builds(
    Observation, st.just(NOW + timedelta(hours=1)), arms, arms, sums, st.integers(0, 3), st.integers(0, 3),
    st.sampled_from(["", "it is damaged"]),
)  # fmt: skip


NOTHING = Arm()


def seen(
    champion: Arm = NOTHING, challenger: Arm = NOTHING, hours: float = 1.0, **more: object
) -> Observation:
    """What was seen of both."""
    return replace(Observation(NOW + timedelta(hours=hours), champion, challenger), **more)


@pytest.mark.parametrize("name", sorted(STRATEGIES))
@settings(deadline=None, max_examples=60)
@given(state=rollouts, what=observations)
def test_contract_every_step_is_pure_and_explains_itself(
    name: str, state: Rollout, what: Observation
) -> None:
    assert name in MAKE, f"say in MAKE how a {name} is made"
    strategy = MAKE[name]()
    step = strategy.next(state, what)
    assert strategy.next(state, what) == step
    assert step.action in ("promote", "go_on", "abandon")
    assert 0 <= step.share <= 1
    assert len(step.reason.split()) >= 3


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_contract_every_strategy_is_a_frozen_value_known_by_its_name(name: str) -> None:
    strategy = MAKE[name]()
    assert isinstance(strategy, STRATEGIES[name])
    assert strategy == MAKE[name]()
    stored = json.loads(json.dumps(strategy.to_json()))
    assert stored["kind"] == name
    assert strategy_of(stored) == strategy
    with pytest.raises((FrozenInstanceError, TypeError)):
        strategy.share = 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_contract_a_segment_without_a_champion_gets_one_at_once(name: str) -> None:
    assert MAKE[name]().next(Rollout(None, 1), Observation(NOW)).action == "promote"


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_contract_a_rollout_with_good_news_alone_ends_with_the_challenger(name: str) -> None:
    """Whatever the strategy: as rows come, loss lower, it gets there in a few steps."""
    strategy, state, rows = MAKE[name](), Rollout(1, 2), 0
    step = strategy.next(state, Observation(NOW))
    hours = 0
    while step.action == "go_on":
        hours += 1
        assert hours < 10, step
        rows += 5000
        state = replace(state, share=step.share, since=state.since or NOW)
        worse, better = (
            Arm(rows, loss=Sums(rows, rows * mean, rows * (mean**2 + 0.01))) for mean in (0.5, 0.4)
        )
        step = strategy.next(state, seen(worse, better, hours, servers=2, loaded=2))
    assert step.action == "promote", step


def test_direct_promotes_whatever_is_seen() -> None:
    step = Direct().next(Rollout(1, 2), seen(challenger=Arm(5, failed=5)))
    assert (step.action, step.share, step.reason) == ("promote", 1.0, "version 2 replaces 1 at once")


def test_a_canary_takes_one_step_after_the_other_and_waits_for_rows() -> None:
    canary = Canary(steps=[5, 25, 100], rows=100, hold="10m", patience="2d")
    first = canary.next(Rollout(1, 2), Observation(NOW))
    assert (first.action, first.share) == ("go_on", 0.05)
    state = Rollout(1, 2, 0.05, NOW)
    assert canary.next(state, seen(challenger=Arm(500), hours=0.1)).share == 0.05  # not held long enough
    few = canary.next(state, seen(challenger=Arm(99)))
    assert (few.share, few.reason) == (0.05, "stays at 5 %: 99 of 100 rows")
    assert canary.next(state, seen(challenger=Arm(100))).share == 0.25
    assert (
        canary.next(state, seen(challenger=Arm(3), hours=49)).share == 0.25
    )  # nobody asks: patience is over
    later = Rollout(1, 2, 0.25, NOW, rows=100)
    assert canary.next(later, seen(challenger=Arm(150))).action == "go_on"
    assert canary.next(later, seen(challenger=Arm(200))).action == "promote"


def test_a_canary_can_wait_for_outcomes() -> None:
    canary = Canary(steps=[50, 100], rows=10, outcomes=40)
    state = Rollout(1, 2, 0.5, NOW)
    few = canary.next(state, seen(challenger=Arm(100, loss=Sums(39, 10.0, 5.0))))
    assert (few.action, few.reason) == ("go_on", "stays at 50 %: 39 of 40 outcomes have come")
    assert canary.next(state, seen(challenger=Arm(100, loss=Sums(40, 10.0, 5.0)))).action == "promote"


@pytest.mark.parametrize(
    "strategy", [Canary(steps=[50, 100], rows=10, outcomes=40), Shadow(rows=10, outcomes=40)]
)
def test_outcomes_that_never_come_are_not_waited_for_for_ever(strategy: Canary | Shadow) -> None:
    state, few = Rollout(1, 2, 0.5, NOW), Arm(100, loss=Sums(3, 1.0, 0.5))
    waits = strategy.next(state, seen(challenger=few, hours=6.9 * 24))
    assert (waits.action, "3 of 40 outcomes have come" in waits.reason) == ("go_on", True)
    over = strategy.next(state, seen(challenger=few, hours=7 * 24))
    assert over.action == "abandon"
    assert over.reason == "only 3 of 40 outcomes have come in 7d: version 1 stays"
    patient = replace(strategy, patience="60d")
    assert patient.next(state, seen(challenger=few, hours=40 * 24)).action == "go_on"


HISTOGRAM = dict.fromkeys(range(20), 500)
BAD = {
    "failing": (Arm(5000), Arm(40, failed=9), "failed on 9 of 40 rows"),
    "rejecting": (Arm(5000), Arm(40, rejected=12), "does not take 12 of 40 rows"),
    "slow": (
        Arm(5000, seconds=Sums(5000, -5.2 * 5000, 5000 * (5.2**2 + 0.01))),
        Arm(300, seconds=Sums(300, -3.0 * 300, 300 * (3.0**2 + 0.01))),
        "times as long as the champion's",
    ),
    "shifted": (Arm(10_000, outputs=HISTOGRAM), Arm(400, outputs={19: 400}), "distributed otherwise"),
    "wrong": (
        Arm(5000, loss=Sums(5000, 0.3 * 5000, 5000 * 0.1)),
        Arm(300, loss=Sums(300, 0.9 * 300, 300 * 1.0)),
        "its loss is 0.900",
    ),
}


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("name", ["ab", "bandit", "canary", "shadow"])
def test_a_bad_challenger_is_taken_out_with_the_reason(what: str, name: str) -> None:
    champion, challenger, reason = BAD[what]
    step = MAKE[name]().next(Rollout(1, 2, 0.05, NOW), seen(champion, challenger))
    assert step.action == "abandon"
    assert reason in step.reason


@pytest.mark.parametrize("kind", [AB, Bandit])
def test_an_experiment_ends_by_its_patience_however_often_its_share_was_changed(kind: type[AB]) -> None:
    """Whose share has changed an hour ago has begun when it began."""
    even = Arm(400, loss=Sums(400, 200.0, 400 * 0.35))
    step = kind(patience="14d").next(Rollout(1, 2, 0.4, NOW, 0, NOW - timedelta(days=15)), seen(even, even))
    assert (step.action, "no difference was found" in step.reason) == ("abandon", True)


@pytest.mark.parametrize("failures", [0.01, 0.5, 0.999, 0.9999])
def test_what_never_fails_keeps_to_any_limit(failures: float) -> None:
    assert Guard(failures=failures).objection(seen(Arm(500), Arm(500))) == ""


def test_one_that_cannot_be_loaded_is_taken_out() -> None:
    for name in ("ab", "bandit", "blue_green", "canary", "shadow"):
        step = MAKE[name]().next(Rollout(1, 2, 0.0, NOW), seen(broken="it is damaged", servers=1))
        assert (step.action, "it is damaged" in step.reason) == ("abandon", True)


def test_blue_green_switches_when_every_server_has_it() -> None:
    strategy = BlueGreen(patience="5m")
    assert strategy.next(Rollout(1, 2), Observation(NOW)).share == 0
    state = Rollout(1, 2, 0.0, NOW)
    waiting = strategy.next(state, seen(hours=0.01, servers=3, loaded=2))
    assert (waiting.action, waiting.share, waiting.reason) == ("go_on", 0, "2 of 3 servers have loaded it")
    assert strategy.next(state, seen(servers=3, loaded=3)).action == "promote"
    assert strategy.next(state, seen(servers=0)).action == "promote"
    assert strategy.next(state, seen(servers=3, loaded=2)).action == "abandon"


def test_on_the_same_rows_little_is_enough() -> None:
    """Losses that vary a lot, their differences little: pairs tell what the two sides alone do not."""
    wide = Sums(200, 100.0, 200 * 2.0)
    state = Rollout(1, 2, 1.0, NOW)
    alone = seen(Arm(200, loss=wide), Arm(200, loss=Sums(200, 116.0, 200 * 2.2)))
    assert Shadow(rows=100).next(state, alone).action == "promote"
    pairs = Sums(200, 16.0, 200 * (0.08**2 + 0.01))
    assert Shadow(rows=100).next(state, replace(alone, pairs=pairs)).action == "abandon"


def test_an_experiment_ends_with_the_better_one_or_after_its_time() -> None:
    state = Rollout(1, 2, 0.5, NOW)
    other = Arm(1000, loss=Sums(1000, 500.0, 1000 * 0.3))
    worse = Arm(1000, loss=Sums(1000, 520.0, 1000 * 0.32))
    better = Arm(1000, loss=Sums(1000, 400.0, 1000 * 0.2))
    assert AB().next(state, seen(other, better)).action == "promote"
    assert AB(patience="14d").next(state, seen(other, worse)).action == "go_on"
    over = AB(patience="14d").next(state, seen(other, worse, hours=24 * 14))
    assert (over.action, over.reason) == ("abandon", "no difference was found in 14d: version 1 stays")


def test_a_bandit_asks_the_better_one_more_often() -> None:
    state = Rollout(1, 2, 0.5, NOW)
    other = Arm(400, loss=Sums(400, 200.0, 400 * 0.35))
    shares = [
        Bandit().next(state, seen(other, Arm(400, loss=Sums(400, total, 400 * 0.35)))).share
        for total in (212.0, 200.0, 192.0)
    ]
    assert shares[0] < shares[1] == 0.5 < shares[2] <= 0.95


@pytest.mark.parametrize(
    "make",
    [
        lambda: Canary(steps=[]),
        lambda: Canary(steps=[25, 5]),
        lambda: Canary(steps=[5, 101]),
        lambda: Canary(rows=0),
        lambda: AB(share=100),
        lambda: Shadow(share=0),
        lambda: Guard(risk=0),
        lambda: Guard(shift=2),
        lambda: Holdout(share=0),
        lambda: Holdout(answer="champion"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_meant_is_refused_when_it_is_written(make: object) -> None:
    with pytest.raises(Invalid):
        make()  # type: ignore[operator]


def test_strategies_are_written_as_they_are_read() -> None:
    strategy: Strategy = Canary(steps=[1, 100])
    assert repr(strategy).startswith("Canary(")


def test_a_slowness_beyond_all_measure_is_told() -> None:
    usual, endless = (replace(NOTHING, seconds=Sums(30, total, 0.0)) for total in (0.0, 30_000.0))
    assert "times as long" in Guard().objection(seen(usual, endless))
