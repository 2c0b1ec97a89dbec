"""Findings in words: grouped where a cause is shared, named where it is not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from modelworks.data.contract import Rejected
from modelworks.data.version import IngestReport
from modelworks.monitor import intake
from modelworks.monitor.alerting import MANY, findings
from modelworks.monitor.watch import Traffic, Watch

NOW = datetime(2024, 6, 1, tzinfo=UTC)
QUIET = Watch(
    ("UA",), 1, 500, 400, 0.3, "log_loss", 0.5, 0.02, 0.5, 0.03, 0.7, {"wind": 0.01, "rain": 0.02}, 0.01
)


def watch(*segment: str, **more: Any) -> Watch:
    return replace(QUIET, segment=segment, **more)


def shifted(*segment: str, names: tuple[str, ...] = ("wind",)) -> Watch:
    return watch(*segment, shifted=names, shifting=names, drift=dict.fromkeys(names, 0.5))


def traffic(segment: tuple[str, ...], silent: int, rows: int = 280, every: int = 1) -> Traffic:
    """28 days of rows that ended `silent` whole days ago."""
    last = NOW - timedelta(days=silent + 1)
    days = tuple(last - timedelta(days=number) for number in range(0, 28, every))
    return Traffic(segment, rows, days[::-1])


def test_nothing_to_say() -> None:
    assert findings("m", [QUIET, watch("AA")], [traffic(("UA",), 0)], NOW) == []
    assert findings("m", [], [], NOW) == []


def test_few_segments_speak_for_themselves() -> None:
    found = findings("m", [shifted("UA"), shifted("AA"), watch("B6")], [], NOW)
    assert [(one.segment, one.kind) for one in found] == [
        (("UA",), "feature_drift"),
        (("AA",), "feature_drift"),
    ]
    assert found[0].message == "m[UA] sees other inputs than when it was trained: wind (PSI 0.50)"


def test_a_shared_cause_is_one_finding_and_a_cause_of_ones_own_another() -> None:
    names = [(f"S{number}",) for number in range(MANY)]
    watches = [shifted(*name) for name in names] + [shifted("UA", names=("wind", "rain")), shifted(), QUIET]
    found = findings("m", watches, [], NOW)
    assert [(one.segment, one.kind) for one in found] == [((), "feature_drift"), (("UA",), "feature_drift")]
    assert found[0].message == (
        f"{MANY + 2} of {MANY + 3} segments of m see other inputs than when they were trained: wind in {MANY + 2}"
    )
    assert found[1].evidence["psi"] == {"rain": 0.5}


def test_a_message_names_no_more_than_a_person_reads() -> None:
    names = tuple(f"f{number}" for number in range(9))
    (found,) = findings("m", [shifted(str(number), names=names) for number in range(MANY)], [], NOW)
    assert found.message.endswith("f0 in 3, f1 in 3, f2 in 3, f3 in 3, f4 in 3 and 4 more features")
    assert len(found.evidence["features"]) == 9


def test_worse_answers_are_critical_and_say_how_much() -> None:
    (found,) = findings("m", [watch("UA", loss=0.71, promised=0.5, decayed=True), QUIET], [], NOW)
    assert (found.kind, found.severity) == ("performance", "critical")
    assert found.message == "m[UA] is worse than at validation: loss 0.710 over 400 outcomes, it was 0.500"
    many = [watch(str(n), loss=0.6 + n / 10, decayed=True) for n in range(MANY + 1)]
    (found,) = findings("m", many, [], NOW)
    assert (
        found.message
        == f"{MANY + 1} of {MANY + 1} segments of m are worse than at validation, most of all 3, 2, 1, 0"
    )


def test_the_easier_limits_find_what_the_stricter_do_not() -> None:
    fading = watch("UA", shifting=("wind",), drift={"wind": 0.15}, decaying=True, output_shifting=True)
    assert findings("m", [fading], [], NOW) == []
    kinds = [one.kind for one in findings("m", [fading], [], NOW, lasting=True)]
    assert kinds == ["feature_drift", "prediction_drift", "performance"]


def test_silence_is_judged_by_what_is_usual() -> None:
    assert findings("m", [], [traffic(("UA",), 1)], NOW) == []
    (found,) = findings("m", [], [traffic(("UA",), 2)], NOW)
    assert (found.kind, found.segment, found.severity) == ("volume", ("UA",), "critical")
    assert findings("m", [], [traffic(("UA",), 2, every=3)], NOW) == []  # it rests two days in any case
    assert findings("m", [], [traffic(("UA",), 4, rows=20)], NOW) == []  # four rows missing are no evidence
    assert findings("m", [], [traffic(("UA",), 20, rows=20)], NOW) != []
    parent = [traffic(("UA",), 20), traffic(("UA", "EWR"), 0)]
    assert findings("m", [], parent, NOW) == []  # its children have models of their own now


def test_when_all_fall_silent_it_is_one_finding() -> None:
    (found,) = findings("m", [], [traffic((str(number),), 3) for number in range(50)], NOW)
    assert found.segment == ()
    assert found.message.startswith("50 of 50 segments of m get no predictions any more")


def test_what_came_in_though_something_is_wrong_is_a_warning_and_what_did_not_is_worse() -> None:
    nothing = intake.Intake(0, 0)
    told = IngestReport("d", 3, warnings={"c is not at least 0": 2, "old": 0})
    (found,) = intake.findings("d", told, nothing)
    assert (found.kind, found.severity) == ("contract", "warning")
    assert found.message == "d@3 came in, though something is wrong: c is not at least 0 (2 rows); old"
    (found,) = intake.findings("d", IngestReport("d", refused="nothing was let into d; too few"), nothing)
    assert (found.kind, found.severity) == ("contract", "critical")
    (found,) = intake.findings("d", Rejected("too few"), nothing)
    assert (found.kind, found.message) == ("contract", "nothing was let into d: too few")
    assert intake.findings("d", IngestReport("d", 3), nothing) == []
