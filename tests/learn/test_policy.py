"""Weighing triggers: cool-down, graduation, the most that is trained in one round."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelworks.core.errors import Invalid
from modelworks.learn.budget import Budget, Limit, Spent
from modelworks.learn.policy import Policy, decide
from modelworks.learn.triggers.every import Every
from modelworks.learn.triggers.on_rows import OnRows
from modelworks.learn.triggers.port import SegmentState

NOW = datetime(2024, 6, 1, tzinfo=UTC)
STATE = SegmentState(
    ("UA",), NOW, live=True, tried=NOW - timedelta(days=10), rows=500, new_rows=50, min_rows=100
)
POLICY = Policy((Every("7d"), OnRows(40)), cooldown=timedelta(days=3))


def test_a_segment_without_a_reason_is_not_mentioned() -> None:
    assert decide(POLICY, [replace(STATE, new_rows=0)]) == []
    assert decide(Policy(), [STATE]) == []


def test_all_reasons_are_told_the_strongest_first() -> None:
    (decision,) = decide(POLICY, [STATE])
    assert (decision.action, decision.trigger) == ("train", "every")
    assert decision.reason == (
        "it was last trained 10 days ago, the interval is 7 days; "
        "50 new rows have come since the last training, 40 are enough"
    )
    assert set(decision.evidence) == {"every", "on_rows"}
    assert decision.need == 10 / 7


def test_a_segment_that_was_just_trained_waits_and_says_so() -> None:
    (decision,) = decide(POLICY, [replace(STATE, tried=NOW - timedelta(hours=30))])
    assert decision.action == "hold"
    assert decision.reason.endswith("; but it was trained 1 day ago, the cool-down is 3 days")
    (decision,) = decide(POLICY, [replace(STATE, tried=NOW - timedelta(days=3))])
    assert decision.action == "train"


def test_a_segment_with_rows_enough_graduates() -> None:
    parented = replace(STATE, live=False, tried=None, rows=100, new_rows=100)
    (decision,) = decide(POLICY, [parented])
    assert (decision.action, decision.trigger) == ("train", "graduate")
    assert decision.reason == "it has 100 rows, 100 are enough for a model of its own"
    assert decide(POLICY, [replace(parented, rows=99)]) == []


def test_after_a_failed_attempt_it_waits_for_more_rows() -> None:
    failed = replace(STATE, live=False, rows=120, new_rows=20)
    assert decide(POLICY, [failed]) == []
    assert decide(POLICY, [replace(failed, new_rows=25)])[0].action == "train"


def test_where_not_all_can_be_trained_the_greatest_need_is_first() -> None:
    policy = replace(POLICY, triggers=(OnRows(40),), most=2)
    states = [
        replace(STATE, segment=(name,), new_rows=new) for name, new in (("a", 50), ("b", 400), ("c", 90))
    ]
    decided = {decision.segment[0]: decision for decision in decide(policy, states)}
    assert {name: decision.action for name, decision in decided.items()} == {
        "a": "hold",
        "b": "train",
        "c": "train",
    }
    assert decided["a"].reason.endswith("; but 2 others need it more")


@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 20), st.integers(0, 300), st.integers(0, 200)), max_size=12
    ),
    st.integers(0, 5),
)
def test_whatever_the_states_the_rules_hold(drawn: list[tuple[bool, int, int, int]], most: int) -> None:
    states = [
        replace(
            STATE, segment=(str(place),), live=live, tried=NOW - timedelta(days=age), rows=rows, new_rows=new
        )
        for place, (live, age, rows, new) in enumerate(drawn)
    ]
    decided = decide(replace(POLICY, most=most), states)
    by = {state.segment: state for state in states}
    assert len({decision.segment for decision in decided}) == len(decided)
    assert sum(decision.action == "train" for decision in decided) <= most
    for decision in decided:
        state = by[decision.segment]
        assert decision.reason
        assert decision.action == "hold" or state.tried is None or NOW - state.tried >= POLICY.cooldown
        assert state.live or state.rows >= state.min_rows
    assert decided == decide(replace(POLICY, most=most), states)


def test_a_segment_whose_trainings_bring_nothing_waits_longer_each_time() -> None:
    def action(refused: int, days: float, backoff: int = 3) -> str:
        state = replace(STATE, tried=NOW - timedelta(days=days), refused=refused)
        return decide(replace(POLICY, backoff=backoff), [state])[0].action

    assert [action(refused, 5.9) for refused in (0, 1)] == ["train", "hold"]
    assert [action(2, days) for days in (11.9, 12)] == ["hold", "train"]
    assert [action(9, days) for days in (23.9, 24)] == ["hold", "train"]  # doubled three times at most
    assert action(9, 3, backoff=0) == "train"
    (decision,) = decide(POLICY, [replace(STATE, refused=2)])
    assert decision.reason.endswith(
        "; but it was trained 10 days ago, the cool-down is 12 days (of 3 days): nothing came of it 2 times in a row"
    )


def test_the_budget_of_a_day_goes_to_the_greatest_need() -> None:
    states = [
        replace(STATE, segment=(name,), new_rows=new) for name, new in (("a", 50), ("b", 400), ("c", 90))
    ]
    policy = replace(POLICY, triggers=(OnRows(40),), budget=Budget(trainings=5))
    decided = decide(policy, states, [Limit(policy.budget, Spent(trainings=4))])
    assert [one.action for one in decided] == ["hold", "train", "hold"]
    assert decided[0].reason.endswith(
        "; but the budget of today is used: 4 of 5 trainings, 1 others need it more"
    )
    assert [one.action for one in decide(policy, states, [Limit(policy.budget)])] == ["train"] * 3
    assert {one.action for one in decide(policy, states, [Limit(policy.budget, Spent(trainings=5))])} == {
        "hold"
    }


def test_of_several_budgets_the_tightest_counts() -> None:
    states = [replace(STATE, segment=(name,), new_rows=new) for name, new in (("a", 50), ("b", 400))]
    limits = [
        Limit(Budget(), Spent(900)),
        Limit(Budget(trainings=5)),
        Limit(Budget(minutes=1), Spent(2, 40, 15), "its"),
    ]
    decided = decide(replace(POLICY, triggers=(OnRows(40),)), states, limits)
    assert [one.action for one in decided] == ["hold", "train"]
    assert "; but its budget of today is used: 0.7 of 1 minutes of a worker, 1 others" in decided[0].reason


@pytest.mark.parametrize(
    ("budget", "spent", "left"),
    [
        (Budget(), Spent(900, 1e9, 60), None),
        (Budget(minutes=2), Spent(), None),  # nobody knows yet what one takes
        (Budget(minutes=2), Spent(0, 60, 25), 2),
        (Budget(minutes=2), Spent(0, 120, None), 0),
        (Budget(trainings=1, minutes=2), Spent(0, 0, 30), 1),
        (Budget(trainings=3), Spent(7), 0),
    ],
)
def test_what_is_left_of_a_budget(budget: Budget, spent: Spent, left: int | None) -> None:
    assert budget.left(spent) == left


def test_a_budget_that_cannot_be_meant_is_refused() -> None:
    for wrong in ({"trainings": 0}, {"minutes": -1.0}):
        with pytest.raises(Invalid):
            Budget(**wrong)  # type: ignore[arg-type]
