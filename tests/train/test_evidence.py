"""What gates are shown of the held-out rows, by scikit-learn's, SciPy's and Fairlearn's figures."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fairlearn import metrics as fairlearn
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.calibration import calibration_curve
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from modelworks.core.batch import Batch
from modelworks.core.schema import Field, Kind
from modelworks.models import packaging
from modelworks.models.layout import to_batch
from modelworks.models.package import Package, Proof
from modelworks.models.signature import Signature
from modelworks.models.signature_of import signature
from modelworks.registry.gates import needed
from modelworks.registry.gates.beats_champion import BeatsChampion
from modelworks.registry.gates.calibrated import Calibrated, expected_error
from modelworks.registry.gates.evidence import Calibration, Comparison, Confusions, Size, Strain, Timing
from modelworks.registry.gates.fair import Fair
from modelworks.registry.gates.fast import Fast
from modelworks.registry.gates.port import Gate, GateInput, Verdict
from modelworks.registry.gates.robust import Robust
from modelworks.registry.gates.slices import Slices
from modelworks.registry.gates.small import Small
from modelworks.stores.artifacts import LocalArtifacts
from modelworks.train.evidence import HeldOut, gather, groups

BINARY = Signature((Field("x", Kind.NUMBER),), "binary", (0, 1))
EMPTY = Package(BINARY, "sklearn", "", None, Proof(0, None, 1e-4, "none"), None, "", "")


def held_out(
    y: Any, p: Any, champion: Any = None, columns: dict[str, Any] | None = None, takes: Signature = BINARY
) -> HeldOut:
    """Rows of which the answers are known; for a binary model `p` is that of the second class."""

    def scores(of: Any) -> Any:
        of = np.asarray(of, np.float32)
        return np.column_stack([1 - of, of]) if takes.task == "binary" else of.reshape(len(of), -1)

    y = np.asarray(y)
    return HeldOut(
        takes,
        y,
        scores(p),
        Batch(np.zeros((len(y), 1), np.float32), np.empty((len(y), 0), object)),
        lambda name: (columns or {})[name],
        EMPTY,
        LocalArtifacts(Path("/nowhere")),
        datetime(2024, 1, 1, tzinfo=UTC),
        None if champion is None else (takes, scores(champion)),
    )


def judged(gate: Gate, rows: HeldOut) -> Verdict:
    champion = {"log_loss": 0.5, "roc_auc": 0.5} if rows.champion else None
    return gate.judge(
        GateInput(
            metrics={},
            champion_metrics=champion,
            rows_held_out=len(rows),
            evidence=gather(needed([gate]), rows),
        )
    )


def world(rows: int, seed: int = 0) -> tuple[Any, Any, Any]:
    """Probabilities, whether it happened, and a group of each row."""
    random = np.random.default_rng(seed)
    p = random.beta(2, 3, rows)
    return p, (random.random(rows) < p).astype(int), random.choice(np.array(["f", "m", ""], object), rows)


# -- comparisons ---------------------------------------------------------------------------------------


def test_a_comparison_of_areas_is_delongs() -> None:
    """The variance written out as in the paper, pair by pair."""
    p, y, _ = world(300)
    other = np.clip(p + np.random.default_rng(1).normal(0, 0.3, 300), 0, 1).astype(np.float32)
    (found,) = gather([Comparison("roc_auc")], held_out(y, p, other)).values()
    one = found[""]
    assert one.value == pytest.approx(roc_auc_score(y, p.astype(np.float32)))
    assert one.champion == pytest.approx(roc_auc_score(y, other))
    placed = []
    for score in (p.astype(np.float32), other):
        wins = (score[y == 1][:, None] > score[y == 0][None]) + 0.5 * (
            score[y == 1][:, None] == score[y == 0][None]
        )
        placed.append((wins.mean(axis=1), wins.mean(axis=0)))
    m, n = int(y.sum()), int((1 - y).sum())
    apart = [placed[0][side] - placed[1][side] for side in (0, 1)]
    variance = apart[0].var(ddof=1) / m + apart[1].var(ddof=1) / n
    assert one.difference_error == pytest.approx(math.sqrt(variance), rel=0.01)


def test_slices_are_the_metric_of_their_rows_alone() -> None:
    p, y, group = world(400)
    other = np.clip(p + 0.1, 0.01, 0.99)
    (found,) = gather([Comparison("log_loss", "sex", 30)], held_out(y, p, other, {"sex": group})).values()
    assert set(found) == {"f", "m", ""}
    assert list(found) == sorted(found, key=lambda name: -found[name].rows)
    for name, one in found.items():
        mine = group == name
        assert one.rows == mine.sum()
        assert one.value == pytest.approx(log_loss(y[mine], p[mine].astype(np.float32)), abs=1e-5)
        losses = [-np.log(np.where(y[mine], q[mine], 1 - q[mine])) for q in (p, other)]
        paired = stats.ttest_rel(*losses)
        assert one.difference / one.difference_error == pytest.approx(paired.statistic, rel=1e-3)


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (np.array(["a", "", "b", "a"], object), ["", "a", "b"]),
        (np.array([1.0, 2.0, np.nan]), ["1", "2", ""]),
        (np.array([True, False]), ["no", "yes"]),
        (np.arange(100), ["0 to 24", "24 to 49", "49 to 74", "74 to 99"]),
        (np.array([np.nan, np.nan]), [""]),
        (np.array([], object), []),
        (np.array([], float), []),
    ],
)
def test_rows_by_the_value_of_a_column(values: Any, names: list[str]) -> None:
    found, place = groups(values)
    assert found == names
    assert len(place) == len(values)
    assert set(place.tolist()) <= set(range(len(names)))


def test_times_and_many_numbers_are_cut_into_quarters_of_equal_size() -> None:
    for values in (
        np.random.default_rng(0).normal(size=1000),
        np.arange("2024-01-01", "2024-02-01", dtype="datetime64[h]").astype("datetime64[us]"),
    ):
        names, place = groups(values)
        assert len(names) == 4
        assert np.bincount(place) == pytest.approx(np.full(4, len(values) / 4), abs=2)


# -- slices, over what chance does ---------------------------------------------------------------------


def _slices_refused(seed: int, rows: int, number: int, harm: float) -> bool:
    random = np.random.default_rng(seed)
    p = random.uniform(0.1, 0.9, rows)
    y = (random.random(rows) < p).astype(int)
    group = np.array([f"g{n}" for n in random.integers(0, number, rows)], object)
    noisy = np.clip(p + random.normal(0, 0.05, rows), 0.02, 0.98)
    mine = np.clip(p + random.normal(0, 0.05, rows), 0.02, 0.98)
    hurt = group == "g0"
    mine[hurt] = np.clip(mine[hurt] - harm * (2 * y[hurt] - 1), 0.02, 0.98)
    gate = Slices(by=["group"], metric="log_loss")
    return not judged(gate, held_out(y, mine, noisy, {"group": group})).passed


def test_fifty_slices_do_not_refuse_by_chance_and_do_find_the_one_that_is_harmed() -> None:
    alarms = sum(_slices_refused(seed, 5_000, 50, 0.0) for seed in range(100))
    assert stats.binomtest(alarms, 100, 0.05, alternative="greater").pvalue > 0.01
    assert sum(_slices_refused(seed, 5_000, 50, 0.1) for seed in range(10)) >= 9


def test_without_confidence_slices_are_taken_as_they_are() -> None:
    y, p = np.tile([0, 1], 100), np.tile([0.3, 0.7], 100)
    worse = np.where(np.arange(200) < 60, 0.5, p)
    group = np.array(["a"] * 60 + ["b"] * 120 + ["c"] * 20, object)
    seen = held_out(y, worse, p, {"group": group})
    strict = judged(Slices(by=["group"], metric="log_loss", worse_by=0.1, confidence=None), seen)
    assert not strict.passed
    assert "group a (log_loss 0.693 against 0.357 on 60 rows)" in strict.reason
    assert "1 with too few rows" in strict.reason
    assert judged(Slices(by=["group"], metric="log_loss", worse_by=0.4, confidence=None), seen).passed


# -- calibration ---------------------------------------------------------------------------------------


def test_bins_are_scikit_learns_and_the_error_is_made_of_them() -> None:
    p, y, _ = world(5_000)
    (found,) = gather([Calibration(10)], held_out(y, p)).values()
    happened, predicted = calibration_curve(y, p.astype(np.float32), n_bins=10, strategy="quantile")
    assert [one.happened for one in found.bins] == pytest.approx(happened, abs=0.01)
    assert [one.predicted for one in found.bins] == pytest.approx(predicted, abs=0.01)
    rows = np.array([one.rows for one in found.bins])
    assert expected_error(found) == pytest.approx(
        sum(rows / 5_000 * np.abs(np.array([o.happened - o.predicted for o in found.bins])))
    )
    z = ((y - p) * (1 - 2 * p)).sum() / math.sqrt((np.square(1 - 2 * p) * p * (1 - p)).sum())
    assert found.z == pytest.approx(z, rel=1e-3)


def test_a_calibrated_model_is_refused_as_rarely_as_promised_and_a_wrong_one_is_found() -> None:
    refused = wrong = 0
    for seed in range(200):
        p, y, _ = world(150, seed)
        refused += not judged(Calibrated(within=0.0), held_out(y, p)).passed
        wrong += not judged(Calibrated(within=0.05), held_out(y, np.clip(p + 0.2, 0, 1))).passed
    assert stats.binomtest(refused, 200, 0.05, alternative="greater").pvalue > 0.01
    assert wrong > 180


def test_calibration_of_many_classes_is_about_the_one_that_is_predicted() -> None:
    random = np.random.default_rng(0)
    p = random.dirichlet([1, 1, 1], 2_000)
    y = np.array([random.choice(["a", "b", "c"], p=row) for row in p])
    takes = replace(BINARY, task="multiclass", classes=("a", "b", "c"))
    verdict = judged(Calibrated(within=0.05), held_out(y, p, takes=takes))
    assert verdict.passed
    assert not judged(Calibrated(within=0.05), held_out(y[::-1].copy(), p, takes=takes)).passed


# -- fairness ------------------------------------------------------------------------------------------

FAIRLEARN: dict[str, Callable[..., float]] = {
    "demographic_parity": fairlearn.demographic_parity_difference,
    "equal_opportunity": fairlearn.equal_opportunity_difference,
    "equalized_odds": fairlearn.equalized_odds_difference,
}


@pytest.mark.parametrize("measure", FAIRLEARN)
@pytest.mark.parametrize("threshold", [0.3, 0.5])
@pytest.mark.parametrize("seed", range(5))
def test_fairness_is_fairlearns(measure: Any, threshold: float, seed: int) -> None:
    p, y, group = world(500, seed)
    gate = Fair(by="sex", measure=measure, within=0.05, threshold=threshold, min_rows=1)
    verdict = judged(gate, held_out(y, p, columns={"sex": group}))
    selected = p.astype(np.float32) >= threshold
    expected = FAIRLEARN[measure](y, selected, sensitive_features=group)
    assert verdict.evidence["difference"] == pytest.approx(expected)
    assert verdict.passed is bool(expected <= 0.05)


def test_small_groups_are_named_and_do_not_let_a_model_pass_unseen() -> None:
    p, y, _ = world(100)
    group = np.array(["f"] * 5 + ["m"] * 95, object)
    verdict = judged(Fair(by="sex", measure="demographic_parity"), held_out(y, p, columns={"sex": group}))
    assert not verdict.passed
    assert "nothing to compare" in verdict.reason
    alone = judged(Fair(by="sex"), held_out(y, p, columns={"sex": np.array(["m"] * 100, object)}))
    assert alone.passed


def test_a_difference_that_chance_explains_passes_only_where_that_is_asked_for() -> None:
    y = np.ones(80, int)
    p = np.where(np.arange(80) % 40 < 22, 0.9, 0.1)
    p[:4] = 0.1
    group = np.array(["f"] * 40 + ["m"] * 40, object)
    seen = held_out(y, p, columns={"sex": group})
    strict, lenient = (judged(Fair(by="sex", within=0.05, confidence=c), seen) for c in (None, 0.95))
    assert (strict.passed, lenient.passed) == (False, True)
    assert "not surely more than 0.05" in lenient.reason
    counts = {"f": 18, "m": 22}
    low, high = strict.evidence["interval"]
    assert low < (counts["m"] - counts["f"]) / 40 < high


def test_the_interval_of_two_shares_is_newcombes() -> None:
    """The worked example of the paper: 56 of 70 against 48 of 80, method 10."""
    from modelworks.registry.gates.chance import shares_apart

    assert shares_apart((56, 70), (48, 80)) == pytest.approx((0.0524, 0.3339), abs=1e-4)


# -- a real model: difficult inputs, time, size --------------------------------------------------------


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> HeldOut:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "x": random.normal(size=800).astype(np.float32).astype(float),
            "idle": random.normal(size=800).astype(np.float32).astype(float),
            "size": pd.Series(random.choice(["S", "M", "L"], 800), dtype=object),
        }
    )
    y = (random.random(800) < 1 / (1 + np.exp(-2 * frame["x"] - (frame["size"] == "L")))).to_numpy(int)
    frame.loc[::10, "x"] = np.nan
    prepare = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), ["x", "idle"]),
        (OneHotEncoder(handle_unknown="ignore"), ["size"]),
    )
    model = make_pipeline(prepare, LogisticRegression()).fit(frame[:600], y[:600])
    takes = signature(frame[:600], y[:600], list(frame), model)
    artifacts = LocalArtifacts(tmp_path_factory.mktemp("artifacts"))
    batch = to_batch(frame[600:], takes)
    asked = packaging.answered(model, takes, batch)
    graph, proof = packaging.proven(model, takes, asked)
    package = packaging.stored(
        model, takes, graph, proof, artifacts, code="c", environment="e", reference=None
    )
    now = datetime(2024, 1, 1, tzinfo=UTC)
    column = lambda name: frame[name][600:].to_numpy()  # noqa: E731
    return HeldOut(takes, y[600:], asked.scores, batch, column, package, artifacts, now)


def test_strained_inputs_hurt_as_they_do_by_hand(real: HeldOut) -> None:
    (found,) = gather([Strain("log_loss")], real).values()
    trials = {trial.what: trial.value for trial in found.trials}
    assert set(trials) == {
        "x missing", "x 1 sd above", "x 1 sd below", "idle 1 sd above", "idle 1 sd below",
        "noise of 0.1 sd", "size missing", "size unseen",
    }  # fmt: skip
    assert found.required == ("idle",)
    numbers = real.batch.numbers.copy()
    numbers[:, 0] = np.nan
    by_hand = real.served.predict(Batch(numbers, real.batch.texts))[:, 1]
    assert trials["x missing"] == pytest.approx(log_loss(real.truth, by_hand), abs=1e-5)
    assert max(trials, key=trials.__getitem__).startswith("x ")
    strict, lenient = (judged(Robust("log_loss", fall=fall), real) for fall in (0.01, 5.0))
    assert (strict.passed, lenient.passed) == (False, True)
    assert "callers must send idle" in lenient.reason


def test_time_and_size_are_those_of_the_form_that_would_be_served(real: HeldOut) -> None:
    found = gather([Timing(), Size()], real)
    assert 0 < found[Timing()].p50 <= found[Timing()].p99
    assert real.package.compiled is not None
    assert found[Size()] == len(real.artifacts.get(real.package.compiled))
    assert judged(Small(mb=1), real).passed
    assert not judged(Small(mb=1e-5), real).passed
    assert judged(Fast(p99_ms=60_000), real).passed
    assert not judged(Fast(p99_ms=1e-9), real).passed


# -- whatever the rows are -----------------------------------------------------------------------------

GATES: list[Gate] = [
    Slices(by=["group"], metric="roc_auc", min_rows=1),
    Slices(by=["number"], metric="log_loss", min_rows=1),
    Calibrated(min_rows=0),
    Fair(by="group", measure="equalized_odds", min_rows=0),
    Fair(by="number", measure="equal_opportunity"),
    BeatsChampion("roc_auc", min_rows=0),
    BeatsChampion("average_precision", confidence=0.9, min_rows=0),
]


@settings(deadline=None, max_examples=80)
@given(
    data=st.data(), rows=st.sampled_from([0, 1, 2, 3, 40]), one_class=st.booleans(), champion=st.booleans()
)
def test_no_rows_one_row_one_class_are_said_and_never_raised(
    data: st.DataObject, rows: int, one_class: bool, champion: bool
) -> None:
    def drawn(values: Any) -> list[Any]:
        return data.draw(st.lists(values, min_size=rows, max_size=rows))

    probability = st.floats(0, 1, width=32) | st.sampled_from([0.0, 1.0, math.nan])
    y = np.zeros(rows, int) if one_class else np.array(drawn(st.integers(0, 1)), int)
    columns = {
        "group": np.array(drawn(st.sampled_from(["", "a", "b"])), object),
        "number": np.array(drawn(st.floats(-1e9, 1e9) | st.just(math.nan)), float),
    }
    seen = held_out(y, drawn(probability), drawn(probability) if champion else None, columns)
    for gate in GATES:
        verdict = judged(gate, seen)
        assert len(verdict.reason.split()) >= 4
        assert "nan" not in verdict.reason.lower().split()
        assert "could not be had" not in verdict.reason, verdict.reason


def test_what_cannot_be_looked_at_refuses_with_the_reason() -> None:
    values = replace(BINARY, task="regression", classes=())
    y = np.arange(50.0)
    for gate in (Calibrated(), Fair(by="group")):
        verdict = judged(gate, held_out(y, y, takes=values, columns={"group": np.array(["a"] * 50, object)}))
        assert not verdict.passed
        assert "the model does not" in verdict.reason
    missing = judged(Slices(by=["nowhere"], metric="mae"), held_out(y, y, takes=values))
    assert not missing.passed
    assert "KeyError" in missing.reason
    assert gather([Confusions()], held_out([0, 1, 1], [0.1, 0.9, 0.2]))[Confusions()][""].tp == 1
