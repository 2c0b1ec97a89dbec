"""Performance without outcomes: equal to the formulas on rows, honest intervals, and what it cannot see is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from modelworks.core.batch import Batch
from modelworks.core.measure import OUTPUT_BINS, Reference
from modelworks.core.schema import Field, Kind
from modelworks.models.signature import Signature, Task
from modelworks.monitor.estimators import ESTIMATORS, OF_TASK
from modelworks.monitor.estimators.cbpe import calibrated
from modelworks.monitor.history import expect, history
from modelworks.monitor.performance import log_losses
from modelworks.monitor.sketch import Sketches
from modelworks.monitor.stored import Window
from modelworks.monitor.window import Known

Doubles = npt.NDArray[np.float64]
START = datetime(2024, 3, 1, tzinfo=UTC)
NONE = Batch(np.zeros((0, 1), np.float32), np.empty((0, 0), object))


def known(task: Task, scores: Doubles, event: Doubles, loss: Doubles) -> Known:
    """A version with its held-out rows."""
    classes = {"binary": (0, 1), "multiclass": ("a", "b", "c"), "regression": ()}[task]
    signature = Signature((Field("x", Kind.NUMBER, True),), task, classes)  # type: ignore[arg-type]
    return Known(signature, Reference.build(NONE, scores, bool(classes), (event, loss)))


def binned(scores: Doubles) -> npt.NDArray[np.int64]:
    return np.histogram(scores, np.arange(OUTPUT_BINS + 1) / OUTPUT_BINS)[0]


def world(rng: np.random.Generator, rows: int, bent: float = 1.0) -> tuple[Doubles, Doubles]:
    """Answers of a model, and what came; the model is too sure of itself where `bent` is below 1."""
    scores = rng.beta(1.2, 2.0, rows)
    chance = 1 / (1 + np.exp(-bent * np.log(scores / (1 - scores))))
    return scores, (rng.random(rows) < chance).astype(np.float64)


def losses(scores: Doubles, event: Doubles) -> Doubles:
    return log_losses(np.where(event == 1, scores, 1 - scores))


def test_it_is_the_published_formula_on_rows() -> None:
    """Expected confusions of calibrated rows, as CBPE has them: at every threshold, and so the area."""
    rng = np.random.default_rng(0)
    scores, event = world(rng, 40_000)
    entry = known("binary", scores, event, losses(scores, event))
    live = rng.beta(2.0, 2.0, 30_000)  # other answers than before
    found = expect([entry], binned(live)[None], np.zeros(1, np.int64), 1)
    order = np.argsort(live)
    chance = live[order]  # this model's probabilities are right
    below = np.cumsum(1 - chance) - (1 - chance) / 2
    auc = (chance * below).sum() / (chance.sum() * (1 - chance).sum())
    loss = -(chance * np.log(chance) + (1 - chance) * np.log(1 - chance)).mean()
    assert found.auc[0] == pytest.approx(auc, abs=0.004)
    assert found.loss[0] == pytest.approx(loss, abs=0.004)


def test_calibration_is_logistic_regression() -> None:
    rng = np.random.default_rng(1)
    scores, event = world(rng, 20_000, bent=0.5)
    rows, events = binned(scores), np.histogram(scores, np.arange(21) / 20, weights=event)[0]
    (chance,), _ = calibrated(rows[None].astype(float), events[None])
    logit = np.log((np.arange(20) + 0.5) / (19.5 - np.arange(20)))
    place = np.minimum((scores * 20).astype(int), 19)
    exact = LogisticRegression(C=1e6).fit(logit[place][:, None], event)
    assert chance == pytest.approx(exact.predict_proba(logit[:, None])[:, 1], abs=2e-3)


def test_without_rows_the_model_is_taken_at_its_word() -> None:
    (chance,), _ = calibrated(np.zeros((1, 20)), np.zeros((1, 20)))
    assert chance == pytest.approx((np.arange(20) + 0.5) / 20)


@pytest.mark.parametrize("bent", [1.0, 0.6])
def test_what_comes_is_within_the_interval_as_often_as_it_says(bent: float) -> None:
    rng = np.random.default_rng(2)
    inside = {"auc": 0, "loss": 0}
    worlds = 300
    for _ in range(worlds):
        scores, event = world(rng, 400, bent)
        entry = known("binary", scores, event, losses(scores, event))
        live, came = world(rng, 600, bent)
        found = expect([entry], binned(live)[None], np.zeros(1, np.int64), 1)
        truth = {"auc": roc_auc_score(came, live), "loss": log_loss(came, live)}
        for name, value in truth.items():
            off = abs(value - getattr(found, name)[0])
            inside[name] += off <= 1.96 * getattr(found, f"{name}_error")[0]
    assert 0.91 <= inside["auc"] / worlds <= 0.99
    assert 0.91 <= inside["loss"] / worlds <= 0.99


def test_of_values_the_loss_follows_the_answers() -> None:
    """Where it is asked more often for what it is bad at, more loss is expected."""
    rng = np.random.default_rng(3)
    inside, worlds = 0, 200
    for _ in range(worlds):
        value = rng.uniform(0, 10, 2_000)
        entry = known("regression", value, np.zeros(2_000), np.square(rng.normal(0, 1 + value)))
        live = rng.triangular(0, 10, 10, 1_000)  # large ones more often
        came = np.square(rng.normal(0, 1 + live)).mean()
        edges = np.concatenate([[-np.inf], entry.reference.output_edges, [np.inf]])
        found = expect([entry], np.histogram(live, edges)[0][None], np.zeros(1, np.int64), 1)
        assert found.loss[0] > entry.reference.held[2].sum() / 2_000
        inside += abs(came - found.loss[0]) <= 1.96 * found.loss_error[0]
    assert inside / worlds >= 0.9
    assert np.isnan(found.auc[0])


@pytest.mark.parametrize("task", list(OF_TASK))
def test_every_estimator_keeps_its_promises(task: Any) -> None:
    """Groups of versions are their rows together; no rows, or versions that were never judged, say nothing."""
    rng = np.random.default_rng(4)
    entries = []
    for _ in range(4):
        scores, event = world(rng, 300)
        entries.append(known(task, scores, event, losses(scores, event)))
    live = rng.integers(0, 50, (4, OUTPUT_BINS))
    group = np.array([0, 0, 1, 2])
    live[3] = 0
    found = expect(entries, live, group, 3)
    assert np.isfinite(found.loss[:2]).all()
    assert np.isnan(found.loss[2])
    assert (found.loss_error[:2] > 0).all()
    twice = expect([*entries, *entries], np.concatenate([live, live]), np.tile(group, 2), 3)
    assert twice.loss[:2] == pytest.approx(found.loss[:2])
    assert (twice.loss_by_luck[:2] < found.loss_by_luck[:2]).all()
    unknown = Known(entries[0].signature, Reference.build(NONE, np.array([0.5])))
    assert np.isnan(expect([entries[0], unknown], live[:2], np.zeros(2, np.int64), 1).loss[0])
    assert ESTIMATORS[OF_TASK[task]].name == OF_TASK[task]


def fortnight(rng: np.random.Generator, entry: Known, bent: float, told: int) -> list[Window]:
    """Two weeks of windows, the outcomes of which have come for the first `told` days."""
    windows = []
    for day in range(14):
        scores, event = world(rng, 400, bent)
        truth = event if day < told else np.full(len(event), np.nan)
        batch = Batch(np.zeros((400, 1), np.float32), np.empty((400, 0), object))
        counts = entry.reference.count(batch, scores, truth)
        lost = losses(scores, event) if day < told else np.zeros(0)
        sums = np.array([[400, len(lost), scores.sum(), lost.sum(), np.square(lost).sum()]])
        (sketch,) = Sketches(sums, type(counts)(counts.features[None], counts.outputs[None])).pack()
        windows.append(Window("UA", 1, START + timedelta(days=day), tuple(sums[0]), sketch))
    return windows


def test_days_and_months_tell_what_is_expected_before_the_truth_comes() -> None:
    rng = np.random.default_rng(5)
    scores, event = world(rng, 2_000)
    entry = known("binary", scores, event, losses(scores, event))
    days, honesty = history(fortnight(rng, entry, 1.0, 10), {("UA", 1): entry})
    assert [one["labelled"] for one in days] == [400] * 10 + [0] * 4
    assert honesty.rows == 4_000
    assert honesty.trusted
    for one in days:
        assert one["expected_auc"] == pytest.approx(0.75, abs=0.05)
        assert (one["loss"] is None) == (one["labelled"] == 0)
    (month,), _ = history(fortnight(rng, entry, 1.0, 14), {("UA", 1): entry}, "month")
    assert month["rows"] == 14 * 400
    assert month["expected_loss"] == pytest.approx(month["loss"], abs=4 * month["expected_loss_error"])
    assert month["expected_loss_error"] < days[0]["expected_loss_error"]


def test_estimates_that_do_not_come_true_are_told() -> None:
    """What the answers mean has changed, which no look at the answers shows."""
    rng = np.random.default_rng(6)
    scores, event = world(rng, 2_000)
    entry = known("binary", scores, event, losses(scores, event))
    _, honesty = history(fortnight(rng, entry, 0.4, 14), {("UA", 1): entry})
    assert honesty.trusted is False
    assert honesty.measured is not None
    assert honesty.expected is not None
    assert honesty.measured > honesty.expected


def test_of_nothing_nothing_is_said() -> None:
    assert history([], {}) == ([], history([], {})[1])
    assert history([], {})[1].trusted is None
