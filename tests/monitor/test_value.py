"""What predictions are worth, what a model earns beside its holdout, and how sure that is."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import monitor_world as world
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelworks.core.clock import system_clock
from modelworks.core.errors import Invalid
from modelworks.deploy.strategies.seen import Sums
from modelworks.deploy.strategies.sequential import interval
from modelworks.monitor import earnings
from modelworks.monitor.earnings import Earned, earned
from modelworks.monitor.returns import ALPHA, by_segment, counted, effect
from modelworks.monitor.station import MonitorStation
from modelworks.monitor.value import Payoff, Worth

START = datetime(2024, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
PAYOFF = Payoff(tp=40, fp=-15, fn=-5, tn=1)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.0, 1.0, float("nan")]),
            st.one_of(st.just(float("nan")), st.floats(0, 1, width=32)),
        ),
        max_size=30,
    )
)
def test_the_payoff_of_rows_is_that_of_each_by_hand(rows: list[tuple[float, float]]) -> None:
    by_hand = []
    for came, said in rows:
        act = said >= PAYOFF.threshold  # of nothing said this is false
        worth = {(True, 1.0): 40, (True, 0.0): -15, (False, 1.0): -5, (False, 0.0): 1}
        by_hand.append(worth.get((act, came), float("nan")))
    found = PAYOFF.each(None, *(np.array([row[side] for row in rows], np.float64) for side in (0, 1)))
    np.testing.assert_array_equal(found, by_hand)


def test_acting_from_the_threshold_on_is_worth_most() -> None:
    rng = np.random.default_rng(0)
    probability = rng.random(200_000)
    came = (rng.random(200_000) < probability).astype(float)
    best = PAYOFF.total(came, probability)
    for other in (PAYOFF.threshold - 0.05, PAYOFF.threshold + 0.05):
        assert PAYOFF.total(came, probability + PAYOFF.threshold - other) < best


# -- counting --------------------------------------------------------------------------------------------


def logged(rng: np.random.Generator, n: int, days: int = 3) -> pl.DataFrame:
    """Rows as `monitor.window.joined` gives them."""
    held = rng.random(n) < 0.3
    return pl.DataFrame(
        {
            "id": [f"id{place}" for place in range(n)],
            "key": [f"k{key}" if key else None for key in rng.integers(0, 20, n)],
            "event_time": [START + float(moment) * DAY for moment in rng.random(n) * days],
            "segment": rng.choice(["UA", "AA", ""], n),
            "arm": np.where(held, "holdout", "champion"),
            "inputs": [json.dumps({"amount": n, "who": n % 7}) for n in rng.integers(1, 99, n).tolist()],
            "output": [None if side and rng.random() < 0.9 else float(rng.random()) for side in held],
            "value": [None if rng.random() < 0.2 else float(rng.random() < 0.5) for _ in range(n)],
            "label": pl.Series([None] * n, dtype=pl.String),
        },
        schema_overrides={"event_time": pl.Datetime("us", "UTC")},
    )  # fmt: skip


def test_days_are_the_sums_of_their_rows() -> None:
    rows = logged(np.random.default_rng(1), 400)
    made = earned(rows, PAYOFF, world.signature())
    totals: dict[tuple[Any, str, bool], list[float]] = {}
    for row in rows.iter_rows(named=True):
        if row["value"] is None:
            continue
        one, idle = (
            float(PAYOFF.each(None, np.array([row["value"]]), np.array([said], np.float64))[0])
            for said in (row["output"], None)
        )
        key = (row["event_time"].date(), row["segment"], row["arm"] == "holdout")
        sums = totals.setdefault(key, [0, 0, 0, 0])
        for place, part in enumerate((1, one, one**2, one - idle)):
            sums[place] += part
    for day in made.days:
        for side, held in ((day.served, False), (day.control, True)):
            mine = [sums for key, sums in totals.items() if key[0] == day.start.date() and key[2] == held]
            assert (side.n, side.total, side.squares) == pytest.approx(np.sum(mine, axis=0)[:3])
        assert day.groups is not None
        np.testing.assert_allclose(
            day.groups.sum(axis=0), [day.served.n, day.served.total, day.control.n, day.control.total]
        )
    for row in made.segments:
        mine = totals[row["start"].date(), row["segment"], False]
        assert [row[name] for name in ("rows", "total", "squares", "gain")] == pytest.approx(mine)
    assert sum(row["held"] for row in made.segments) == sum(day.control.n for day in made.days)


def test_rows_of_a_key_are_one_group_on_all_days_and_of_another_column_too() -> None:
    rows = logged(np.random.default_rng(2), 300).with_columns(value=pl.lit(1.0))
    alike = rows.with_columns(key=pl.lit("one"))
    for day in earned(alike, PAYOFF, world.signature()).days:
        assert day.groups is not None
        assert np.count_nonzero(day.groups.any(axis=1)) == 1
    found = [day.groups for day in earned(rows, PAYOFF, world.signature(), by="who").days]
    assert np.count_nonzero(np.sum([one for one in found if one is not None], axis=0).any(axis=1)) <= 7


def test_a_function_is_given_the_inputs_the_answer_and_the_truth() -> None:
    def margin(rows: Any) -> Any:
        return np.where(rows["output"].fillna(0) > 0.5, rows["amount"] * (rows["truth"] - 0.5), 0)

    rows = logged(np.random.default_rng(3), 200)
    (total,) = {
        round(sum(day.served.total for day in earned(rows, Worth(margin), world.signature()).days), 6)
    }
    by_hand = sum(
        json.loads(row["inputs"])["amount"] * (row["value"] - 0.5)
        for row in rows.iter_rows(named=True)
        if row["value"] is not None and row["arm"] == "champion" and (row["output"] or 0) > 0.5
    )
    assert total == pytest.approx(by_hand)


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (lambda rows: rows["nowhere"], "KeyError"),
        (lambda _rows: 1.0, "shape"),
        (lambda rows: rows["output"], "not finite"),
    ],
)
def test_a_function_that_gives_no_number_a_row_is_refused(function: Any, why: str) -> None:
    rows = logged(np.random.default_rng(4), 50)
    with pytest.raises(Invalid, match="cannot be told") as refused:
        earned(rows, Worth(function), world.signature())
    assert why in str(refused.value)


# -- how sure that is ------------------------------------------------------------------------------------


def test_an_interval_that_is_looked_at_every_day_is_hardly_ever_wrong() -> None:
    """A usual interval of 95 % is wrong for a third of those who look daily."""
    rng = np.random.default_rng(5)
    looks = np.arange(50, 2001, 25)
    means = np.cumsum(rng.normal(size=(1000, 2000)), axis=1)[:, looks - 1] / looks
    far = np.array([interval(1 / n, 0.25, ALPHA) for n in looks])
    assert (np.abs(means) > far).any(axis=1).mean() <= ALPHA
    assert (np.abs(means) > 1.96 / np.sqrt(looks)).any(axis=1).mean() > 0.3
    assert far[-1] < 2.2 * 1.96 / math.sqrt(looks[-1])  # and no more than twice as wide


def run(rng: np.random.Generator, days: int, brings: float, keys: int, luck: float) -> list[Earned]:
    """Days of 200 rows of customers, each with its own luck; a third of the customers is held out."""
    own = rng.normal(0, luck, keys)
    out = rng.random(keys) < 1 / 3
    made = []
    for number in range(days):
        who = rng.integers(0, keys, 200)
        worth = own[who] + rng.normal(size=200) + brings * ~out[who] + rng.normal()
        groups = np.zeros((earnings.GROUPS, 4))
        for side, mask in ((0, ~out[who]), (1, out[who])):
            np.add.at(groups, (who[mask] % earnings.GROUPS, 2 * side), 1)
            np.add.at(groups, (who[mask] % earnings.GROUPS, 2 * side + 1), worth[mask])
        sums = [
            Sums(int(mask.sum()), float(worth[mask].sum()), float(np.square(worth[mask]).sum()))
            for mask in (~out[who], out[who])
        ]
        made.append(Earned(START + number * DAY, *sums, gain=sums[0], groups=groups))
    return made


@pytest.mark.parametrize("luck", [0.0, 2.0])
def test_what_a_model_brings_is_in_the_interval_on_every_day_even_where_customers_come_again(
    luck: float,
) -> None:
    rng = np.random.default_rng(6)
    wrong = blind = 0
    for _ in range(150):
        days = run(rng, 30, 0.5, 150, luck)
        told = [effect(days[: day + 1]) for day in range(5, 30, 4)]
        wrong += any(
            not one.low <= 0.5 <= one.high for one in told if one.low is not None and one.high is not None
        )
        alone = [Earned(one.start, one.served, one.control, one.gain) for one in days]
        last = effect(alone[-6:])  # neither groups nor enough days: rows taken for independent
        assert last.low is not None
        assert last.high is not None
        blind += not last.low <= 0.5 <= last.high
    assert wrong / 150 <= ALPHA
    assert (blind / 150 > 2 * ALPHA) == (luck > 0)  # which is wrong where they are not


def test_a_model_that_brings_something_is_found_to() -> None:
    found = effect(run(np.random.default_rng(7), 60, 0.5, 5_000, 0.5))
    assert found.low is not None
    assert found.low > 0
    assert found.held + found.rows == 60 * 200
    assert effect(run(np.random.default_rng(7), 60, 0.5, 5_000, 0.5)[:0]).each is None


def test_segments_that_cost_are_named_and_hardly_ever_others() -> None:
    rng = np.random.default_rng(8)

    def one(name: str, brings: float) -> dict[str, Any]:
        served, held = rng.normal(brings, 1, 800), rng.normal(0, 1, 200)
        sums = {"rows": 800, "total": served.sum(), "squares": np.square(served).sum(), "gain": 0.0}
        return {
            "segment": name,
            **sums,
            "held": 200,
            "held_total": held.sum(),
            "held_squares": np.square(held).sum(),
        }

    told = by_segment(
        pl.DataFrame([one(f"n{n}", 0.0) for n in range(200)] + [one("bad", -1.0), one("good", 1.0)]), 1.0
    )
    named = dict(told.filter(pl.col("surely") != "").select("segment", "surely").iter_rows())
    assert named == {"bad": "costs", "good": "pays"}
    assert by_segment(told.drop("mean", "held_mean", "each", "low", "high", "surely")[:0], 1.0).is_empty()


# -- in the station --------------------------------------------------------------------------------------


def served(made: world.World, day: int, brings: bool, n: int = 200) -> None:
    """A day of which a quarter is held out; acting on the answers is worth something, or the contrary."""
    rng = made.rng
    sent = world.rows(rng, n)
    chance = world.score(sent)
    held = rng.random(n) < 0.25
    came = rng.random(n) < (chance if brings else 1 - chance)
    moment = world.START + day * DAY + timedelta(hours=12)
    for arm, here in (("champion", np.flatnonzero(~held)), ("holdout", np.flatnonzero(held))):
        ids = made.predict(
            [sent[place] for place in here],
            [moment] * len(here),
            version=1 if arm == "champion" else 0,
            arms=[arm] * len(here),
            output=[float(chance[place]) if arm == "champion" else None for place in here],
        )
        told = {"time": moment, "received": moment + timedelta(hours=8)}
        made.tell(
            [
                {"prediction_id": name, "value": float(one), **told}
                for name, one in zip(ids, came[here].tolist(), strict=True)
            ]
        )


def alerts(there: MonitorStation) -> dict[str, str]:
    return {one["kind"]: one["message"] for one in there.alerts()}


@pytest.mark.parametrize("brings", [True, False])
def test_a_model_that_costs_more_than_it_brings_is_told_of(tmp_path: Path, brings: bool) -> None:
    made = world.World(tmp_path, ["UA"])
    there = MonitorStation(made.stores, system_clock)
    value = Payoff(tp=10, fp=-10)
    for day in range(8):
        served(made, day, brings)
        there.observe(world.MODEL, world.START + (day + 1) * DAY, value=value)
    assert ("negative_value" in alerts(there)) != brings
    with made.stores.ledger.read() as db:
        days = earnings.read(db, world.MODEL, world.START, world.START + 99 * DAY)
    assert len(days) == 8
    found, beside = effect(days), counted(days)
    assert found.each is not None
    assert beside.each is not None
    assert (found.each > 0) == brings
    # Nothing but who acts changes here, so counting tells the same.
    assert abs(found.each - beside.each) < 1
    before = days[3].served
    there.observe(world.MODEL, world.START + 8 * DAY, value=value)
    with made.stores.ledger.read() as db:
        again = earnings.read(db, world.MODEL, world.START, world.START + 99 * DAY)
    assert again[3].served == before
    assert effect(again) == found
    made.stores.ledger.close()


def test_by_another_value_all_days_are_counted_anew(tmp_path: Path) -> None:
    made = world.World(tmp_path, ["UA"])
    there = MonitorStation(made.stores, system_clock)
    totals = []
    for value in (Payoff(tp=10), Payoff(tp=30), None, Payoff(tp=30)):
        for day in range(6) if not totals else ():
            served(made, day, True)
        there.observe(world.MODEL, world.START + 6 * DAY, value=value)
        with made.stores.ledger.read() as db:
            days = earnings.read(db, world.MODEL, world.START, world.START + 99 * DAY)
        totals.append(sum(one.served.total for one in days))
    assert totals[0] > 0
    assert totals[1:] == pytest.approx([3 * totals[0]] * 3)
    made.stores.ledger.close()


def test_a_function_that_fails_costs_nothing_but_is_told_of_until_it_is_mended(tmp_path: Path) -> None:
    made = world.World(tmp_path, ["UA"])
    there = MonitorStation(made.stores, system_clock)

    def broken(rows: Any) -> Any:
        return rows["windy"]

    def mended(rows: Any) -> Any:
        return rows["truth"] * 2.0

    for day in range(3):
        served(made, day, True)
        seen = there.observe(world.MODEL, world.START + (day + 1) * DAY, value=Worth(broken))
        assert seen.rows
        assert "KeyError" in alerts(there)["value_unknown"]
        assert len(there.alerts()) == 1
    there.observe(world.MODEL, world.START + 3 * DAY, value=Worth(mended))
    assert "value_unknown" not in alerts(there)
    with made.stores.ledger.read() as db:
        days = earnings.read(db, world.MODEL, world.START, world.START + 99 * DAY)
    assert sum(one.served.n + one.control.n for one in days) == 600
    made.stores.ledger.close()


@pytest.mark.parametrize("said", [None, 0.0])
def test_a_holdout_of_a_model_of_several_classes_is_counted(tmp_path: Path, said: float | None) -> None:
    """Its rows were answered nothing, or a number: there is no class in it."""
    made = world.World(tmp_path, ("UA",), "multiclass", ("calm", "storm", "rain"))
    answer = json.dumps({"label": "calm", "probabilities": {"calm": 0.7, "storm": 0.2, "rain": 0.1}})
    for version, output, text, key, arm in (
        (1, 0.7, answer, "a", "champion"),
        (0, said, json.dumps(said), "b", "holdout"),
    ):
        made.predict(
            world.rows(made.rng, 1), [world.START], version=version, output=[output], keys=[key],
            outputs=[text], arms=[arm],
        )  # fmt: skip
    told = {"time": world.START, "received": world.START + timedelta(hours=1), "model": world.MODEL}
    made.tell([{**told, "key": "a", "label": "calm"}, {**told, "key": "b", "label": "rain"}])
    worth = Worth(lambda frame: frame["output"].fillna(-1.0))
    station = MonitorStation(made.stores, system_clock)
    station.observe(world.MODEL, world.START + world.DAY, value=worth)
    with made.stores.ledger.read() as db:
        (day,) = earnings.read(db, world.MODEL, world.START, world.START + world.DAY)
    assert (day.served.n, day.served.total) == (1, pytest.approx(0.7))
    assert (day.control.n, day.control.total) == (1, -1.0 if said is None else said)
