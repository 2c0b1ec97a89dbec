"""Every gate of the catalog keeps the port's promises; each says what it should, by SciPy's statistics."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from modelworks.core.errors import Invalid, NotFound
from modelworks.core.plain import plain
from modelworks.core.schema import Field, Kind
from modelworks.models.package import Proof
from modelworks.models.signature import Signature
from modelworks.registry.gates import GATES, judge_all, needed
from modelworks.registry.gates.at_least import AtLeast
from modelworks.registry.gates.at_most import AtMost
from modelworks.registry.gates.beats_champion import BeatsChampion
from modelworks.registry.gates.calibrated import Calibrated
from modelworks.registry.gates.chance import holm, miscalibrated
from modelworks.registry.gates.compatible import Compatible
from modelworks.registry.gates.compiled import Compiled
from modelworks.registry.gates.evidence import (
    Bin,
    Calibration,
    ChampionSignature,
    Compared,
    Comparison,
    Confusion,
    Confusions,
    NewestRow,
    Reliability,
    Size,
    Strain,
    Strained,
    Times,
    Timing,
    Trial,
)
from modelworks.registry.gates.fair import Fair
from modelworks.registry.gates.fast import Fast
from modelworks.registry.gates.fresh_data import FreshData
from modelworks.registry.gates.port import Gate, GateInput, Verdict, shown
from modelworks.registry.gates.robust import Robust
from modelworks.registry.gates.slices import Slices
from modelworks.registry.gates.small import Small

MAKE: dict[str, Callable[[], Gate]] = {
    "at_least": lambda: AtLeast("roc_auc", 0.6),
    "at_most": lambda: AtMost("log_loss", 0.7),
    "beats_champion": lambda: BeatsChampion("log_loss", confidence=0.9),
    "calibrated": Calibrated,
    "compatible": Compatible,
    "compiled": Compiled,
    "fair": lambda: Fair(by="sex", measure="equalized_odds", within=0.1),
    "fast": lambda: Fast(p99_ms=5),
    "fresh_data": lambda: FreshData("2d"),
    "robust": lambda: Robust("log_loss", fall=0.05),
    "slices": lambda: Slices(by=["carrier"], metric="log_loss", worse_by=0.02),
    "small": lambda: Small(mb=1),
}
"""How one of each is made; a plug without an entry here fails the contract."""


@dataclass(frozen=True)
class Pair:
    """A comparison row by row."""

    mean: float
    standard_error: float | None
    rows: int
    loss: Literal["log_loss", "squared_error"] = "log_loss"


GOOD = GateInput(
    metrics={"log_loss": 0.412, "roc_auc": 0.71},
    champion_metrics={"log_loss": 0.431, "roc_auc": 0.69},
    paired=Pair(-0.019, 0.004, 214),
    rows_held_out=214,
    proof=Proof(214, 1.2e-7, 1e-4),
    evidence={
        Comparison("log_loss", "carrier", 30): {
            "UA": Compared(100, 0.41, 0.02, 0.43, 0.005),
            "AA": Compared(90, 0.42, 0.02, 0.41, 0.005),
            "OO": Compared(24),
        },
        Calibration(): Reliability(214, (Bin(107, 0.2, 0.21, 17.1), Bin(107, 0.6, 0.58, 25.7)), 0.3),
        Confusions("sex"): {"f": Confusion(40, 10, 10, 40), "m": Confusion(45, 10, 10, 49)},
        Strain("log_loss"): Strained(
            214, 0.412, (Trial("age missing", 0.43), Trial("noise of 0.1 sd", 0.413))
        ),
        Timing(): Times(0.02, 0.05, 300),
        Size(): 81_000,
        NewestRow(): datetime(2024, 1, 1, tzinfo=UTC),
        ChampionSignature(): Signature((Field("age", Kind.NUMBER, nullable=True),), "binary", (0, 1)),
    },
    signature=Signature((Field("age", Kind.NUMBER, nullable=True),), "binary", (0, 1)),
    champion_signature=Signature((Field("age", Kind.NUMBER, nullable=True),), "binary", (0, 1)),
    now=datetime(2024, 1, 2, tzinfo=UTC),
)
"""What lets every gate of `MAKE` pass."""
numbers = st.none() | st.floats(allow_nan=True, allow_infinity=True)
metrics = st.dictionaries(st.sampled_from(["log_loss", "roc_auc", "mse"]), numbers)
counts = st.integers(0, 500)
names = st.sampled_from(["", "UA", "AA", "a b", "42"])
compared = st.builds(Compared, counts, numbers, numbers, numbers, numbers)
signatures = st.none() | st.builds(
    Signature,
    st.lists(
        st.builds(Field, st.sampled_from(["age", "sex"]), st.sampled_from(Kind), st.booleans()),
        unique_by=lambda field: field.name,
    ).map(tuple),
    st.sampled_from(["binary", "multiclass", "regression", "other"]),
    st.sampled_from([(), (0, 1), ("a", "b", "c"), (1,)]),
)
moments = st.none() | st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
unseen = st.just("the evidence could not be had: it is a text")
evidence = st.fixed_dictionaries(
    {},
    optional={
        Comparison("log_loss", "carrier", 30): st.dictionaries(names, compared) | unseen,
        Calibration(): st.builds(
            Reliability,
            counts,
            st.lists(
                st.builds(Bin, st.integers(1, 500), st.floats(0, 1), st.floats(0, 1), st.floats(0, 100))
            ).map(tuple),
            st.none() | st.floats(-50, 50),
        )
        | unseen,
        Confusions("sex"): st.dictionaries(names, st.builds(Confusion, counts, counts, counts, counts))
        | unseen,
        Strain("log_loss"): st.builds(
            Strained,
            counts,
            numbers,
            st.lists(st.builds(Trial, st.just("age missing"), numbers)).map(tuple),
            st.sampled_from([(), ("age",)]),
        )
        | unseen,
        Timing(): st.builds(Times, st.floats(0, 1e6), st.floats(0, 1e6), st.just(300)) | unseen,
        Size(): st.integers(0, 10**12) | unseen,
        NewestRow(): moments.filter(lambda moment: moment is not None) | unseen,
        ChampionSignature(): signatures | unseen,
    },
)
inputs = st.builds(
    GateInput,
    metrics=metrics,
    champion_metrics=st.none() | metrics,
    paired=st.none()
    | st.builds(Pair, st.floats(-1e6, 1e6), st.none() | st.floats(0, 1e6), st.integers(1, 10_000)),
    rows_held_out=st.integers(0, 10_000),
    proof=st.none() | st.builds(Proof, st.integers(0, 99), st.none() | st.floats(0, 1), st.just(1e-4)),
    evidence=evidence,
    signature=signatures,
    champion_signature=signatures,
    now=moments,
)


# -- the contract, for every entry of the catalog ------------------------------------------------------


@pytest.mark.parametrize("name", sorted(GATES))
def test_contract_every_gate_can_be_made_and_is_frozen(name: str) -> None:
    assert name in MAKE, f"say in MAKE how a {name} is made"
    gate = MAKE[name]()
    assert isinstance(gate, GATES[name])
    assert 0 < len(gate.name) <= 120
    assert repr(gate).startswith(type(gate).__name__)
    assert gate == MAKE[name]()
    with pytest.raises((FrozenInstanceError, TypeError)):
        gate.metric = "another"  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", sorted(GATES))
@settings(deadline=None, max_examples=60)
@given(seen=inputs)
def test_contract_every_verdict_is_pure_and_explains_itself(name: str, seen: GateInput) -> None:
    gate = MAKE[name]()
    before = repr(seen)
    verdict = gate.judge(seen)
    assert gate.judge(seen) == verdict
    assert repr(seen) == before
    assert verdict.gate == gate.name
    assert isinstance(verdict.passed, bool)
    assert len(verdict.reason.split()) >= 4
    assert not verdict.reason.endswith(".")
    assert "nan" not in verdict.reason.lower().split()
    json.dumps(plain(verdict.evidence), allow_nan=False)


@pytest.mark.parametrize("name", sorted(GATES))
def test_contract_nothing_known_is_answered_not_raised(name: str) -> None:
    verdict = MAKE[name]().judge(GateInput())
    assert not verdict.passed
    assert verdict.reason


@pytest.mark.parametrize("name", sorted(GATES))
def test_contract_what_a_gate_needs_is_found_by_it(name: str) -> None:
    gate = MAKE[name]()
    assert gate.judge(GOOD).passed
    for need in needed([gate]):
        without = {one: found for one, found in GOOD.evidence.items() if one != need}
        verdict = gate.judge(replace(GOOD, evidence=without))
        if name not in ("beats_champion", "compatible"):  # there the pipeline hands it on in another form
            assert not verdict.passed
            assert "nobody has looked at" in verdict.reason


@pytest.mark.parametrize("name", sorted(GATES))
def test_contract_the_first_model_of_a_segment_has_no_champion(name: str) -> None:
    first = replace(GOOD, champion_metrics=None, paired=None, champion_signature=None)
    assert MAKE[name]().judge(first).passed


# -- each gate -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("floor", "passed"), [(0.6, True), (0.71, True), (0.72, False)])
def test_at_least(floor: float, passed: bool) -> None:
    verdict = AtLeast("roc_auc", floor).judge(GOOD)
    assert verdict.passed is passed
    assert verdict.reason.startswith("roc_auc 0.71 on 214 held-out rows")


@pytest.mark.parametrize(("ceiling", "passed"), [(0.7, True), (0.412, True), (0.41, False)])
def test_at_most(ceiling: float, passed: bool) -> None:
    assert AtMost("log_loss", ceiling).judge(GOOD).passed is passed


@pytest.mark.parametrize("undefined", [None, math.nan, math.inf])
def test_an_undefined_metric_is_refused_with_the_reason(undefined: float | None) -> None:
    verdict = AtLeast("roc_auc", 0.6).judge(GateInput(metrics={"roc_auc": undefined}, rows_held_out=1))
    assert (verdict.passed, verdict.reason) == (
        False,
        "roc_auc is undefined on 1 held-out row, so it cannot be judged",
    )


def test_a_metric_that_was_not_measured_is_refused_naming_those_that_were() -> None:
    verdict = AtLeast("brier", 0.6).judge(GOOD)
    assert not verdict.passed
    assert verdict.reason.endswith("measured: log_loss, roc_auc")


def test_better_than_the_champion_in_words() -> None:
    verdict = BeatsChampion("log_loss").judge(GOOD)
    assert verdict.passed
    assert verdict.reason == (
        "log_loss 0.412 on 214 held-out rows is better than the champion's 0.431 by 0.019 "
        "(95 % sure: 0.0111 to 0.0269)"
    )
    assert verdict.evidence["improvement"] == pytest.approx(0.019)


@pytest.mark.parametrize(
    ("metric", "mine", "theirs", "passed"),
    [
        ("log_loss", 0.4, 0.5, True),
        ("log_loss", 0.5, 0.4, False),
        ("log_loss", 0.5, 0.5, False),
        ("roc_auc", 0.8, 0.7, True),
        ("roc_auc", 0.7, 0.8, False),
    ],
)
def test_better_depends_on_the_metrics_direction(
    metric: str, mine: float, theirs: float, passed: bool
) -> None:
    seen = GateInput(metrics={metric: mine}, champion_metrics={metric: theirs}, rows_held_out=50)
    assert BeatsChampion(metric).judge(seen).passed is passed


@pytest.mark.parametrize(("by", "passed"), [(0.01, True), (0.03, False), (-0.01, True)])
def test_an_improvement_can_be_asked_for(by: float, passed: bool) -> None:
    verdict = BeatsChampion("log_loss", by=by).judge(GOOD)
    assert verdict.passed is passed
    assert ("not enough" in verdict.reason) is not passed


def test_a_candidate_may_be_a_little_worse_where_that_is_allowed() -> None:
    worse = replace(GOOD, metrics={"log_loss": 0.435})
    assert BeatsChampion("log_loss", by=-0.01).judge(worse).passed
    assert not BeatsChampion("log_loss").judge(worse).passed


def test_too_few_rows_cannot_tell_the_two_apart() -> None:
    verdict = BeatsChampion("log_loss", min_rows=300).judge(GOOD)
    assert not verdict.passed
    assert "300" in verdict.reason


@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.95, 0.99])
@pytest.mark.parametrize("shift", [-0.2, -0.05, 0.0, 0.1])
@pytest.mark.parametrize("rows", [3, 30, 400])
def test_confidence_decides_as_scipys_paired_t_test(confidence: float, shift: float, rows: int) -> None:
    rng = np.random.default_rng(rows)
    champion = rng.gamma(2, 0.3, rows)
    candidate = champion + rng.normal(shift, 0.3, rows)
    difference = candidate - champion
    error = float(difference.std(ddof=1) / math.sqrt(rows))
    seen = GateInput(
        metrics={"log_loss": float(candidate.mean())},
        champion_metrics={"log_loss": float(champion.mean())},
        paired=Pair(float(difference.mean()), error, rows),
        rows_held_out=rows,
    )
    verdict = BeatsChampion("log_loss", confidence=confidence, min_rows=2).judge(seen)
    expected = stats.ttest_rel(candidate, champion, alternative="less")
    assert verdict.passed is bool(expected.pvalue < 1 - confidence)
    assert verdict.evidence["bound"] == pytest.approx(-expected.confidence_interval(confidence).high)


@pytest.mark.parametrize("paired", [None, Pair(-0.1, None, 1), Pair(-0.1, 0.01, 214, "squared_error")])
def test_confidence_without_rows_to_compare_is_refused(paired: Pair | None) -> None:
    verdict = BeatsChampion("log_loss", confidence=0.9).judge(replace(GOOD, paired=paired))
    assert not verdict.passed
    assert "row by row" in verdict.reason


def test_a_champion_without_the_metric_cannot_be_beaten_so_the_candidate_passes() -> None:
    verdict = BeatsChampion("roc_auc").judge(replace(GOOD, champion_metrics={"log_loss": 0.4}))
    assert verdict.passed
    assert "nothing to beat" in verdict.reason


@pytest.mark.parametrize(
    "make",
    [
        lambda: BeatsChampion("log_loss", confidence=1.0),
        lambda: BeatsChampion("log_loss", confidence=0.2),
        lambda: Slices(by=[], metric="log_loss"),
        lambda: Slices(by=["a"], metric="log_loss", worse_by=-1),
        lambda: Slices(by=["a"], metric="log_loss", confidence=2),
        lambda: Calibrated(within=2),
        lambda: Calibrated(confidence=0.1),
        lambda: Fair(by="sex", measure="kindness"),  # type: ignore[arg-type]
        lambda: Fair(by="sex", within=-1),
        lambda: Fair(by="sex", confidence=1),
        lambda: Robust("log_loss", fall=-1),
        lambda: Robust("log_loss", fall=0, missing=False, unseen=False, shift=0, noise=0),
        lambda: Fast(p99_ms=0),
        lambda: Small(mb=-1),
        lambda: FreshData("soon"),
    ],
)
def test_a_gate_that_makes_no_sense_is_refused_where_it_is_written(make: Callable[[], Any]) -> None:
    with pytest.raises(Invalid):
        make()


@pytest.mark.parametrize("make", [lambda m: AtLeast(m, 0), lambda m: AtMost(m, 0), BeatsChampion])
def test_a_metric_that_does_not_exist_is_found_where_it_is_written(make: Callable[[str], Gate]) -> None:
    with pytest.raises(NotFound, match="log_loss"):
        make("log_los")


@pytest.mark.parametrize(("by", "passed"), [(0.0, True), (0.02, True), (0.06, False)])
def test_confidence_for_the_root_of_squared_errors(by: float, passed: bool) -> None:
    rng = np.random.default_rng(1)
    champion, candidate = rng.normal(0, 1.05, 4000) ** 2, rng.normal(0, 1.0, 4000) ** 2
    error = float((candidate - champion).std(ddof=1) / math.sqrt(4000))
    seen = GateInput(
        metrics={"rmse": math.sqrt(candidate.mean())},
        champion_metrics={"rmse": math.sqrt(champion.mean())},
        paired=Pair(float((candidate - champion).mean()), error, 4000, "squared_error"),
        rows_held_out=4000,
    )
    verdict = BeatsChampion("rmse", by=by, confidence=0.8).judge(seen)
    assert verdict.passed is passed, verdict.reason


def test_compiled_says_why_a_model_is_served_natively() -> None:
    assert Compiled().judge(GOOD).passed
    native = replace(GOOD, proof=Proof(0, None, 1e-4, "no converter for KNeighborsClassifier"))
    verdict = Compiled().judge(native)
    assert not verdict.passed
    assert "KNeighborsClassifier" in verdict.reason


def test_every_gate_is_heard_also_after_a_refusal() -> None:
    passed, verdicts = judge_all([AtLeast("roc_auc", 0.9), AtMost("log_loss", 0.5)], GOOD)
    assert not passed
    assert [verdict.passed for verdict in verdicts] == [False, True]
    assert judge_all([], GOOD) == (True, ())


def test_a_broken_gate_refuses_and_does_not_hold_up_the_others() -> None:
    class Broken:
        name = "Broken"

        def judge(self, seen: GateInput) -> Verdict:
            raise ZeroDivisionError("division by zero")

    passed, verdicts = judge_all([Broken(), AtLeast("roc_auc", 0.6)], GOOD)
    assert not passed
    assert "ZeroDivisionError" in verdicts[0].reason
    assert verdicts[1].passed


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ((0.41234, 0.43), ["0.412", "0.43"]),
        ((0.41234, 0.41236), ["0.4123", "0.4124"]),
        ((0.5, 0.5), ["0.5"] * 2),
    ],
)
def test_numbers_are_shown_with_the_digits_that_tell_them_apart(
    values: tuple[float, ...], texts: list[str]
) -> None:
    assert shown(*values) == texts


AGE, NAME = Field("age", Kind.NUMBER, nullable=True), Field("name", Kind.TEXT, nullable=True)
BINARY = Signature((AGE,), "binary", (0, 1))


@pytest.mark.parametrize(
    ("new", "says"),
    [
        (BINARY, ""),
        (replace(BINARY, inputs=(replace(AGE, kind=Kind.INTEGER),)), ""),
        (replace(BINARY, inputs=(AGE, NAME)), "name would have to be sent"),
        (replace(BINARY, inputs=(replace(AGE, kind=Kind.TEXT),)), "age was number, is text"),
        (replace(BINARY, inputs=(replace(AGE, nullable=False),)), "age may no longer be missing"),
        (replace(BINARY, inputs=()), "age is no longer taken"),
        (replace(BINARY, task="regression", classes=()), "the answer was binary, is regression"),
        (replace(BINARY, classes=(1, 0)), "the classes were 0, 1, are 1, 0"),
    ],
)
def test_what_callers_would_notice_is_refused(new: Signature, says: str) -> None:
    verdict = Compatible().judge(replace(GOOD, signature=new, champion_signature=BINARY))
    assert verdict.passed is (says == "")
    assert says in verdict.reason


def test_inputs_may_go_where_that_is_said() -> None:
    seen = replace(GOOD, signature=replace(BINARY, inputs=()), champion_signature=BINARY)
    assert Compatible(may_drop=True).judge(seen).passed


@pytest.mark.parametrize(("hours", "passed"), [(0, True), (48, True), (49, False)])
def test_data_grows_old(hours: int, passed: bool) -> None:
    now = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=hours)
    verdict = FreshData("2d").judge(replace(GOOD, now=now))
    assert verdict.passed is passed
    assert "2024-01-01 00:00 UTC" in verdict.reason


def test_holms_correction_is_his() -> None:
    """By its definition: the smallest times their number, the next times one less, and never falling."""
    values = np.random.default_rng(0).uniform(0, 0.2, 20)
    order = np.argsort(values)
    expected = np.empty(20)
    expected[order] = np.minimum(np.maximum.accumulate(values[order] * np.arange(20, 0, -1)), 1)
    assert holm(values.tolist()) == pytest.approx(expected)


def test_hosmer_and_lemeshows_chance_is_scipys() -> None:
    bins = (Bin(100, 0.2, 0.3, 16.0), Bin(100, 0.7, 0.65, 21.0))
    statistic, chance = miscalibrated(bins)
    assert statistic == pytest.approx(10**2 / 16 + 5**2 / 21)
    assert chance == pytest.approx(stats.chi2.sf(statistic, 2))
    assert miscalibrated((Bin(10, 0.0, 0.1, 0.0),)) == (math.inf, 0.0)
