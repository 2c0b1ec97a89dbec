"""The flight demo: features that know nothing of the future, and a short replay end to end."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from modelworks.core.errors import Conflict
from modelworks.demos.flights import prepare
from modelworks.demos.flights.demo import run
from modelworks.demos.flights.report import ARMS, months
from modelworks.monitor.value import Payoff


@pytest.fixture(scope="module")
def raw() -> prepare.Raw:
    whole = prepare.load()
    few = whole.flights.filter(pl.col("month") == 1, pl.col("day") <= 10)
    return prepare.Raw(few, whole.weather.filter(pl.col("month") == 1), whole.planes)


def test_every_flight_has_a_name_of_its_own(raw: prepare.Raw) -> None:
    flights = prepare.prepared(raw)
    assert flights["flight_id"].n_unique() == len(flights) == len(raw.flights)


def test_changing_the_future_changes_no_feature(raw: prepare.Raw) -> None:
    """Whatever happens from an hour before a departure on, what is known of that departure stays the same."""
    moment = pl.datetime(2013, 1, 6, 17, 0, time_zone="UTC")
    hour = pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC")
    left = hour + pl.duration(minutes=pl.col("minute") + pl.col("dep_delay").fill_null(0))
    changed = prepare.Raw(
        raw.flights.with_columns(
            pl.when(left > moment).then(pl.col("dep_delay") + 77).otherwise("dep_delay").alias("dep_delay"),
            pl.when(left > moment).then(pl.col("arr_delay") + 99).otherwise("arr_delay").alias("arr_delay"),
        ),
        raw.weather.with_columns(
            pl.when(hour > moment).then(pl.col("temp") + 50).otherwise("temp").alias("temp")
        ),
        raw.planes,
    )
    known = [name for name in prepare.COLUMNS if name != "late"]
    before, after = (
        prepare.prepared(one).filter(pl.col("sched_dep") <= moment + prepare.AHEAD).select(known)
        for one in (raw, changed)
    )
    assert len(before) > 2000
    assert before.equals(after)
    later = [
        prepare.prepared(one).filter(pl.col("sched_dep") > moment + timedelta(hours=4))
        for one in (raw, changed)
    ]
    assert not later[0].select(known).equals(later[1].select(known))  # the test would see a leak


def test_recent_delays_equal_a_plain_count(raw: prepare.Raw) -> None:
    flights = prepare.prepared(raw)
    hour = pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC")
    gone = raw.flights.filter(pl.col("dep_delay").is_not_null()).select(
        "origin", "dep_delay", left=hour + pl.duration(minutes=pl.col("minute") + pl.col("dep_delay"))
    )
    for row in flights.filter(pl.col("recent_delay").is_not_null()).sample(25, seed=1).iter_rows(named=True):
        asked = row["sched_dep"] - prepare.AHEAD
        last = gone.filter(pl.col("origin") == row["origin"], pl.col("left") <= asked)["left"].max()
        window = gone.filter(
            pl.col("origin") == row["origin"], pl.col("left") <= last, pl.col("left") > last - prepare.RECENT
        )
        assert row["recent_delay"] == pytest.approx(window["dep_delay"].clip(-10, 120).mean())
        assert row["recent_departures"] == len(window)


def test_the_report_adds_up() -> None:
    frame = pl.DataFrame({"date": [date(2013, 3, 1)] * 3 + [date(2013, 4, 1)], "late": [1, 0, 0, 1]})
    scores = {arm: np.array([0.9, 0.2, 0.1, 0.6]) for arm in ARMS}
    told = months(frame, scores, Payoff(tp=40, fp=-15))
    assert [(one.month, one.flights) for one in told] == [("2013-03", 3), ("2013-04", 1), ("all", 4)]
    assert told[-1].value["living"] == 80
    assert told[0].auc["living"] == 1.0


@pytest.mark.parametrize("streamed", [False, True], ids=["files", "stream"])
def test_three_days_end_to_end(tmp_path: Path, streamed: bool) -> None:
    told = run(tmp_path / "demo", exit_after=True, port=0, days=3, quiet=True, streamed=streamed)
    assert told.models_live >= told.models_at_start > 200
    assert told.predictions == 2636  # all that were to leave from 1 to 3 March, cancelled ones too
    assert {one.month for one in told.months} == {"2013-03", "all"}
    assert len(told.why) == 3
    assert all(answer["verdicts"] for answer in told.why)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "precious.txt").touch()
    with pytest.raises(Conflict, match="not this demo"):
        run(tmp_path / "other", exit_after=True, port=0, days=1, quiet=True)
