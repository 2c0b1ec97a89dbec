"""Three hundred models by fifteen features: no alarm by chance, no real shift missed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from modelworks.core.batch import Batch
from modelworks.core.measure import Counts, Reference
from modelworks.monitor.fleet import MIN_ROWS, Between, decay, dispersion, shift
from modelworks.monitor.performance import clustered_error, mean_loss

MODELS = 300


def features(rng: np.random.Generator, rows: int, moved: float = 0.0) -> Batch:
    """Eleven numbers of different kinds and four texts; the first of each moves."""
    columns = [rng.normal(moved, 1, rows), rng.normal(0, 1, rows), rng.gamma(1, 2, rows)]
    columns += [
        rng.integers(0, 2, rows),
        rng.random(rows) < 0.04,
        rng.integers(0, 24, rows),
        np.full(rows, 3.0),
    ]
    columns += [np.where(rng.random(rows) < 0.9, 0.0, rng.gamma(1, 1, rows))]
    columns += [np.where(rng.random(rows) < 0.2, np.nan, rng.normal(0, 1, rows)) for _ in range(3)]
    texts = np.empty((rows, 4), object)
    weights = np.array([0.5 - moved / 3, 0.2 + moved / 3, 0.1, 0.1, 0.05, 0.05])
    texts[:, 0] = rng.choice(list("abcdef"), rows, p=weights)
    texts[:, 1] = rng.choice(list("abcdefghijklmnopqrst"), rows)
    texts[:, 2] = rng.choice(["x", ""], rows, p=[0.97, 0.03])
    texts[:, 3] = "same"
    return Batch(np.column_stack(columns).astype(np.float32), texts)


def fleet(seed: int, before: int, live: int, moved: float = 0.0) -> tuple[Counts, Counts]:
    rng = np.random.default_rng(seed)
    references = [Reference.build(features(rng, before), rng.random(before)) for _ in range(MODELS)]
    counted = [one.count(features(rng, live, moved), rng.random(live)) for one in references]
    return (
        Counts(np.stack([one.features for one in references]), np.empty(0, np.int64)),
        Counts(np.stack([one.features for one in counted]), np.empty(0, np.int64)),
    )


@pytest.mark.parametrize(("before", "live"), [(30, 84), (60, 84), (60, 600), (400, 84), (400, 2000)])
def test_without_any_shift_hardly_anything_alarms(before: int, live: int) -> None:
    alarms = [
        int(shift(a.features, b.features).alarm.sum()) for a, b in (fleet(s, before, live) for s in (1, 2))
    ]
    assert sum(alarms) <= 2  # of 9,000 tests


def test_without_adjusting_there_would_be_many() -> None:
    reference, live = fleet(3, 400, 400)
    plain = [
        stats.chi2_contingency(np.stack([a, b])[:, (a + b) > 0], correction=False).pvalue < 0.05
        for a, b in zip(reference.features[:, 1], live.features[:, 1], strict=True)
    ]
    assert sum(plain) >= 3
    assert not shift(reference.features, live.features).alarm.any()


def test_a_real_shift_is_found_where_it_is() -> None:
    reference, live = fleet(4, 200, 300, moved=1.0)
    alarm = shift(reference.features, live.features).alarm
    assert alarm[:, 0].mean() > 0.99
    assert alarm[:, 11].mean() > 0.9
    others = np.delete(alarm, [0, 11], axis=1)
    assert others.mean() < 0.01


def test_a_shift_too_small_to_matter_is_no_alarm_however_sure() -> None:
    reference, live = np.array([[50_000, 50_000]]), np.array([[51_500, 48_500]])
    found = shift(reference, live)
    assert stats.chi2_contingency(np.concatenate([reference, live]), correction=False).pvalue < 1e-6
    assert not found.alarm.any()


def test_a_shift_on_few_rows_is_no_alarm() -> None:
    rows = MIN_ROWS - 1
    assert not shift(np.array([[500, 0]]), np.array([[0, rows]])).alarm.any()
    assert shift(np.array([[500, 0]]), np.array([[0, rows + 1]])).alarm.all()


def test_a_constant_feature_that_changes_is_found() -> None:
    none = np.empty((300, 0), object)
    made = Reference.build(Batch(np.full((300, 1), 3, np.float32), none), np.zeros(300))
    live = made.count(Batch(np.full((300, 1), 4, np.float32), none), np.zeros(300))
    assert shift(made.features, live.features).alarm.all()


def weather(rng: np.random.Generator, days: int, rows: int, moved: float = 0.0) -> Batch:
    """Rows of days: one number that a day's rows share but for little, one that they do not, the day's weekday."""
    shared = np.repeat(rng.normal(moved, 1, days), rows) + rng.normal(0, 0.2, days * rows)
    texts = np.empty((days * rows, 1), object)
    texts[:, 0] = np.repeat([f"weekday {day % 7}" for day in range(days)], rows)
    return Batch(np.column_stack([shared, rng.normal(moved, 1, days * rows)]).astype(np.float32), texts)


def seen_by_day(seed: int, days: int, moved: float = 0.0) -> tuple[Counts, Counts, Between]:
    """A fleet of references of 56 days, and what each saw in some days after."""
    rng = np.random.default_rng(seed)
    references, lives, squares = [], [], []
    for _ in range(MODELS):
        made = Reference.build(weather(rng, 56, 10), rng.random(560))
        after = weather(rng, days, 10, moved)
        each = np.stack(
            [made.count(after.take(slice(10 * d, 10 * d + 10)), np.zeros(10)).features for d in range(days)]
        )
        references.append(made.features)
        lives.append(each.sum(axis=0))
        squares.append(np.square(each).sum(axis=0) / 10)
    empty = np.empty(0, np.int64)
    between = Between(np.full((MODELS, 1), days), np.stack(squares))
    return Counts(np.stack(references), empty), Counts(np.stack(lives), empty), between


@pytest.mark.parametrize("days", [5, 28])
def test_the_weather_of_a_few_days_is_no_shift(days: int) -> None:
    reference, live, between = seen_by_day(6, days)
    naive = shift(reference.features, live.features).alarm
    assert naive[:, 0].mean() > 0.2  # rows of a day are taken for independent
    alarm = shift(reference.features, live.features, between).alarm
    assert alarm.sum() <= 3  # of 900 tests


def test_a_shift_beyond_the_weather_is_found() -> None:
    reference, live, between = seen_by_day(7, 28, moved=2.0)
    alarm = shift(reference.features, live.features, between).alarm
    assert alarm[:, :2].mean(axis=0) == pytest.approx([1, 1], abs=0.1)
    assert not alarm[:, 2].any()


def test_how_much_days_differ_is_pearsons_statistic_over_its_freedom() -> None:
    days = np.random.default_rng(8).integers(20, 60, (6, 4))
    between = Between(np.array(6), (np.square(days) / days.sum(axis=1, keepdims=True)).sum(axis=0))
    expected = stats.chi2_contingency(days, correction=False).statistic / 15
    assert float(dispersion(days.sum(axis=0), between)) == pytest.approx(max(expected, 1.0))


def test_a_single_day_is_no_evidence() -> None:
    reference, live = np.array([[50, 50]]), np.array([[100, 0]])
    between = Between(np.array([1]), np.square(live) / 100)
    assert shift(reference, live).alarm.all()
    assert not shift(reference, live, between).alarm.any()


def test_the_error_of_a_mean_counts_days_where_rows_share_their_luck() -> None:
    rng = np.random.default_rng(9)
    means = []
    for _ in range(400):
        luck = rng.normal(0, 0.3, 28)
        values = 1 + np.repeat(luck, 20) + rng.normal(0, 0.1, 28 * 20)
        each = values.reshape(28, 20).sum(axis=1)
        sums = np.array([[560, 560, 0, values.sum(), np.square(values).sum()]])
        loss = np.array([[np.square(each).sum(), (each * 20).sum(), 28 * 400.0]])
        means.append((values.mean(), clustered_error(sums, np.array([28]), loss)[0], mean_loss(sums)[1][0]))
    true = np.std([mean for mean, _, _ in means])
    assert np.mean([error for _, error, _ in means]) == pytest.approx(true, rel=0.1)
    assert np.mean([error for _, _, error in means]) < true / 3


def test_what_alarms_also_lasts() -> None:
    reference, live = fleet(5, 200, 300, moved=0.5)
    found = shift(reference.features, live.features)
    assert (found.lasting | ~found.alarm).all()
    assert found.lasting.sum() > found.alarm.sum()


def losses(rng: np.random.Generator, rows: int, mean: float) -> tuple[float, float, float]:
    values = rng.gamma(1.0, mean, rows)
    return float(rows), float(values.sum()), float(np.square(values).sum())


def test_decay_is_told_from_chance() -> None:
    rng = np.random.default_rng(0)
    sums = np.zeros((MODELS, 5))
    promised = np.empty(MODELS)
    for model in range(MODELS):
        worse = model < 30
        sums[model, [1, 3, 4]] = losses(rng, 1000, 0.9 if worse else 0.5)
        promised[model] = rng.gamma(1.0, 0.5, 200).mean()
    loss, error = mean_loss(sums)
    alarm, lasting = decay(loss, error, sums[:, 1], promised, error * np.sqrt(sums[:, 1] / 200))
    assert alarm[:30].mean() > 0.7
    assert alarm[30:].sum() <= 1
    assert (lasting | ~alarm).all()
    unknown, _ = decay(loss, error, sums[:, 1], np.full(MODELS, np.nan), error)
    assert not unknown.any()


def test_the_mean_loss_and_its_error_are_those_of_the_rows() -> None:
    values = np.random.default_rng(1).gamma(1.0, 0.4, 50)
    loss, error = mean_loss(
        np.array([[60, 50, 0, values.sum(), np.square(values).sum()], [5, 1, 0, 0.3, 0.09]])
    )
    assert loss[0] == pytest.approx(values.mean())
    assert error[0] == pytest.approx(stats.sem(values))
    assert np.isnan([loss[1], error[1]]).all()
