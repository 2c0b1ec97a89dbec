"""Every searcher keeps the promises of the port; Optuna's is better than chance."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelworks.core.errors import Invalid
from modelworks.train.searchers import SEARCHERS
from modelworks.train.searchers.port import Choice, Params, Searcher, Span, Trial, read_space
from modelworks.train.tune import Tune

SPACE = read_space(
    {"C": (0.01, 100.0, "log"), "depth": (2, 10), "share": (0.0, 1.0), "kind": ["a", "b", None]}
)


def inside(params: Params) -> bool:
    return (
        list(params) == list(SPACE)
        and 0.01 <= params["C"] <= 100
        and params["depth"] in range(2, 11)
        and isinstance(params["depth"], int)
        and 0 <= params["share"] <= 1
        and params["kind"] in ("a", "b", None)
    )


def searched(
    suggest: Searcher, space: Any, loss: Callable[[Params], float], trials: int, seed: int
) -> Sequence[Trial]:
    past: list[Trial] = []
    while len(past) < trials:
        numbers = range(len(past), len(past) + 4)
        found = suggest(space, past, numbers, seed)
        past += [Trial(number, one, loss(one)) for number, one in zip(numbers, found, strict=False)]
        if len(found) < 4:
            break
    return past


@pytest.mark.parametrize("name", sorted(SEARCHERS))
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), losses=st.lists(st.none() | st.floats(-5, 5), max_size=5))
def test_suggestions_lie_in_the_space_and_depend_on_nothing_else(
    name: str, seed: int, losses: list[float | None]
) -> None:
    suggest = SEARCHERS[name]
    outside = {"C": 1e6, "depth": 2, "share": 0.5, "kind": "a"}  # what stood in a definition before
    past = [Trial(0, outside, 1.0)]
    for number, loss in enumerate(losses, 1):
        (one,) = suggest(SPACE, past, [number], seed)
        past.append(Trial(number, one, loss, pruned=loss is not None and loss > 4))
    numbers = range(len(past), len(past) + 3)
    found = suggest(SPACE, past, numbers, seed)
    assert len(found) == 3
    assert all(map(inside, found))
    assert found == suggest(SPACE, list(past), list(numbers), seed)


def test_a_grid_tries_every_combination_once() -> None:
    space = read_space({"a": [1, 2], "b": (1, 3), "c": (1.0, 100.0, "log")})
    tried = [dict(trial.params) for trial in searched(SEARCHERS["grid"], space, lambda _: 0.0, 1000, 0)]
    assert len(tried) == 2 * 3 * 5
    assert all(one not in tried[:at] for at, one in enumerate(tried))
    assert [one["c"] for one in tried[:5]] == pytest.approx([1, 10**0.5, 10, 10**1.5, 100])


def test_random_numbers_are_spread_as_the_space_says() -> None:
    found = SEARCHERS["random"](SPACE, [], range(2000), 1)
    low = sum(one["C"] < 1 for one in found) / 2000
    assert abs(low - 0.5) < 4 * math.sqrt(0.25 / 2000)  # half of the orders of magnitude
    for depth in range(3, 10):  # the ends have half the room
        share = sum(one["depth"] == depth for one in found) / 2000
        assert abs(share - 1 / 8) < 4 * math.sqrt(1 / 8 * 7 / 8 / 2000)


def test_optuna_finds_a_valley_that_chance_misses() -> None:
    space = read_space({"x": (-5.0, 5.0), "y": (0.001, 1000.0, "log"), "kind": ["good", "bad", "worse"]})

    def loss(params: Params) -> float:
        off = {"good": 0, "bad": 2, "worse": 4}[params["kind"]]
        return (params["x"] - 1.5) ** 2 + math.log10(params["y"] / 30) ** 2 + off

    def best(name: str, seed: int) -> float:
        return min(trial.loss or 0.0 for trial in searched(SEARCHERS[name], space, loss, 48, seed))

    better = sum(best("tpe", seed) < best("random", seed) for seed in range(10))
    assert better >= 8  # by chance in 1 of 18 cases


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"C": (1, 0)},
        {"C": (0, 1, "log")},
        {"C": (1, 2, "lin")},
        {"C": "abc"},
        {"C": []},
        {"C": (0, math.inf)},
    ],
)
def test_what_is_no_space_is_refused(wrong: Any) -> None:
    with pytest.raises(Invalid):
        Tune(wrong)


def test_domains() -> None:
    assert read_space({"n": (1, 5), "f": (1, 5.0), "c": [True]}) == {
        "n": Span(1, 5, True, False),
        "f": Span(1, 5.0, False, False),
        "c": Choice((True,)),
    }
