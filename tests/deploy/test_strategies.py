"""Every rollout strategy of the catalog keeps the port's promises."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelworks.deploy.strategies import STRATEGIES
from modelworks.deploy.strategies.direct import Direct
from modelworks.deploy.strategies.port import Observation, Rollout

NOW = datetime(2024, 1, 1, tzinfo=UTC)
MAKE = {"direct": Direct}
"""How one of each is made; a plug without an entry here fails the contract."""

sides = st.sampled_from(["champion", "challenger"])
rollouts = st.builds(
    Rollout, st.none() | st.integers(1, 9), st.integers(1, 9), st.floats(0, 1), st.none() | st.just(NOW)
)
values = st.dictionaries(st.just("log_loss"), st.none() | st.floats(0, 9))
observations = st.builds(
    Observation, st.just(NOW), st.dictionaries(sides, st.integers(0, 10**6)), st.dictionaries(sides, values)
)


@pytest.mark.parametrize("name", sorted(STRATEGIES))
@settings(deadline=None, max_examples=60)
@given(state=rollouts, seen=observations)
def test_contract_every_step_is_pure_and_explains_itself(
    name: str, state: Rollout, seen: Observation
) -> None:
    assert name in MAKE, f"say in MAKE how a {name} is made"
    strategy = MAKE[name]()
    step = strategy.next(state, seen)
    assert strategy.next(state, seen) == step
    assert step.action in ("promote", "go_on", "abandon")
    assert 0 <= step.share <= 1
    assert len(step.reason.split()) >= 3


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_contract_every_strategy_is_a_frozen_value_known_by_its_name(name: str) -> None:
    strategy = MAKE[name]()
    assert isinstance(strategy, STRATEGIES[name])
    assert strategy == MAKE[name]()
    assert json.loads(json.dumps(strategy.to_json()))["kind"] == name
    with pytest.raises((FrozenInstanceError, TypeError)):
        strategy.share = 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_contract_a_segment_without_a_champion_gets_one_at_once(name: str) -> None:
    assert MAKE[name]().next(Rollout(None, 1), Observation(NOW)).action == "promote"


def test_direct_promotes_whatever_is_seen() -> None:
    bad = Observation(NOW, {"challenger": 5}, {"challenger": {"log_loss": 9.0}})
    step = Direct().next(Rollout(1, 2), bad)
    assert (step.action, step.share, step.reason) == ("promote", 1.0, "version 2 replaces 1 at once")
