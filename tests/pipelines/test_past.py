"""What there was to learn from at a moment, held against looking at every row."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from modelworks.models.signature import Signature
from modelworks.pipelines.past import DAY, Past, Rows

SEGMENTS = [(), ("a",), ("b",), ("a", "x"), ("a", "y"), ("b", "x")]
LEAVES = np.array([3, 4, 5])
PARENT = {3: 1, 4: 1, 5: 2}


def past(window: int | None, rows: int = 400) -> Past:
    """Rows of three leaves; some are known late, some never."""
    rng = np.random.default_rng(5)
    events = np.sort(rng.integers(0, 60 * DAY, rows))
    known = events + rng.integers(0, 5 * DAY, rows)
    known[rng.random(rows) < 0.1] = np.iinfo(np.int64).max
    leaf = rng.choice(LEAVES, rows)
    parent = np.array([PARENT[one] for one in leaf.tolist()])
    at = np.zeros(rows, np.int64), parent, leaf
    made = Rows(pl.DataFrame({"n": np.arange(rows)}), events, known, rng.integers(0, 2, rows) * 1.0, at)
    return Past("time", tuple(SEGMENTS), made, made, window)


@pytest.mark.parametrize("window", [None, 10 * DAY])
@pytest.mark.parametrize("day", [0, 1, 7, 30, 59, 70])
def test_rows_that_a_training_could_use_and_new_ones_are_counted(window: int | None, day: int) -> None:
    there, now = past(window), day * DAY
    tried = {(): 5 * DAY, ("a",): 12 * DAY, ("a", "x"): 29 * DAY, ("b", "x"): 12 * DAY}
    tried = {segment: moment for segment, moment in tried.items() if moment <= now}
    rows = there.learned
    usable = rows.known <= now
    since = rows.events[usable].max() - window if window is not None and usable.any() else -1
    expected = {}
    for number, segment in enumerate(SEGMENTS):
        mine = usable & (rows.events >= since) & np.any([level == number for level in rows.at], axis=0)
        if mine.any():
            new = mine & (rows.known > tried.get(segment, -1))
            expected[segment] = int(mine.sum()), int(new.sum())
    assert there.counts(now, tried) == expected
    assert there.counts(now, tried) == expected  # what was kept is the same


def test_rows_without_inputs_are_rows() -> None:
    batch = past(None).asked.batch(np.arange(7), Signature((), "binary", (0, 1)))
    assert (batch.numbers.shape, batch.texts.shape) == ((7, 0), (7, 0))
