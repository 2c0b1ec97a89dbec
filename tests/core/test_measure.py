"""Reference sketches: bins that hold equal counts, counts that merge by addition, bytes that are safe."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from modelworks.core.batch import Batch
from modelworks.core.errors import Invalid
from modelworks.core.measure import Reference, count, pack, unpack


def rows(rng: np.random.Generator, n: int, shift: float = 0.0) -> tuple[Batch, Any, Any]:
    """Rows with two numbers (the second mostly 0 or 1, some missing) and two texts."""
    numbers = np.column_stack([rng.normal(shift, 1, n), rng.integers(0, 2, n)]).astype(np.float32)
    numbers[rng.random(n) < 0.1, 1] = np.nan
    texts = np.empty((n, 2), object)
    texts[:, 0] = rng.choice(["a", "b", ""], n)
    texts[:, 1] = [f"v{value}" for value in rng.integers(0, 30, n)]
    scores = rng.random(n).astype(np.float32)
    return Batch(numbers, texts), scores, (rng.random(n) < scores).astype(float)


def test_deciles_hold_equal_counts() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(1000, 1)).astype(np.float32)
    made = Reference.build(Batch(values, np.empty((1000, 0), object)), rng.normal(size=1000))
    assert made.features.tolist() == [[100] * 10 + [0]]
    assert set(made.outputs.tolist()) == {50}
    assert made.edges[0] == pytest.approx(np.quantile(values, np.arange(1, 10) / 10), abs=0.02)


@pytest.mark.parametrize("n", [1, 7, 300])
def test_the_rows_it_was_made_of_count_as_they_did(n: int) -> None:
    batch, scores, y = rows(np.random.default_rng(n), n)
    made = Reference.build(batch, scores)
    counted = made.count(batch, scores, y)
    assert (counted.features == made.features).all()
    assert (counted.outputs.sum(axis=0) == made.outputs).all()
    assert counted.outputs.sum(axis=1).tolist() == [n - y.sum(), y.sum(), 0]
    assert made.rows == n


def test_no_rows_make_a_reference_that_counts() -> None:
    batch, scores, _ = rows(np.random.default_rng(1), 5)
    made = Reference.build(batch.take(slice(0, 0)), scores[:0])
    assert made.rows == 0
    assert made.count(batch, scores).features.sum(axis=1).tolist() == [5, 5, 5, 5]


@pytest.mark.parametrize(
    ("train", "live"), [([1, 1, 1], 2), ([1, 1, 1], 0), ([1, 2, 2], 3), ([0, 1, 1], 0.5)]
)
def test_a_column_of_few_values_can_be_seen_to_change(train: list[float], live: float) -> None:
    def batch(values: list[float]) -> Batch:
        return Batch(np.array(values, np.float32)[:, None], np.empty((len(values), 0), object))

    made = Reference.build(batch(train), np.zeros(3))
    place = made.count(batch([live]), np.zeros(1)).features[0].argmax()
    old = made.features[0].nonzero()[0]
    assert place not in old or live == 0.5  # between two known values there is no bin of its own


def test_missing_and_unseen_have_their_places() -> None:
    texts = np.array([["a"], ["a"], ["b"]], object)
    none = np.empty((3, 0), np.float32)
    made = Reference.build(Batch(none, texts), np.zeros(3))
    assert made.categories == (("a", "b"),)
    new = made.count(Batch(none, np.array([["a"], ["new"], [""]], object)), np.zeros(3)).features[0]
    assert new.tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]


def test_outputs_of_probabilities_have_fixed_bins_and_no_number_has_none() -> None:
    empty = Batch(np.empty((4, 0), np.float32), np.empty((4, 0), object))
    made = Reference.build(empty, np.array([0.0, 0.05, 1.0, np.nan]), probabilities=True)
    assert made.outputs.nonzero()[0].tolist() == [0, 1, 19]
    assert made.rows == 3


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), sizes=st.lists(st.integers(0, 60), min_size=1, max_size=5))
def test_the_sketch_of_the_union_is_the_sum_of_the_sketches(seed: int, sizes: list[int]) -> None:
    rng = np.random.default_rng(seed)
    made = Reference.build(*rows(rng, 50)[:2])
    parts = [rows(rng, n, shift=1.0) for n in sizes]
    total = made.count(*parts[0])
    for part in parts[1:]:
        total = total + made.count(*part)
    whole = Batch(
        np.concatenate([batch.numbers for batch, _, _ in parts]),
        np.concatenate([batch.texts for batch, _, _ in parts]),
    )
    counted = made.count(
        whole, np.concatenate([s for _, s, _ in parts]), np.concatenate([y for _, _, y in parts])
    )
    assert (counted.features == total.features).all()
    assert (counted.outputs == total.outputs).all()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(0, 200))
def test_many_versions_at_once_count_as_each_alone(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    made = [Reference.build(*rows(rng, 40, shift)[:2], probabilities=shift < 2) for shift in (0.0, 1.0, 2.0)]
    batch, scores, y = rows(rng, n)
    y[rng.random(n) < 0.3] = np.nan
    of, group = rng.integers(0, 3, n), rng.integers(0, 2, n)
    together = count(made, of, batch, scores, y, group * 3 + of, 6)
    for place in range(6):
        mine = np.flatnonzero(group * 3 + of == place)
        alone = made[place % 3].count(batch.take(mine), scores[mine], y[mine])
        assert (together.features[place] == alone.features).all()
        assert (together.outputs[place] == alone.outputs).all()


def test_bytes_bring_back_the_same_reference() -> None:
    batch, scores, _ = rows(np.random.default_rng(2), 300)
    made = Reference.build(batch, scores)
    assert Reference.from_bytes(made.to_bytes()).main_effects is None
    effects = np.random.default_rng(3).normal(size=(2, *made.features.shape)).astype(np.float32)
    made = replace(made, main_effects=effects.astype(np.float64))
    again = Reference.from_bytes(made.to_bytes())
    assert again.categories == made.categories
    for name in ("edges", "output_edges", "features", "outputs", "main_effects"):
        assert (getattr(again, name) == getattr(made, name)).all()
        assert getattr(again, name).dtype == getattr(made, name).dtype


@pytest.mark.parametrize(
    "content", [b"", b"\x80\x04K\x01.", b"{}", msgspec.msgpack.encode([9, b"", [], b"", b"", b""])]
)
def test_what_is_no_reference_is_refused(content: bytes) -> None:
    with pytest.raises(Invalid, match="not a reference"):
        Reference.from_bytes(content)


@given(hnp.arrays(np.int64, st.tuples(st.integers(0, 6), st.integers(0, 9)), elements=st.integers(0, 2**50)))
def test_packed_counts_come_back(cells: Any) -> None:
    assert (unpack(pack(cells), cells.shape[1]) == cells).all()


def test_packed_counts_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="not 4 cells"):
        unpack(pack(np.ones((1, 5), np.int64)), 4)
