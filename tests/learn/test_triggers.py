"""The contract of triggers, over every entry of the catalog; then each for itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields, is_dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from modelworks.core.errors import Invalid, NotFound
from modelworks.core.plain import plain
from modelworks.learn.triggers import TRIGGERS
from modelworks.learn.triggers.every import Every
from modelworks.learn.triggers.on_code import OnCode
from modelworks.learn.triggers.on_data import OnData
from modelworks.learn.triggers.on_decay import OnDecay
from modelworks.learn.triggers.on_detector import OnDetector
from modelworks.learn.triggers.on_drift import OnDrift
from modelworks.learn.triggers.on_gain import OnGain
from modelworks.learn.triggers.on_outcomes import OnOutcomes
from modelworks.learn.triggers.on_rows import OnRows
from modelworks.learn.triggers.port import SegmentState, Trigger, lasting

NOW = datetime(2024, 6, 1, tzinfo=UTC)
HEALTHY = SegmentState(
    ("UA",), NOW, live=True, tried=NOW - timedelta(hours=1), rows=1000, new_rows=10, min_rows=100, labelled=400,
    answered=800, days=8, loss=0.5, loss_error=0.02, promised=0.5, promised_error=0.02,
    psi={"wind": 0.05, "rain": 0.0}, losses=np.random.default_rng(0).exponential(0.5, 2000),
)  # fmt: skip
ILL = replace(
    HEALTHY, tried=NOW - timedelta(days=99), new_rows=9000, rows=9999, loss=2.0, shifted=("wind", "rain"),
    psi={"wind": 0.9, "rain": 0.4}, losses=np.random.default_rng(0).exponential(np.repeat([0.5, 2.0], 1000)),
    labelled=700, new_data={"flights": 7}, new_code=True,
)  # fmt: skip
MAKE: dict[str, Callable[[], Trigger]] = {
    "every": lambda: Every("7d"),
    "on_code": OnCode,
    "on_data": OnData,
    "on_decay": lambda: OnDecay("log_loss", by=0.1),
    "on_detector": lambda: OnDetector("adwin"),
    "on_drift": OnDrift,
    "on_gain": lambda: OnGain(worth=20, cost=0.5),
    "on_outcomes": lambda: OnOutcomes(500),
    "on_rows": lambda: OnRows(5000),
}


@pytest.fixture(params=list(TRIGGERS))
def trigger(request: pytest.FixtureRequest) -> Trigger:
    name = str(request.param)
    made = MAKE[name]() if name in MAKE else TRIGGERS[name]()
    assert isinstance(made, TRIGGERS[name])
    return made


# -- the contract ----------------------------------------------------------------------------------------


def test_it_is_a_frozen_dataclass_written_as_in_the_project(trigger: Any) -> None:
    assert is_dataclass(trigger)
    for field in fields(trigger):
        with pytest.raises(FrozenInstanceError):
            setattr(trigger, field.name, None)
    assert eval(repr(trigger), {type(trigger).__name__: type(trigger)}) == trigger
    assert hash(trigger) == hash(replace(trigger))


def test_a_healthy_segment_gives_no_reason(trigger: Trigger) -> None:
    assert trigger.judge(HEALTHY) is None


def test_an_ill_one_gives_a_reason_in_words_and_numbers(trigger: Trigger) -> None:
    fired = trigger.judge(ILL)
    assert fired is not None
    assert TRIGGERS[fired.trigger] is type(trigger)
    assert fired.reason
    assert not fired.reason.endswith(".")
    assert fired.need >= 1
    assert plain(fired.evidence)


def test_it_is_pure(trigger: Trigger) -> None:
    assert trigger.judge(ILL) == trigger.judge(replace(ILL))


def test_what_is_not_known_is_no_reason_and_no_error(trigger: Trigger) -> None:
    blank = SegmentState((), NOW, live=True, tried=None, rows=0, new_rows=0, min_rows=100)
    assert trigger.judge(blank) is None


def test_without_anything_new_to_learn_from_there_is_no_reason(trigger: Trigger) -> None:
    assert trigger.judge(replace(ILL, new_rows=0, new_data={}, new_code=False)) is None


# -- each for itself -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("age", "fires"), [(timedelta(days=6, hours=23), False), (timedelta(days=7), True)])
def test_every_counts_from_the_last_training_whatever_came_of_it(age: timedelta, fires: bool) -> None:
    fired = Every("7d").judge(replace(HEALTHY, tried=NOW - age))
    assert (fired is not None) == fires
    if fired:
        assert fired.reason == "it was last trained 7 days ago, the interval is 7 days"


@pytest.mark.parametrize(("new", "fires"), [(4999, False), (5000, True)])
def test_on_rows_counts_new_rows(new: int, fires: bool) -> None:
    assert (OnRows(5000).judge(replace(HEALTHY, new_rows=new)) is not None) == fires


def test_on_rows_takes_the_smaller_of_number_and_share() -> None:
    state = replace(HEALTHY, rows=1000, new_rows=250)
    assert OnRows(share=0.25).judge(state) is not None
    assert OnRows(share=0.26).judge(state) is None
    assert OnRows(rows=5000, share=0.25).judge(state) is not None


def test_on_outcomes_counts_those_of_the_champion() -> None:
    assert OnOutcomes(400).judge(HEALTHY) is not None
    assert OnOutcomes(401).judge(HEALTHY) is None
    assert OnOutcomes(400).judge(replace(HEALTHY, new_rows=0)) is None


def test_on_data_and_on_code_need_no_new_rows() -> None:
    fired = OnData().judge(replace(HEALTHY, new_rows=0, new_data={"weather": 3, "flights": 9}))
    assert fired is not None
    assert fired.reason.endswith("the data has changed: flights is at version 9, weather is at version 3")
    assert OnCode().judge(replace(HEALTHY, new_rows=0, new_code=True)) is not None


def test_on_decay_needs_a_difference_that_is_large_and_not_by_chance() -> None:
    trigger = OnDecay("log_loss", by=0.05)
    assert trigger.judge(replace(HEALTHY, loss=0.54)) is None  # too small
    assert trigger.judge(replace(HEALTHY, loss=0.555)) is None  # 1.9 standard errors
    assert trigger.judge(replace(HEALTHY, loss=0.56)) is not None  # 2.1
    assert trigger.judge(replace(HEALTHY, loss=0.56, promised_error=0.05)) is None
    assert trigger.judge(replace(HEALTHY, loss=0.56, labelled=49)) is None
    assert trigger.judge(replace(HEALTHY, loss=0.3)) is None


def test_on_decay_of_values_is_in_their_own_unit() -> None:
    state = replace(
        HEALTHY, loss_kind="squared_error", loss=9.0, promised=4.0, loss_error=0.5, promised_error=0.5
    )
    fired = OnDecay("rmse", by=1.0).judge(state)
    assert fired is not None
    assert fired.reason == "rmse is 3.000 over 400 outcomes, 2.000 at validation"
    assert OnDecay("rmse", by=1.1).judge(state) is None
    assert OnDecay("log_loss", by=0.1).judge(state) is None


def test_on_drift_counts_shifted_features_that_reach_its_limit() -> None:
    assert OnDrift(psi=0.5).judge(ILL) is not None
    assert OnDrift(features=2, psi=0.5).judge(ILL) is None
    assert OnDrift(features=2).judge(ILL) is not None
    assert OnDrift().judge(replace(ILL, shifted=())) is None  # far, but perhaps by chance
    fired = OnDrift().judge(ILL)
    assert fired is not None
    assert fired.reason == "2 inputs have shifted: wind (PSI 0.90), rain (PSI 0.40)"


@pytest.mark.parametrize(
    "senseless",
    [
        lambda: Every("soon"),
        lambda: OnOutcomes(0),
        lambda: OnRows(),
        lambda: OnRows(-5),
        lambda: OnRows(share=2),
        lambda: OnDecay("accuracy"),
        lambda: OnDecay(by=0),
        lambda: OnDrift(features=0),
    ],
)
def test_a_senseless_limit_is_refused_at_once(senseless: Callable[[], Trigger]) -> None:
    with pytest.raises(Invalid):
        senseless()


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (timedelta(days=1), "1 day"), (timedelta(days=3, hours=5), "3 days"), (timedelta(hours=20), "20 hours"),
        (timedelta(minutes=61), "1 hour"), (timedelta(minutes=5), "5 minutes"),
        (timedelta(seconds=9), "less than a minute"),
    ],
)  # fmt: skip
def test_times_read_as_people_say_them(time: timedelta, text: str) -> None:
    assert lasting(time) == text


def test_on_gain_weighs_what_is_won_back_against_the_cost() -> None:
    # 0.2 above, its error 0.02 * sqrt(2): 0.196 are likely; half of it, over 100 predictions a day and 28 days.
    state = replace(HEALTHY, loss=0.7)
    likely = 0.2 * (1 - 0.0008 / 0.04)
    gain = 0.5 * likely * 2800 * 2
    fired = OnGain(worth=2, cost=gain * 0.99).judge(state)
    assert fired is not None
    assert fired.evidence["gain"] == pytest.approx(gain)
    assert fired.need == pytest.approx(1 / 0.99)
    assert OnGain(worth=2, cost=gain * 1.01).judge(state) is None
    assert OnGain(worth=2, cost=gain * 1.01, horizon="29d").judge(state) is not None
    assert OnGain(worth=2, cost=0).judge(replace(state, loss=0.52)) is None  # within what is chance
    assert OnGain(worth=2, cost=0).judge(replace(state, loss=0.4)) is None


@pytest.mark.parametrize(
    "wrong", [{"worth": 0}, {"cost": -1}, {"recovers": 0}, {"recovers": 2}, {"horizon": "long"}]
)
def test_on_gain_refuses_what_could_not_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        OnGain(**{"worth": 1, "cost": 1, **wrong})


def test_on_detector_looks_at_the_rows_in_their_order() -> None:
    fired = OnDetector("adwin").judge(ILL)
    assert fired is not None
    assert 1000 <= fired.evidence["places"][-1] < 1300
    assert "rise of the loss" in fired.reason
    assert OnDetector("ddm").judge(replace(ILL, loss_kind="squared_error")) is None
    assert OnDetector("adwin").judge(replace(ILL, new_rows=0)) is None
    assert OnDetector("page_hinkley", 1e9).judge(ILL) is None
    with pytest.raises(NotFound):
        OnDetector("tea_leaves")
    with pytest.raises(Invalid):
        OnDetector("adwin", 0)
