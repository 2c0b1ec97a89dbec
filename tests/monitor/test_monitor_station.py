"""The monitor on a real ledger and real tables, on a frozen clock: windows, lateness, summaries, alerts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import monitor_world as world
import numpy as np
import pytest
from sqlalchemy import select

from modelworks.core.clock import FrozenClock
from modelworks.monitor.progress import Progress
from modelworks.monitor.station import MonitorStation
from modelworks.monitor.stored import StoredWindows, Window
from modelworks.monitor.versions import Versions
from modelworks.stores.ledger.tables import windows


@pytest.fixture
def made(tmp_path: Path) -> Iterator[world.World]:
    yield (there := world.World(tmp_path))
    there.stores.ledger.close()


def station(made: world.World) -> MonitorStation:
    return MonitorStation(made.stores, FrozenClock(world.START))


def at(day: float) -> datetime:
    return world.START + day * world.DAY


def stored(made: world.World) -> list[tuple[Any, ...]]:
    """All windows as they stand in the ledger; sums rounded, their last bits depend on the order of the files."""
    with made.stores.ledger.read() as db:
        rows = db.execute(select(windows).order_by(windows.c.start, windows.c.segment, windows.c.version))
        return [tuple(round(v, 9) if isinstance(v, float) else v for v in row) for row in rows]


def test_nothing_was_asked_yet(made: world.World) -> None:
    seen = station(made).observe(world.MODEL, at(1))
    assert (seen.windows, seen.rows, seen.alerts_opened, seen.watches) == (0, 0, 0, ())
    assert station(made).history(world.MODEL, end=at(1), days=7)[0] == []


def test_windows_are_days_of_versions(made: world.World) -> None:
    made.day(0)
    made.day(1, n=30, segment="AA")
    seen = station(made).observe(world.MODEL, at(2))
    assert (seen.windows, seen.rows) == (2, 70)
    assert [(row[1], row[2], row[4], row[5]) for row in stored(made)] == [
        (at(0), "UA", 40, 40),
        (at(1), "AA", 30, 30),
    ]
    ua = next(watch for watch in seen.watches if watch.segment == ("UA",))
    assert (ua.version, ua.rows, ua.labelled, ua.promised) == (1, 40, 40, 0.62)
    assert ua.auc is not None
    assert ua.auc > 0.5
    assert set(ua.psi) == {"wind", "rain", "day"}


def test_doing_it_again_or_elsewhere_changes_nothing(made: world.World) -> None:
    made.day(0)
    one, other = station(made), station(made)
    one.observe(world.MODEL, at(1))
    first = stored(made)
    for again in (one, other, one):
        assert again.observe(world.MODEL, at(1)).alerts_opened == 0
        assert stored(made) == first
    made.day(1)
    other.observe(world.MODEL, at(2))
    made.day(2)
    one.observe(world.MODEL, at(3))  # what it keeps in memory is older than what the other wrote
    assert one.summary(world.MODEL, end=at(3)) == station(made).summary(world.MODEL, end=at(3))
    assert sum(row[4] for row in stored(made)) == 120


def test_day_by_day_is_the_same_as_all_at_once(made: world.World, tmp_path: Path) -> None:
    there = station(made)
    for day in range(6):
        made.day(day)
        made.day(day, n=7, segment="AA")
        there.observe(world.MODEL, at(day + 1))
    step_by_step = stored(made)
    other = world.World(tmp_path / "other")
    for day in range(6):
        other.day(day)
        other.day(day, n=7, segment="AA")
    station(other).observe(world.MODEL, at(6))
    assert stored(other) == step_by_step
    other.stores.ledger.close()


def test_an_event_to_come_is_left_for_later(made: world.World) -> None:
    made.predict(world.rows(made.rng, 2), [at(0.5), at(5.5)], answered=at(0.1))
    there = station(made)
    assert there.observe(world.MODEL, at(1)).rows == 1
    assert there.observe(world.MODEL, at(6)).rows >= 1
    assert [row[1] for row in stored(made)] == [at(0), at(5)]


def test_an_outcome_long_after_its_window_was_closed_reopens_it(made: world.World) -> None:
    there = station(made)
    ids = made.predict(world.rows(made.rng, 3), [at(0.5)] * 3, keys=["x", "y", "z"])
    there.observe(world.MODEL, at(1))
    made.day(20)
    there.observe(world.MODEL, at(21))
    assert stored(made)[0][5] == 0
    told = {"value": 1.0, "time": at(0.6), "received": at(30.5)}
    made.tell([{"prediction_id": ids[0], **told}, {"key": "y", "model": world.MODEL, **told}])
    made.tell([{"key": "z", "model": "another model", **told}, {"key": "nobody's", **told}])
    there.observe(world.MODEL, at(31))
    assert (stored(made)[0][4], stored(made)[0][5]) == (3, 2)


def test_a_prediction_of_long_ago_that_comes_now_has_its_window(made: world.World) -> None:
    there = station(made)
    made.day(20)
    there.observe(world.MODEL, at(21))
    made.predict(world.rows(made.rng, 5), [at(2.5)] * 5, answered=at(21.5))
    there.observe(world.MODEL, at(22))
    assert [(row[1], row[4]) for row in stored(made)] == [(at(2), 5), (at(20), 40)]


def test_after_a_pause_nothing_is_left_out(made: world.World) -> None:
    there = station(made)
    made.day(0)
    there.observe(world.MODEL, at(1))
    for day in range(1, 15):
        made.day(day, n=5)
    there.observe(world.MODEL, at(15))
    assert [row[1] for row in stored(made)] == [at(day) for day in range(15)]


def test_a_correction_counts(made: world.World) -> None:
    (name,) = made.predict(world.rows(made.rng, 1), [at(0.5)], output=[0.9])
    made.tell([{"prediction_id": name, "value": 1.0, "time": at(0.6), "received": at(0.7)}])
    there = station(made)
    there.observe(world.MODEL, at(1))
    assert stored(made)[0][7] == pytest.approx(-np.log(0.9))
    made.tell([{"prediction_id": name, "value": 0.0, "time": at(0.6), "received": at(1.2)}])
    there.observe(world.MODEL, at(2))
    assert stored(made)[0][7] == pytest.approx(-np.log(0.1))


def test_another_models_rows_and_unknown_versions_are_left_out(made: world.World) -> None:
    made.day(0)
    made.predict(world.rows(made.rng, 4), [at(0.5)] * 4, version=99)
    there = station(made)
    there.observe(world.MODEL, at(1))
    there.observe("another", at(1))
    assert [row[4] for row in stored(made)] == [40]


def test_a_version_without_a_reference_is_watched_but_not_said_to_shift(made: world.World) -> None:
    made.register("bare", 1, {"log_loss": 0.6}, bare=True)
    made.day(0, n=200, segment="bare")
    (watch,) = station(made).observe(world.MODEL, at(1)).watches
    assert (watch.rows, watch.labelled, watch.psi, watch.output_psi, watch.shifted) == (
        200,
        200,
        {},
        None,
        (),
    )
    assert watch.loss is not None


def test_a_new_champion_starts_anew(made: world.World) -> None:
    made.day(0)
    there = station(made)
    there.observe(world.MODEL, at(1))
    made.register("UA", 2, {"log_loss": 0.5})
    assert there.summary(world.MODEL, end=at(1)) == []
    made.day(1, n=10, version=2)
    (watch,) = there.observe(world.MODEL, at(2)).watches
    assert (watch.version, watch.rows, watch.promised) == (2, 10, 0.5)
    assert there.seen_until(world.MODEL) == at(2)


def test_a_day_is_summed_over_segments_and_versions(made: world.World) -> None:
    made.day(0, n=30)
    made.day(0, n=20, segment="AA")
    made.register("UA", 2, {"log_loss": 0.5})
    made.day(0, n=10, version=2)
    there = station(made)
    there.observe(world.MODEL, at(1))
    (day,), _ = there.history(world.MODEL, end=at(1), days=7)
    assert (day["day"], day["rows"], day["labelled"]) == (at(0), 60, 60)
    assert 0.5 < day["auc"] < 1
    assert 0.2 < day["loss"] < 1
    (ua,), _ = there.history(world.MODEL, "UA", end=at(1), days=7)
    assert ua["rows"] == 40


# -- alerts ----------------------------------------------------------------------------------------------


def kinds(there: MonitorStation, open_only: bool = True) -> dict[str, str]:
    return {alert["kind"]: alert["segment"] for alert in there.alerts(world.MODEL, open_only)}


def test_quiet_days_open_no_alert(made: world.World) -> None:
    there = station(made)
    for day in range(8):
        made.day(day)
        made.day(day, segment="AA")
        assert there.observe(world.MODEL, at(day + 1)).alerts_opened == 0


def test_a_shift_opens_one_alert_and_its_end_closes_it(made: world.World) -> None:
    there = station(made)
    opened = 0
    for day in range(5):
        made.day(day, n=300, wind=2.5)
        made.day(day, n=300, segment="AA")
        opened += there.observe(world.MODEL, at(day + 1)).alerts_opened
    assert kinds(there) == {"feature_drift": "UA", "prediction_drift": "UA"}
    assert opened == 2  # once, and then they were open
    alert = next(one for one in there.alerts() if one["kind"] == "feature_drift")
    assert alert["message"].startswith("delay[UA] sees other inputs than when it was trained: wind (PSI ")
    made.register("UA", 2, {"log_loss": 0.62}, wind=2.5)
    made.day(5, n=300, wind=2.5, version=2)
    there.observe(world.MODEL, at(6))
    assert kinds(there) == {}
    closed = next(one for one in there.alerts(open_only=False) if one["kind"] == "feature_drift")
    assert closed["closed"] == at(6)


def test_what_many_segments_share_is_one_alert(tmp_path: Path) -> None:
    names = [f"S{number}" for number in range(8)]
    made = world.World(tmp_path, names)
    there = station(made)
    for day in range(4):
        for name in names:
            made.day(day, n=100, segment=name, wind=2.5, flipped=True)
    assert there.observe(world.MODEL, at(4)).alerts_opened == 3
    assert kinds(there) == {"feature_drift": "", "prediction_drift": "", "performance": ""}
    told = {alert["kind"]: alert for alert in there.alerts()}
    assert "8 of 8 segments of delay see other inputs" in told["feature_drift"]["message"]
    assert told["feature_drift"]["evidence"]["features"]["wind"] == 8
    assert told["performance"]["severity"] == "critical"
    made.stores.ledger.close()


def test_a_segment_that_nobody_asks_for_any_more_is_missed(made: world.World) -> None:
    there = station(made)
    for day in range(14):
        made.day(day, n=20)
        if day < 9:
            made.day(day, n=20, segment="AA")
        there.observe(world.MODEL, at(day + 1))
        assert ("volume" in kinds(there)) == (day >= 10)
    (alert,) = [one for one in there.alerts() if one["kind"] == "volume"]
    assert alert["segment"] == "AA"
    assert alert["message"] == "delay[AA] got no predictions since 09 March 2024, before that about 20 a day"
    made.day(14, n=20, segment="AA")
    there.observe(world.MODEL, at(15))
    assert "volume" not in kinds(there)


def test_days_of_rest_are_no_silence(made: world.World) -> None:
    there = station(made)
    for day in range(21):
        if day % 7 < 5:
            made.day(day, n=10)
            made.day(day, n=10, segment="AA")
        there.observe(world.MODEL, at(day + 1))
        assert "volume" not in kinds(there)


def test_the_clock_is_asked_where_no_moment_is_given(made: world.World) -> None:
    made.day(0)
    assert MonitorStation(made.stores, FrozenClock(at(1))).observe(world.MODEL).rows == 40
    assert station(made).observe(world.MODEL, at(1) - timedelta(hours=12)).rows < 40


# -- odd outcomes ------------------------------------------------------------------------------------------


def sums(made: world.World) -> list[tuple[float, ...]]:
    """Rows, labelled, loss of every window."""
    return [(row[4], row[5], row[7]) for row in stored(made)]


def test_outcomes_told_twice_change_nothing_and_a_correction_does(made: world.World) -> None:
    there = station(made)
    ids = made.predict(world.rows(made.rng, 2), [at(0.5)] * 2, keys=["x", "y"], output=[0.8, 0.8])
    made.tell([{"prediction_id": ids[0], "value": 1.0, "time": at(0.5), "received": at(0.6)}])
    there.observe(world.MODEL, at(1))
    first = sums(made)
    assert first == [(2, 1, pytest.approx(-np.log(0.8)))]
    # A retry, and a topic that is read again: by id and by key.
    again = {"value": 1.0, "time": at(0.5)}
    made.tell(
        [{"prediction_id": ids[0], **again, "received": at(0.7)}, {"key": "x", **again, "received": at(30)}]
    )
    there.observe(world.MODEL, at(31))
    assert sums(made) == first
    told = there.truths(world.MODEL, end=at(31), days=40)
    assert (told["repeated"], told["corrected"]) == (2, 0)
    made.tell([{"key": "x", "value": 0.0, "time": at(0.5), "received": at(40)}])
    there.observe(world.MODEL, at(41))
    assert sums(made) == [(2, 1, pytest.approx(-np.log(0.2)))]
    told = there.truths(world.MODEL, end=at(41), days=50)
    assert (told["repeated"], told["corrected"]) == (2, 1)


@pytest.mark.parametrize("off", [-3000.0, -4.0, -1 / 24, 5 / 24, 3000.0])
def test_no_clock_of_a_caller_loses_an_outcome_or_puts_it_elsewhere(made: world.World, off: float) -> None:
    there = station(made)
    ids = made.predict(world.rows(made.rng, 3), [at(10.5)] * 3, keys=["x", "y", "z"])
    told = {"value": 1.0, "time": at(10.6 + off), "received": at(10.6)}
    made.tell([{"prediction_id": ids[0], **told}, {"key": "y", **told}])
    for day in (11, 11.5, 12, 13, 20, 21):  # open, made again, closed
        there.observe(world.MODEL, at(day))
        assert [(row[1], row[4], row[5]) for row in stored(made)] == [(at(10), 3, 2)]
    seen = there.truths(world.MODEL, end=at(21), days=28)
    assert (seen["ahead"], seen["before"]) == (2 if off > 0 else 0, 2 if off < -3 else 0)
    there.observe(world.MODEL, at(30))
    assert station(made).observe(world.MODEL, at(30)).alerts_opened == 0


def test_an_outcome_before_its_prediction_is_joined_once_both_are_there(made: world.World) -> None:
    there = station(made)
    made.day(0, n=5)
    made.tell([{"key": "x", "value": 1.0, "time": at(1.4), "received": at(1.4)}])
    there.observe(world.MODEL, at(1.45))
    made.predict(world.rows(made.rng, 1), [at(1.5)], keys=["x"])
    there.observe(world.MODEL, at(2))
    assert (stored(made)[1][4], stored(made)[1][5]) == (1, 1)
    station(made).observe(world.MODEL, at(9))
    assert (stored(made)[1][4], stored(made)[1][5]) == (1, 1)


def test_decay_is_judged_on_days_whose_truth_is_all_there_and_told_of_then(tmp_path: Path) -> None:
    """The truth comes after up to 30 days, soon where it happened: what is there of new days is another kind."""
    rng = np.random.default_rng(1)
    chance = world.score(world.rows(rng, 4000, wind=-2)).astype(float)
    entropy = float(np.mean(-chance * np.log(chance) - (1 - chance) * np.log(1 - chance)))
    made = world.World(tmp_path, ["UA"], promised={"log_loss": entropy})
    there, worse, n = station(made), 45, 180
    coming: list[dict[str, Any]] = []
    naive, alarmed = [], []
    for end in range(3, 90, 3):
        sent, days = world.rows(rng, n, wind=-2), np.repeat(np.arange(end - 3, end), n // 3) + 0.5
        ids = made.predict(sent, [at(day) for day in days])
        chance = world.score(sent)
        happened = rng.random(n) < np.where(days > worse, 1 - chance, chance)
        late = np.where(happened, rng.uniform(0, 5, n), rng.uniform(10, 30, n))
        for name, came, day, wait in zip(ids, happened, days, late, strict=True):
            told = {"time": at(day), "received": at(day + wait)}
            coming.append({"prediction_id": name, "value": float(came), **told})
        made.tell([one for one in coming if one["received"] < at(end)])
        coming = [one for one in coming if one["received"] >= at(end)]
        if end < 27:
            continue
        there.observe(world.MODEL, at(end))
        if any(alert["kind"] == "performance" for alert in there.alerts(world.MODEL)):
            alarmed.append(end)
        elif end <= worse:
            recent = [one for one in there.history(world.MODEL, end=at(end), days=28)[0] if one["labelled"]]
            rows = sum(one["labelled"] for one in recent)
            naive.append(sum(one["loss"] * one["labelled"] for one in recent if one["loss"]) / rows)
    assert min(naive) > entropy * 1.3  # what the newest days seem to say, though nothing is wrong
    assert worse + 31 <= alarmed[0] <= worse + 40
    assert alarmed == list(range(alarmed[0], 90, 3))
    made.stores.ledger.close()


def ask(made: world.World, day: int, n: int = 30, share: float = 1.0, until: float | None = None) -> None:
    """A day of predictions; a share of them gets an outcome, in the evening or when all of some days do."""
    sent = world.rows(made.rng, n)
    ids = made.predict(sent, [at(day + 0.5)] * n)
    happened = made.rng.random(n) < world.score(sent)
    received = at(day + 0.99 if until is None else until)
    told = [
        {"prediction_id": name, "value": float(came), "time": at(day + 0.5), "received": received}
        for name, came in zip(ids, happened, strict=True)
    ]
    made.tell(told[: round(n * share)])


def test_outcomes_that_used_to_come_and_do_not_any_more_are_missed(made: world.World) -> None:
    there = station(made)
    silent = []
    for day in range(26):
        ask(made, day, share=0 if 12 <= day < 20 else 0.6)
        there.observe(world.MODEL, at(day + 1))
        if "silent_outcomes" in kinds(there):
            silent.append(day)
    assert silent == list(range(13, 20))
    alert = next(one for one in there.alerts(open_only=False) if one["kind"] == "silent_outcomes")
    assert "the last on 12 March 2024" in alert["message"]
    assert alert["evidence"]["share"] == pytest.approx(0.6)
    assert alert["evidence"]["expected"] > 30


def test_outcomes_that_always_come_in_bulk_are_not_missed_between(made: world.World) -> None:
    there = station(made)
    for day in range(42):
        # They are told on every tenth day.
        ask(made, day, n=12, until=10 * (day // 10 + 1) - 0.01)
        if day % 10 == 9 or day > 30:
            there.observe(world.MODEL, at(day + 1))
        assert "silent_outcomes" not in kinds(there)


def test_nobody_misses_outcomes_of_a_model_that_nobody_asks(made: world.World) -> None:
    there = station(made)
    for day in range(12):
        ask(made, day)
    for day in (12, 20, 40):
        there.observe(world.MODEL, at(day))
        assert "silent_outcomes" not in kinds(there)


@pytest.mark.parametrize("acted_on", [True, False])
def test_outcomes_of_those_alone_that_were_acted_on_are_said_to_be_some(
    made: world.World, acted_on: bool
) -> None:
    there = station(made)
    for day in range(6):
        sent = world.rows(made.rng, 80)
        ids = made.predict(sent, [at(day + 0.5)] * 80)
        chance = world.score(sent)
        happened = made.rng.random(80) < chance
        heard = chance > 0.5 if acted_on else made.rng.random(80) < 0.5
        told = {"time": at(day + 0.5), "received": at(day + 0.9)}
        made.tell(
            [
                {"prediction_id": name, "value": float(came), **told}
                for name, came, one in zip(ids, happened, heard, strict=True)
                if one
            ]
        )
    there.observe(world.MODEL, at(6))
    assert ("selective_outcomes" in kinds(there)) == acted_on
    (watch,) = there.summary(world.MODEL, end=at(6))
    assert 150 < watch.labelled < 330 < watch.rows == 480
    assert watch.unlike is not None
    assert (watch.unlike > 0.2) == acted_on


@pytest.mark.parametrize(("acts", "wrong"), [(True, False), (False, False), (True, True)])
def test_answers_that_prevent_what_they_foretell_are_judged_by_the_holdout(
    tmp_path: Path, acts: bool, wrong: bool
) -> None:
    """Whoever is foretold the event is looked after, and nothing happens; a tenth of the rows is not answered."""
    rng = np.random.default_rng(5)
    made = world.World(tmp_path, ["UA"], promised={"log_loss": 0.6})
    there = station(made)
    for day in range(10):
        sent = world.rows(rng, 200)
        chance = world.score(sent)
        held = rng.random(200) < 0.2
        happened = rng.random(200) < (chance / 4 if wrong else chance)
        if acts:
            happened &= held | (chance < 0.5) | (rng.random(200) < 0.2)
        told = {"time": at(day + 0.5), "received": at(day + 0.9)}
        for arm, here in (("champion", np.flatnonzero(~held)), ("holdout", np.flatnonzero(held))):
            ids = made.predict(
                [sent[place] for place in here],
                [at(day + 0.5)] * len(here),
                version=1 if arm == "champion" else 0,
                arms=[arm] * len(here),
                output=[float(chance[place]) if arm == "champion" else None for place in here],
            )
            came = zip(ids, happened[here].tolist(), strict=True)
            made.tell([{"prediction_id": name, "value": float(one), **told} for name, one in came])
        there.observe(world.MODEL, at(day + 1))
    (watch,) = there.summary(world.MODEL, end=at(10))
    assert ("feedback_loop" in kinds(there)) == acts
    assert (
        "performance" in kinds(there)
    ) == wrong  # acting alone is no reason to alarm, or to train on what it left
    assert (watch.loss is None) == (acts and not wrong)
    made.stores.ledger.close()


def test_an_outcome_that_reaches_the_table_after_a_newer_one_counts_too(made: world.World) -> None:
    """Logs of several servers are moved one after the other."""
    sent = world.rows(made.rng, 2)
    first, second = made.predict(sent, [at(0.5), at(1.5)])
    one = station(made)
    one.observe(world.MODEL, at(20))
    heard = at(20) + timedelta(seconds=10)
    made.tell([{"prediction_id": second, "value": 1.0, "time": at(20), "received": heard}])
    one.observe(world.MODEL, at(20) + timedelta(seconds=12))
    made.tell(
        [{"prediction_id": first, "value": 1.0, "time": at(20), "received": heard - timedelta(seconds=5)}]
    )
    one.observe(world.MODEL, at(20) + timedelta(seconds=15))
    assert [row[4:6] for row in stored(made)] == [(1, 1), (1, 1)]


def test_versions_in_memory_are_bounded_and_all_are_told(made: world.World) -> None:
    for version in range(2, 12):
        made.register("UA", version, {"log_loss": 0.6})
    versions = Versions(made.stores, most=4)
    keys = [("UA", version) for version in range(1, 12)]
    assert list(versions.of(world.MODEL, keys)) == keys
    assert len(versions._known) == 4
    assert list(versions.of(world.MODEL, [("UA", 1), ("UA", 11), ("UA", 99)])) == [("UA", 1), ("UA", 11)]
    (_, kept), *_ = versions._known.items()
    assert kept is versions.of(world.MODEL, [("UA", 9)])["UA", 9]


def test_windows_may_be_read_while_others_are_written(made: world.World) -> None:
    """By threads of one server: one answers a question, one turns the loop."""
    kept = StoredWindows(made.stores.ledger)
    windows_of = [Window("UA", 1, at(day), (1.0, 0.0, 0.5, 0.0, 0.0), b"") for day in range(400)]
    kept.write(world.MODEL, windows_of[:1], Progress(at(0)))
    kept.read(world.MODEL, at(0), at(400))
    failed: list[BaseException] = []
    over = threading.Event()

    def read() -> None:
        try:
            while not over.is_set():
                kept.read(world.MODEL, at(0), at(400))
        except RuntimeError as error:
            failed.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for day in range(1, 400):
        kept.write(world.MODEL, windows_of[day : day + 1], Progress(at(0)))
    over.set()
    reader.join(30)
    assert failed == []
    assert len(kept.read(world.MODEL, at(0), at(400))) == 400
