"""What a shift does to the answers: of the right size, as sure as it says, told in the order that matters."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from monitor_world import MODEL, START, World, batch, rows, score
from sqlalchemy import update

from modelworks.core.batch import Batch
from modelworks.core.main_effects import main_effects
from modelworks.core.measure import Reference
from modelworks.models.package import Package
from modelworks.monitor.alerting import MANY, findings
from modelworks.monitor.attribution import attributed, by_effect, sure
from modelworks.monitor.station import MonitorStation
from modelworks.monitor.watch import Watch
from modelworks.stores.ledger.tables import model_versions

ONE = np.ones(1)


def plain(numbers: np.ndarray) -> Batch:
    return Batch(numbers.astype(np.float32), np.empty((len(numbers), 0), dtype=object))


def test_effects_add_up_to_the_move_of_the_mean_answer() -> None:
    rng = np.random.default_rng(0)
    weights = np.array([0.5, -0.2, 0.0])
    before, after = rng.normal(size=(4_000, 3)), rng.normal((0.4, 0.3, 0.5), size=(4_000, 3))
    reference = Reference.build(plain(before), before @ weights)
    found = main_effects(reference.bins(plain(before)), before @ weights)
    assert found is not None
    live = reference.count(plain(after), after @ weights).features
    moved, error = attributed(reference.features, live, found, np.ones(3))
    assert moved == pytest.approx((after - before).mean(axis=0) * weights, abs=0.03)
    assert moved.sum() == pytest.approx((after @ weights).mean() - (before @ weights).mean(), abs=0.03)
    assert sure(moved, error).tolist() == [moved[0], moved[1], 0.0]


@pytest.mark.parametrize("dispersion", [1.0, 4.0])
def test_the_error_is_how_much_the_effect_scatters_where_nothing_shifts(dispersion: float) -> None:
    rng = np.random.default_rng(0)
    share, effect = np.array([0.1, 0.2, 0.3, 0.4]), np.array([1.0, -1.0, 0.5, 0.0])
    # Rows that come in bunches of the same bin differ as many times more.
    bunch = int(dispersion)
    reference = rng.multinomial(3_000 // bunch, share, 4_000) * bunch
    live = rng.multinomial(1_200 // bunch, share, 4_000) * bunch
    known = np.broadcast_to(np.stack([effect, np.zeros(4)])[:, None], (2, 4_000, 4))
    moved, error = attributed(reference, live, known, np.full(4_000, dispersion))
    assert (moved / error).std() == pytest.approx(1.0, abs=0.05)
    assert (moved / error).mean() == pytest.approx(0.0, abs=0.05)


def test_few_rows_of_the_reference_make_it_less_sure() -> None:
    reference, live = np.array([[100, 100]]), np.array([[200, 0]])
    known = np.array([[[0.1, -0.1]], [[0.02, 0.02]]])
    _, error = attributed(reference, live, known, ONE)
    assert error[0] == pytest.approx(np.sqrt(0.01 / 200 + 2 * 0.25 * 0.02))


def test_nothing_is_known_without_rows_or_effects() -> None:
    counts, none = np.array([[3, 4]]), np.array([[0, 0]])
    known = np.zeros((2, 1, 2))
    assert np.isnan(attributed(counts, none, known, ONE)[0]).all()
    assert np.isnan(attributed(counts, counts, known * np.nan, ONE)[0]).all()


def test_the_order_is_that_of_the_effects_and_then_of_the_shifts() -> None:
    drift = {"a": 0.9, "b": 0.3, "c": 0.2, "d": 0.95}
    assert by_effect(drift, {"b": 0.01, "c": -0.2, "a": 0.0}) == ["c", "b", "d", "a"]


def given(world: World, segment: str) -> None:
    """Let the version of a segment know what its features do."""
    sent = rows(np.random.default_rng(1), 500)
    made = world.references[segment, 1]
    made = replace(made, main_effects=main_effects(made.bins(batch(sent)), score(sent)))
    with world.stores.ledger.write() as db:
        here = model_versions.c.segment == segment
        package = Package.from_json(
            db.execute(model_versions.select().where(here)).mappings().one()["package"]
        )
        package = replace(package, reference=world.stores.artifacts.put(made.to_bytes()))
        db.execute(update(model_versions).where(here).values(package=package.to_json()))


def test_an_alert_says_what_the_shift_does_to_the_answers(tmp_path: Path) -> None:
    world = World(tmp_path)
    given(world, "UA")  # AA is of before versions knew that
    for number in range(12):
        for segment in ("UA", "AA"):
            world.day(number, segment=segment, wind=1.0)
    now = START + timedelta(days=12)
    seen = {one.segment: one for one in MonitorStation(world.stores, lambda: now).observe(MODEL, now).watches}
    mine = seen["UA",]
    assert mine.output_mean is not None
    # Of the wind the answer knows only what is not missing.
    assert mine.effects["wind"] == pytest.approx(mine.output_mean - 0.5, abs=0.04)
    assert mine.effect_errors["wind"] < 0.03
    assert mine.effects["rain"] == mine.effects["day"] == 0.0
    assert dict(seen["AA",].effects) == {}
    told = {
        one["segment"]: one
        for one in MonitorStation(world.stores, lambda: now).alerts(MODEL)
        if one["kind"] == "feature_drift"
    }
    assert f", moves the answers by {mine.effects['wind']:+.2g})" in told["UA"]["message"]
    assert told["UA"]["evidence"]["effects"] == {"wind": mine.effects["wind"]}
    assert "moves" not in told["AA"]["message"]


def test_what_many_segments_share_is_told_by_what_it_does_to_the_rows_of_all() -> None:
    def watch(number: int, rows: int, effect: float) -> Watch:
        names = ("rain", "wind")
        return Watch(
            (f"S{number}",), 1, rows, 0, 0.3, "log_loss", None, None, None, None, None,
            shifted=names, shifting=names, drift={"rain": 0.9, "wind": 0.3},
            effects={"rain": 0.0, "wind": effect},
        )  # fmt: skip

    watches = [watch(0, 100, 0.04), watch(1, 100, 0.04), *(watch(n, 50, 0.12) for n in range(2, MANY + 1))]
    (found,) = findings("m", watches, [], datetime(2024, 6, 1, tzinfo=UTC))
    number = len(watches)
    expected = (200 * 0.04 + 50 * (number - 2) * 0.12) / (200 + 50 * (number - 2))
    assert found.evidence["effects"]["wind"] == pytest.approx(expected)
    assert found.message.endswith(
        f"wind in {number} (moves the answers by {expected:+.2g}), rain in {number} (hardly moves the answers)"
    )
