"""What the last days are compared with: the training, the days before, or the same days a year before."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from monitor_world import DAY, MODEL, START, World
from sqlalchemy import insert

from modelworks.core.clock import FrozenClock
from modelworks.core.errors import Invalid
from modelworks.core.measure import FEATURE_BINS, LABELS, OUTPUT_BINS, Counts, Reference
from modelworks.core.schema import Field, Kind
from modelworks.models.signature import Signature
from modelworks.monitor.drift.rule import YEAR, Compared, Drift
from modelworks.monitor.judge import judge
from modelworks.monitor.sketch import Sketches
from modelworks.monitor.station import TRAILING_DAYS, MonitorStation
from modelworks.monitor.watch import Watch
from modelworks.monitor.window import Key, Known
from modelworks.stores.ledger.tables import models

FEATURES, ROWS = 6, 80
BINS = FEATURE_BINS - 1
EVEN = np.full(BINS, 1 / BINS)
SIGNATURE = Signature(tuple(Field(f"n{n}", Kind.NUMBER, True) for n in range(FEATURES)), "binary", (0, 1))
AGES = np.concatenate([np.arange(1.0, 57.0), np.arange(YEAR + 1.0, YEAR + 29.0)])
OUTPUTS = np.full(OUTPUT_BINS, 1 / OUTPUT_BINS)


def tilted(by: float) -> npt.NDArray[np.float64]:
    """Shares of the bins, the higher ones having more."""
    shares = EVEN * np.exp(by * np.linspace(-1, 1, BINS))
    return np.asarray(shares / shares.sum())


def season(age: float) -> npt.NDArray[np.float64]:
    """Shares that come back every year; now they are high."""
    return tilted(1.2 * np.cos(2 * np.pi * age / YEAR))


class Answered:
    """Models, what they were trained on, and what they answered on the days of `AGES`."""

    def __init__(
        self,
        models: int,
        shares: dict[float, npt.NDArray[np.float64]] | None = None,
        *,
        days_differ: float = 0.0,
        ages: npt.NDArray[np.float64] = AGES,
        seed: int = 0,
    ) -> None:
        rng = np.random.default_rng(seed)
        none = np.zeros((FEATURES, BINS - 1), np.float32)
        year = np.mean([shares[age] for age in shares], axis=0) if shares else EVEN
        self.known: dict[Key, Known] = {}
        for model in range(models):
            features = np.zeros((FEATURES, FEATURE_BINS), np.int64)
            features[:, :BINS] = rng.multinomial(1_000, EVEN, FEATURES)
            features[0, :BINS] = rng.multinomial(1_000, year)
            outputs = rng.multinomial(1_000, OUTPUTS)
            made = Reference(none, (), np.zeros(OUTPUT_BINS - 1), features, outputs)
            self.known[f"m{model}", 1] = Known(SIGNATURE, made)
        counts = np.zeros((len(ages), models, FEATURES, FEATURE_BINS), np.int64)
        for day, age in enumerate(ages):
            those = np.broadcast_to(EVEN, (models, FEATURES, BINS)).copy()
            if shares:
                those[:, 0] = shares[age]
            if days_differ:
                those = rng.gamma(those * BINS / days_differ)
                those /= those.sum(axis=-1, keepdims=True)
            counts[day, ..., :BINS] = rng.multinomial(ROWS, those)
        outputs = np.zeros((len(ages), models, LABELS, OUTPUT_BINS), np.int64)
        outputs[:, :, LABELS - 1] = rng.multinomial(ROWS, OUTPUTS, (len(ages), models))
        sums = np.zeros((len(ages) * models, 5))
        sums[:, 0], sums[:, 2] = ROWS, ROWS / 2
        flat = Counts(counts.reshape(-1, FEATURES, FEATURE_BINS), outputs.reshape(-1, LABELS, OUTPUT_BINS))
        self.windows = Sketches(sums, flat)
        self.of = np.tile(np.arange(models), len(ages))
        self.age = np.repeat(ages, models)

    def judged(self, rule: Drift, level: float = 0.01) -> list[Watch]:
        return judge(self.known, self.windows, self.of, self.age, rule, level, lag=0.0, days=TRAILING_DAYS)


REFERENCES: list[Compared] = ["training", "trailing", "seasonal"]


@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.parametrize("days_differ", [0.0, 0.4])
def test_a_fleet_in_which_nothing_changes_is_left_alone(reference: Compared, days_differ: float) -> None:
    for seed in range(4):
        watches = Answered(100, days_differ=days_differ, seed=seed).judged(Drift(reference=reference))
        assert {watch.reference for watch in watches} == {reference}
        assert {watch.rows for watch in watches} == {TRAILING_DAYS * ROWS}
        assert not [one for one in watches if one.shifted or one.slight or one.output_shifted]


@pytest.mark.parametrize("reference", REFERENCES)
def test_chance_is_no_more_often_taken_for_a_shift_than_the_level_says(reference: Compared) -> None:
    """However small a shift may be, and with a reference of no more rows than are judged."""
    rule = Drift(least=1e-9, reference=reference)
    families = 150
    told = [
        any(one.shifted or one.output_shifted for one in Answered(5, seed=seed).judged(rule, 0.1))
        for seed in range(families)
    ]
    assert sum(told) <= 0.1 * families + 3 * np.sqrt(0.1 * 0.9 * families)


def test_a_season_that_comes_every_year_is_told_of_only_beside_the_training() -> None:
    there = Answered(20, {age: season(age) for age in np.arange(1.0, 1.0 + YEAR + 56)})
    training, seasonal = there.judged(Drift()), there.judged(Drift(reference="seasonal"))
    assert {one.shifted for one in training} == {("n0",)}
    assert {one.shifted for one in seasonal} == {()}
    assert not any(one.slight for one in seasonal)


@pytest.mark.parametrize("reference", ["trailing", "seasonal"])
def test_what_is_new_is_told_of_whatever_it_is_compared_with(reference: Compared) -> None:
    there = Answered(20, {age: tilted(1.2 if age <= TRAILING_DAYS else 0.0) for age in AGES.tolist()})
    assert {one.shifted for one in there.judged(Drift(reference=reference))} == {("n0",)}


def test_what_lasts_is_no_news_beside_the_days_before() -> None:
    there = Answered(20, {age: tilted(1.2) for age in AGES.tolist()})
    for one in there.known.values():
        one.reference.features[0, :BINS] = 100
    assert {one.shifted for one in there.judged(Drift())} == {("n0",)}
    assert {one.shifted for one in there.judged(Drift(reference="trailing"))} == {()}


@pytest.mark.parametrize("reference", ["trailing", "seasonal"])
@pytest.mark.parametrize("more", [0, 6])
def test_who_did_not_answer_then_is_compared_with_its_training(reference: Compared, more: int) -> None:
    before = {"trailing": TRAILING_DAYS, "seasonal": YEAR}[reference]
    ages = np.concatenate([np.arange(1.0, TRAILING_DAYS + 1), before + np.arange(1.0, more + 1)])
    there = Answered(5, {age: tilted(1.2) for age in ages.tolist()}, ages=ages)
    for one in there.known.values():
        one.reference.features[0, :BINS] = 100
    watches = there.judged(Drift(reference=reference))
    assert {(one.reference, one.shifted) for one in watches} == {("training", ("n0",))}


def test_a_longer_time_before_may_be_asked_for() -> None:
    assert Drift().before(28) is None
    assert Drift(reference="trailing", days=56).before(28) == (28, 84)
    assert Drift(reference="seasonal").before(28) == (364, 392)
    assert Drift.from_json({"test": "ks", "least": None}) == Drift("ks")
    assert Drift.from_json(Drift(reference="trailing", days=14).to_json()).days == 14
    with pytest.raises(Invalid, match="use one of training, trailing, seasonal"):
        Drift(reference="yesterday")  # type: ignore[arg-type]
    with pytest.raises(Invalid, match="use at least 7"):
        Drift(reference="trailing", days=3)


def test_the_station_finds_the_days_before_in_the_ledger(tmp_path: Path) -> None:
    world = World(tmp_path, ["UA"])
    definition = {"drift": Drift(reference="trailing", days=14).to_json()}
    with world.stores.ledger.write() as db:
        row = {"name": MODEL, "features": [], "per": [], "code": "0" * 64, "updated": START}
        db.execute(insert(models).values(row | {"definition": definition}))
    station = MonitorStation(world.stores, FrozenClock(START))

    def days(first: int, last: int, wind: float) -> Watch:
        for number in range(first, last):
            world.day(number, wind=wind)
        (seen,) = station.observe(MODEL, START + timedelta(days=last)).watches
        fresh = MonitorStation(world.stores, FrozenClock(START))
        (again,) = fresh.summary(MODEL, end=START + last * DAY)
        assert (again.rows, again.drift, again.reference) == (seen.rows, seen.drift, seen.reference)
        return seen

    young = days(0, 28, 1.0)
    assert (young.reference, young.shifted) == ("training", ("wind",))
    settled = days(28, 44, 1.0)
    assert (settled.reference, settled.shifted, settled.rows) == ("trailing", (), 28 * 40)
    assert station.alerts(MODEL) == []
    moved = days(44, 60, -0.5)
    assert (moved.reference, moved.shifted) == ("trailing", ("wind",))
    assert "sees other inputs than on the days before: wind" in str(station.alerts(MODEL))
