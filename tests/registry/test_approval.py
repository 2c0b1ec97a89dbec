"""When a person is asked: what changed is measured on the same rows, and judged by values alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelworks.core.errors import Invalid
from modelworks.core.plain import plain
from modelworks.factory import Factory
from modelworks.registry.approval import LargeChange
from modelworks.registry.gates.evidence import Change, Changed
from modelworks.registry.gates.port import GateInput

SMALL = Changed(200, 0.01, 0.02, code=False, inputs=())
FACTORY = """
import modelworks as mw
import numpy as np
from sklearn.linear_model import LogisticRegression

rows = mw.Dataset("rows", source=mw.Files("data/*.csv"), key="id", time="at",
                  contract={"id": str, "at": mw.Time(), "x": float, "z": float, "y": int})

@mw.model(dataset=rows, target="y", features=["x"], metrics=["log_loss"], approval=mw.LargeChange())
def guess(X, y, params):
    return LogisticRegression(C=1.0).fit(X, y)
"""


def judged(found: Changed | str | None, **limits: Any) -> tuple[bool, str]:
    verdict = LargeChange(**limits).judge(GateInput(evidence={Change(): found}, rows_held_out=200))
    return verdict.passed, verdict.reason


@pytest.mark.parametrize(
    ("found", "limits", "small", "said"),
    [
        (
            SMALL,
            {},
            True,
            "the change is small: answers differ by 0.02 in the mean on 200 held-out rows, 1.0% of",
        ),
        (SMALL, {"answers": 0.005}, False, "1.0% of the answers change class, 0.5% is large"),
        (SMALL, {"difference": 0.01}, False, "answers differ by 0.02 in the mean, 0.01 is large"),
        (Changed(200, None, 0.02, False, ()), {}, True, "the change is small"),
        (Changed(200, 0.0, 0.0, True, ()), {}, False, "the code of its definition is another"),
        (Changed(200, 0.0, 0.0, True, ("z",)), {"definition": False}, True, "the change is small"),
        (
            Changed(0, None, None, False, ("z",)),
            {},
            False,
            "its inputs are others: z; the champion cannot answer",
        ),
        (None, {}, True, "it is the first version"),
        (None, {"first": True}, False, "it is the first version"),
        ("it broke", {}, False, "how much would change is not known: it broke"),
    ],
)
def test_what_is_large(found: Changed | str | None, limits: dict[str, Any], small: bool, said: str) -> None:
    passed, reason = judged(found, **limits)
    assert passed == small
    assert said in reason


def test_nobody_looked() -> None:
    assert not LargeChange().judge(GateInput()).passed


def test_a_limit_that_cannot_be_meant_is_refused() -> None:
    for wrong in ({"answers": -0.1}, {"difference": float("nan")}):
        with pytest.raises(Invalid):
            LargeChange(**wrong)


def write(root: Path, name: str, day: int, flipped: bool) -> None:
    lines = [
        f"{name}{n},2024-01-{day:02d}T{n // 60:02d}:{n % 60:02d}:00Z,{n % 10},{n % 3},{int((n % 10 > 4) != flipped)}"
        for n in range(200)
    ]
    (root / "data" / f"{name}.csv").write_text("\n".join(["id,at,x,z,y", *lines]))


def test_small_changes_come_out_and_large_ones_wait(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "factory.py").write_text(FACTORY)

    def trained(name: str, day: int, flipped: bool) -> tuple[str, str]:
        write(tmp_path, name, day, flipped)
        with Factory(tmp_path) as factory:
            factory.ingest()
            factory.train("guess")
            last = plain(factory.decisions("guess", 1))[0]
            return last["action"], last["reason"]

    assert trained("a", 1, flipped=False)[0] == "promote"
    assert trained("b", 2, flipped=False)[0] == "promote"
    for number in range(6):
        write(tmp_path, f"c{number}", 3 + number, flipped=True)
    action, reason = trained("d", 9, flipped=True)
    assert action == "wait"
    assert "of the answers change class, 5.0% is large" in reason
    with Factory(tmp_path, who="boss") as factory:
        (said,) = [one for one in plain(factory.model("guess@3"))["verdicts"] if one["gate"] == "LargeChange"]
        assert said["passed"]  # it is no gate: the version may come out, by a person
        assert said["evidence"]["answers"] > 0.5
        factory.approve("guess")
        assert plain(factory.deployments("guess"))[0]["version"] == 3
    (tmp_path / "factory.py").write_text(FACTORY.replace('["x"]', '["x", "z"]'))
    action, reason = trained("e", 10, flipped=True)
    assert action == "wait"
    assert "its inputs are others: z" in reason
