"""What siblings say of each other: the small ones that decay with the large one are trained with it, others are not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelworks.core.errors import Invalid
from modelworks.learn.policy import Policy, decide
from modelworks.learn.siblings import shrunk
from modelworks.learn.simulation import policies
from modelworks.learn.triggers.on_decay import OnDecay
from modelworks.learn.triggers.on_drift import OnDrift
from modelworks.learn.triggers.port import SegmentState

NOW = datetime(2024, 6, 1, tzinfo=UTC)
STATE = SegmentState(
    ("UA", "EWR"), NOW, live=True, tried=NOW - timedelta(days=10), rows=500, new_rows=50, min_rows=100
)
DECAY = Policy((OnDecay(by=0.05),), siblings=True)
DRIFT = Policy((OnDrift(psi=0.2),), siblings=True)


def sibling(name: str, worse: float, error: float, labelled: int = 60, **more: object) -> SegmentState:
    loss = {
        "labelled": labelled,
        "loss": 0.4 + worse,
        "loss_error": error,
        "promised": 0.4,
        "promised_error": 0.0,
    }
    return replace(STATE, segment=("UA", name), **(loss | more))  # type: ignore[arg-type]


def trained(policy: Policy, *states: SegmentState) -> dict[str, str]:
    return {one.segment[-1]: one.trigger for one in decide(policy, states) if one.action == "train"}


def test_small_ones_that_cannot_say_so_are_trained_with_a_large_one() -> None:
    family = [sibling("A", 0.12, 0.02), *(sibling(name, 0.11, 0.07, 20) for name in "BCD")]
    assert trained(DECAY, *family) == {"A": "on_decay", "B": "siblings", "C": "siblings", "D": "siblings"}
    assert trained(replace(DECAY, siblings=False), *family) == {"A": "on_decay"}
    (_, other, *_) = decide(DECAY, family)
    assert "its siblings are worse than at validation, and so is it" in other.reason
    assert other.evidence["siblings"]["siblings"] == 3


def test_one_that_is_surely_well_is_left_alone_and_so_is_a_family_of_which_only_one_decays() -> None:
    well = [sibling(name, 0.0, 0.01, 500) for name in "BCDE"]
    assert trained(DECAY, sibling("A", 0.12, 0.02), *well) == {"A": "on_decay"}
    mixed = [
        sibling("A", 0.12, 0.02),
        sibling("B", 0.13, 0.02),
        sibling("C", 0.11, 0.06, 20),
        sibling("D", 0.0, 0.01),
    ]
    assert trained(DECAY, *mixed).keys() == {"A", "B"}


def test_nobody_is_trained_where_none_says_so_by_itself_nor_of_another_family() -> None:
    assert trained(DECAY, *(sibling(name, 0.11, 0.08, 20) for name in "ABCDEF")) == {}
    cousin = replace(sibling("B", 0.11, 0.07, 20), segment=("AA", "B"))
    assert trained(DECAY, sibling("A", 0.12, 0.02), cousin) == {"A": "on_decay"}


def test_a_sibling_has_its_own_cool_down_and_needs_new_rows() -> None:
    just = NOW - timedelta(hours=1)
    family = [
        sibling("A", 0.12, 0.02),
        sibling("B", 0.12, 0.07, 20, tried=just),
        sibling("C", 0.12, 0.07, 20, new_rows=0),
    ]
    held = {one.segment[-1]: (one.action, one.trigger) for one in decide(DECAY, family)}
    assert held == {"A": ("train", "on_decay"), "B": ("hold", "siblings")}


def test_what_shifts_at_one_and_half_as_far_at_another_is_one_reason() -> None:
    def moved(
        name: str, wind: float, rain: float, *shifted: str, shifting: tuple[str, ...] = ()
    ) -> SegmentState:
        psi = {"wind": wind, "rain": rain}
        return replace(STATE, segment=("UA", name), psi=psi, shifted=shifted, shifting=shifting or shifted)

    family = [
        moved("A", 0.5, 0.0, "wind"),
        moved("B", 0.15, 0.0, shifting=("wind",)),
        moved("C", 0.05, 0.0, shifting=("wind",)),  # not half as far
        moved("D", 0.0, 0.15, shifting=("rain",)),  # something else
        moved("E", 0.15, 0.0),  # by chance
    ]
    assert trained(DRIFT, *family) == {"A": "on_drift", "B": "siblings"}


def test_of_rmse_it_is_weighed_by_squared_errors() -> None:
    policy = Policy((OnDecay("rmse", by=1.0),), siblings=True)

    def one(name: str, rmse: float, error: float) -> SegmentState:
        more = {"loss": rmse**2, "promised": 4.0, "loss_error": error, "loss_kind": "squared_error"}
        return sibling(name, 0.0, error, **more)

    assert trained(policy, one("A", 3.4, 0.5), one("B", 3.3, 4.0)) == {"A": "on_decay", "B": "siblings"}
    assert trained(policy, one("A", 3.4, 0.5), one("B", 2.2, 0.3)) == {"A": "on_decay"}


@given(
    st.lists(st.tuples(st.floats(-2, 2), st.floats(0.05, 2)), min_size=1, max_size=8),
)
def test_each_is_drawn_between_itself_and_the_others_and_never_made_surer_than_all(
    told: list[tuple[float, float]],
) -> None:
    values, errors = np.array(told).T
    mean, spread = shrunk(values, errors)
    assert (mean >= values.min() - 1e-9).all()
    assert (mean <= values.max() + 1e-9).all()
    assert (spread <= errors * (1 + 1e-9)).all()
    assert (spread >= np.sqrt(1 / np.square(1 / errors).sum()) * (1 - 1e-9)).all()


def test_values_that_are_drawn_together_are_nearer_to_the_truth() -> None:
    """Stein's paradox: the mean squared error is less than that of the values themselves."""
    rng = np.random.default_rng(0)
    before = after = covered = 0.0
    for _ in range(300):
        truth, errors = rng.normal(0.1, 0.1, 12), rng.uniform(0.05, 0.3, 12)
        seen = truth + rng.normal(size=12) * errors
        mean, spread = shrunk(seen, errors)
        before += float(np.square(seen - truth).sum())
        after += float(np.square(mean - truth).sum())
        covered += float((np.abs(mean - truth) < 2 * spread).mean()) / 300
    assert after < 0.5 * before
    assert covered > 0.9


def test_a_simulated_policy_takes_siblings_along() -> None:
    found = policies(["decay+siblings", "decay"], Policy())
    assert found["decay+siblings"] == Policy((OnDecay(),), siblings=True)
    assert not found["decay"].siblings
    with pytest.raises(Exception, match="no policy"):
        policies(["siblings"], Policy())


def test_no_more_policies_are_compared_than_can_be() -> None:
    with pytest.raises(Invalid, match="too many"):
        policies([f"every={days}d" for days in range(1, 60)], Policy())
