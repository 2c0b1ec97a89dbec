"""Weighing triggers: cool-down, graduation, the most that is trained in one round."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

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
