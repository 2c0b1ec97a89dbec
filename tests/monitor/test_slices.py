"""Slices beside all other rows: what is worse is found, what chance does is not, and the figures are plain means."""

from __future__ import annotations

from pathlib import Path

import monitor_world as logged
import numpy as np
import pytest

from modelworks.monitor.slices import asked, compare
from modelworks.monitor.versions import Versions


def world(
    rng: np.random.Generator, slices: int, worse: float = 0.0, rows: int = 4_000, days: int = 14
) -> tuple[list[str], *tuple[np.ndarray, ...]]:
    """Rows of days whose luck they share; slice 0 loses more by `worse`. A third has no outcome."""
    of, day = rng.integers(0, slices, rows), rng.integers(0, days, rows)
    loss = rng.exponential(0.5, rows) + rng.normal(0, 0.2, days)[day] + worse * (of == 0)
    came = (rng.random(rows) < 0.3).astype(np.float64)
    silent = rng.random(rows) < 1 / 3
    loss[silent] = came[silent] = np.nan
    return [f"v{n}" for n in range(slices)], of, day, rng.random(rows), came, loss


def test_the_figures_are_those_of_its_rows() -> None:
    names, of, day, output, came, loss = world(np.random.default_rng(0), 5)
    found, others = compare(names, of, day, output, came, loss)
    assert others == 0
    assert {one.name for one in found} == set(names)
    for one in found:
        mine = of == names.index(one.name)
        assert (one.rows, one.labelled) == (mine.sum(), (mine & ~np.isnan(loss)).sum())
        assert one.answered == pytest.approx(output[mine].mean())
        assert one.came == pytest.approx(np.nanmean(came[mine]))
        assert one.loss == pytest.approx(np.nanmean(loss[mine]))
        assert one.apart == pytest.approx(np.nanmean(loss[mine]) - np.nanmean(loss[~mine]))
        assert one.low is not None
        assert one.high is not None
        assert one.low < one.apart < one.high
    assert [one.apart for one in found] == sorted((one.apart or 0 for one in found), reverse=True)


def test_a_slice_that_is_worse_is_found_and_no_other() -> None:
    found, _ = compare(*world(np.random.default_rng(1), 10, worse=0.3))
    assert [one.name for one in found if one.worse] == ["v0"]
    assert found[0].name == "v0"


def test_among_many_slices_that_are_alike_hardly_any_is_called_worse() -> None:
    rng = np.random.default_rng(2)
    told = [any(one.worse for one in compare(*world(rng, 20))[0]) for _ in range(200)]
    assert np.mean(told) <= 0.09  # 0.05 is what it promises, 2.6 standard errors are luck


def test_the_interval_covers_what_is_so() -> None:
    rng = np.random.default_rng(3)
    covered = []
    for _ in range(300):
        one = next(one for one in compare(*world(rng, 4, worse=0.1))[0] if one.name == "v0")
        assert one.low is not None
        assert one.high is not None
        covered.append(one.low < 0.1 < one.high)
    assert 0.91 <= np.mean(covered) <= 0.985


def test_what_has_too_few_rows_or_days_is_shown_and_not_compared() -> None:
    rng = np.random.default_rng(4)
    names, of, day, output, came, loss = world(rng, 3)
    of[day > 5] = np.where(of[day > 5] == 2, 1, of[day > 5])  # the last slice has outcomes of six days
    found, _ = compare(names, of, day, output, came, loss)
    assert [(one.name, one.worse) for one in found if one.apart is None] == [("v2", False)]
    loss[:] = came[:] = np.nan
    found, _ = compare(names, of, day, output, came, loss)
    assert {(one.loss, one.came, one.apart, one.worse) for one in found} == {(None, None, None, False)}


def test_of_many_values_the_largest_are_told_apart() -> None:
    names, of, day, output, came, loss = world(np.random.default_rng(5), 300, rows=20_000)
    found, others = compare(names, of, day, output, came, loss)
    assert (len(found), others) == (50, 251)
    assert sum(one.rows for one in found) == 20_000
    rest = next(one for one in found if one.name == "all others")
    assert rest.rows > 10_000


def test_rows_that_the_model_did_not_answer_are_none_of_its_answers(tmp_path: Path) -> None:
    made = logged.World(tmp_path, ("UA",))
    sent, then = [{**row, "day": "Mon"} for row in logged.rows(made.rng, 4)], [logged.START] * 4
    arms = ["champion", "champion", "holdout", "holdout"]
    made.predict(sent, then, output=[0.2, 0.4, None, 1.0], arms=arms)
    versions, until = Versions(made.stores), logged.START + logged.DAY
    found = asked(made.stores.tables, versions, logged.MODEL, ("day", True), logged.START, until, None)
    assert found.rows == 2
    assert [(one.name, one.rows, one.answered) for one in found.slices] == [("Mon", 2, pytest.approx(0.3))]
