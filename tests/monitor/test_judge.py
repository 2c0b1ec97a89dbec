"""A fleet judged day after day: nothing is told of by chance, what begins is told of soon."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from benchmarks.quiet_fleet import TRAILING, Fleet

from modelworks.monitor import judge as judging
from modelworks.monitor.alerting import findings
from modelworks.monitor.drift.rule import Drift
from modelworks.monitor.watch import Watch

MODELS = 100


def after(fleet: Fleet, days: int) -> Fleet:
    """The same some days later."""
    for _ in range(days):
        fleet.day()
    return fleet


def told(watch: Watch) -> set[str]:
    """The features that it says something about."""
    return {*watch.shifted, *watch.slight}


@pytest.mark.parametrize("rule", [Drift(), Drift("wasserstein"), Drift("ks", 0.01)])
def test_looked_at_every_day_nothing_alarms_by_chance(rule: Drift) -> None:
    fleet = Fleet(MODELS)
    watches = [watch for _ in range(18) for watch in after(fleet, 2).judged(rule)]
    assert not [watch for watch in watches if told(watch) or watch.output_shifted or watch.decayed]


def test_a_shift_of_some_days_is_told_of_before_it_shows_in_four_weeks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fleet = after(Fleet(MODELS, moved=1.0, since=TRAILING - 3), TRAILING)
    first, *others = fleet.judged()
    assert first.shifted == ("n0",)
    assert first.slight == ()
    assert first.psi["n0"] > 0.5
    assert not any(told(watch) for watch in others)
    monkeypatch.setattr(judging, "VIEWS", ())
    assert fleet.judged()[0].shifted == ()


def test_a_small_shift_that_is_sure_is_mentioned_and_no_alarm() -> None:
    fleet = after(Fleet(MODELS, moved=0.1, movers=4, rows=600, reference=5_000), TRAILING)
    watches = fleet.judged()
    assert {watch.slight for watch in watches[:4]} == {("n0",)}
    assert not any(watch.shifted for watch in watches)
    assert not any(told(watch) for watch in watches[4:])
    (found,) = findings("fleet", watches, [], datetime(2024, 3, 1, tzinfo=UTC))
    assert (found.kind, found.severity, found.segment) == ("slight_drift", "info", ())
    assert "4 of 100 segments of fleet see slightly other inputs" in found.message
    assert found.evidence["features"] == {"n0": 4}


def test_the_rule_says_what_matters_and_how_it_is_told() -> None:
    fleet = after(Fleet(MODELS, moved=0.4), TRAILING)
    usual, finer = fleet.judged()[0], fleet.judged(Drift("wasserstein", 0.3))[0]
    assert usual.shifted == ()
    assert usual.slight == ("n0",)
    assert finer.shifted == ("n0",)
    assert finer.drift_test == "wasserstein"
    assert finer.drift["n0"] == pytest.approx(0.4, abs=0.1)
    assert finer.psi["n0"] < Drift().limit


def test_answers_alone_are_judged_as_beside_all_the_rest() -> None:
    fleet = after(Fleet(30, features=3), TRAILING)
    windows, of, age = fleet.seen()
    windows.sums[::7, 1] -= 10  # some outcomes did not come
    windows.sums[of == 0, 3] *= 1.5
    whole = judging.judge(fleet.known, windows, of, age, lag=3.0, days=20.0)
    known = {key: entry.outputs_alone for key, entry in fleet.known.items()}
    alone = judging.judge_answers(known, windows, of, age, lag=3.0, days=20.0)
    said = (
        "segment",
        "version",
        "rows",
        "days",
        "labelled",
        "output_mean",
        "loss_kind",
        "loss",
        "loss_error",
    )
    said += ("promised", "promised_error", "decayed", "decaying")
    assert [[getattr(one, name) for name in said] for one in alone] == [
        [getattr(one, name) for name in said] for one in whole
    ]
    assert [one.decayed for one in alone] == [True, *[False] * 29]
    assert judging.judge_answers({}, windows, of, age) == []


def test_a_version_whose_inputs_are_not_looked_at_counts_its_outputs_all_the_same() -> None:
    fleet = after(Fleet(1, features=3), 1)
    (entry,) = fleet.known.values()
    alone = entry.outputs_alone
    assert alone.features == ()
    assert alone.reference.features.shape == (0, 11)
    assert (alone.reference.outputs == entry.reference.outputs).all()
    assert replace(alone.signature, inputs=entry.signature.inputs) == entry.signature
