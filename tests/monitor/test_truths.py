"""Until when the truth is all there: how late it usually comes, of any kind of lateness."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from modelworks.monitor.truths import EDGES, days_of, lag, usual_delay, with_history
from modelworks.monitor.window import _OUTCOMES, SLACK, joined

DAY = timedelta(days=1)
Late = Callable[[np.random.Generator, int], np.ndarray]
LATES: dict[str, tuple[Late, float]] = {
    "at once": (lambda rng, n: np.zeros(n), 0.0),
    "within hours": (lambda rng, n: rng.uniform(0, 0.4, n), 0.38),
    "up to 30 days": (lambda rng, n: rng.uniform(0, 30, n), 28.5),
    "quick or slow": (lambda rng, n: np.where(rng.random(n) < 0.6, 0.1, rng.uniform(15, 20, n)), 19.4),
    "exponential": (lambda rng, n: rng.exponential(3, n), 9.0),
}


def table(late: Late, days: int, share: float, rows: int = 200) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Days that ended so many days ago, their rows, and what came of them by now."""
    rng = np.random.default_rng(days)
    since = np.arange(days - 1, -1, -1.0)
    delays = np.zeros((days, len(EDGES) + 1), np.int64)
    for day, ago in enumerate(since):
        came = late(rng, int(rows * share))
        came = came[came <= ago + rng.random(len(came))]  # events of a day are up to a day older than its end
        delays[day] = np.bincount(np.searchsorted(EDGES, came), minlength=len(EDGES) + 1)
    return since, np.full(days, rows), delays


@pytest.mark.parametrize("share", [0.5, 1.0])
@pytest.mark.parametrize("name", list(LATES))
def test_the_usual_delay_is_found_once_it_can_be_known_and_never_said_too_early(
    name: str, share: float
) -> None:
    late, exact = LATES[name]
    for days in range(1, 60):
        since, rows, delays = table(late, days, share)
        usual = usual_delay(since, delays)
        # That more will come, long after the quick ones, nobody can know before it was seen.
        if usual is not None and not (name == "quick or slow" and days < 20):
            assert usual >= 0.6 * exact, days
            assert usual <= 1.6 * exact, days
        behind = lag(since, rows, delays)
        complete = since >= behind
        if complete.any() and share == 1 and not (name == "quick or slow" and days < 20):
            assert delays[complete].sum() >= 0.9 * rows[complete].sum(), days
    assert usual is not None


def test_a_day_with_an_outcome_for_every_row_is_complete_however_young_it_is() -> None:
    since = np.array([1.0, 0.0])
    delays = np.zeros((2, len(EDGES) + 1), np.int64)
    delays[:, 5] = 10  # too few for a usual delay
    assert lag(since, np.array([10, 10]), delays) == 0
    assert lag(since, np.array([10, 20]), delays) == 1
    assert lag(since, np.array([20, 20]), delays) == np.inf
    assert lag(since, np.array([200, 200]), delays * 10) == pytest.approx(EDGES[5])
    assert lag(np.zeros(0), np.zeros(0, np.int64), np.zeros((0, len(EDGES) + 1), np.int64)) == np.inf


def test_what_is_told_again_or_otherwise_is_counted_and_delays_are_of_the_first_telling() -> None:
    start = pl.datetime(2024, 3, 1, time_zone="UTC")
    noon = pl.select(start.cast(pl.Datetime("us", "UTC")) + timedelta(hours=12)).item()
    rows = pl.DataFrame(
        {
            "id": ["a", "b", "c"],
            "key": ["x", "y", "z"],
            "arm": [None, None, "holdout"],
            "output": [0.25, 0.5, None],
        }
    ).with_columns(time=pl.lit(noon), event_time=pl.lit(noon))
    hour = timedelta(hours=1)

    def said(
        name: str | None, key: str | None, value: float, at: float, time: float | None = None
    ) -> tuple[object, ...]:
        return name, key, noon + at * hour, value, None, noon + (at if time is None else time) * hour

    stories = [
        said("a", None, 1.0, 2), said("a", None, 1.0, 3), said(None, "x", 0.0, 50), said("a", None, 0.0, 60),
        said(None, "y", 1.0, -5, time=8), said("nobody's", None, 1.0, 2), said("c", None, 1.0, 2),
    ]  # fmt: skip
    outcomes = pl.DataFrame(stories, schema=_OUTCOMES | {"time": pl.Datetime("us", "UTC")}, orient="row")
    for shuffled in (outcomes, outcomes.reverse()):
        (day,) = days_of(with_history(joined(rows, shuffled), shuffled), SLACK)
        assert (day.rows, day.labelled, day.repeated, day.corrected, day.ahead, day.before) == (
            2,
            2,
            2,
            1,
            1,
            0,
        )
        assert day.delays[0] == 1  # before its prediction
        assert day.delays[int(np.searchsorted(EDGES, 2 / 24))] == 1
        assert day.last == noon + 2 * hour
        # Of the first the correction counts.
        assert (day.served, day.foretold, day.control) == ((2, 1.0, 1.0), (2, 0.75, 0.3125), (1, 1.0, 1.0))
