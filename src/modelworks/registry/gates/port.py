"""The port of gates: a test that a candidate must pass, values in and a verdict out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol, cast

from modelworks.models.package import Proof
from modelworks.models.signature import Signature
from modelworks.registry.gates.evidence import Found, Need, finite


class Paired(Protocol):
    """Candidate against champion, row by row, on the same held-out rows."""

    @property
    def loss(self) -> Literal["log_loss", "squared_error"]:
        """What is compared."""

    @property
    def mean(self) -> float:
        """Mean of candidate's loss - champion's loss; below 0 the candidate is better."""

    @property
    def standard_error(self) -> float | None:
        """Of that mean, sd / sqrt(rows); ``None`` for a single row."""

    @property
    def rows(self) -> int:
        """Number of rows."""


@dataclass(frozen=True)
class GateInput:
    """What a gate may look at.

    Attributes:
        metrics: The candidate's values on the held-out rows; ``None`` where a metric is undefined there.
        champion_metrics: The champion's on the same rows; ``None`` where there is no champion, or it cannot
            answer these rows.
        paired: The two compared row by row, where that is possible.
        rows_held_out: Number of held-out rows.
        proof: Whether the compiled model answers as the original does; ``None`` where nobody looked.
        evidence: What the gates need beside that, and what was found: a text says why nothing was.
        signature: What the candidate gives, and asks its callers to send (an input that is computed from
            others is not sent); ``None`` where it is not known.
        champion_signature: The champion's in the same sense; ``None`` where there is no champion.
        now: The moment of the judgement, UTC.
    """

    metrics: Mapping[str, float | None] = field(default_factory=dict)
    champion_metrics: Mapping[str, float | None] | None = None
    paired: Paired | None = None
    rows_held_out: int = 0
    proof: Proof | None = None
    evidence: Mapping[Need[Any], Any] = field(default_factory=dict)
    signature: Signature | None = None
    champion_signature: Signature | None = None
    now: datetime | None = None

    def found(self, need: Need[Found]) -> Found | str:
        """What was found of what a gate needs, or why there is nothing, a sentence without a full stop."""
        if need not in self.evidence:
            return f"nobody has looked at {need}, so it cannot be judged"
        return cast("Found | str", self.evidence[need])

    def metric(self, name: str) -> float | None:
        """The candidate's value; ``None`` where it was not measured or is not a finite number."""
        return finite(self.metrics.get(name))

    def champion_metric(self, name: str) -> float | None:
        """The champion's value; ``None`` where there is no champion or no finite number."""
        return finite((self.champion_metrics or {}).get(name))

    @property
    def on_rows(self) -> str:
        """The held-out rows in words: ``"on 214 held-out rows"``."""
        return f"on {self.rows_held_out} held-out row{'' if self.rows_held_out == 1 else 's'}"

    def lacks(self, name: str) -> str:
        """Why there is no value of a metric, one sentence without a full stop."""
        if name in self.metrics:
            return f"{name} is undefined {self.on_rows}, so it cannot be judged"
        known = ", ".join(sorted(self.metrics)) or "nothing"
        return f"{name} was not measured, so it cannot be judged; measured: {known}"


@dataclass(frozen=True)
class Verdict:
    """What one gate says of one candidate.

    Attributes:
        gate: The gate, for instance ``"AtLeast(roc_auc)"``.
        passed: Whether the candidate may pass.
        reason: Why, one sentence without a full stop.
        evidence: The numbers behind it, JSON-able.
    """

    gate: str
    passed: bool
    reason: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


class Gate(Protocol):
    """A test that a candidate must pass.

    A gate may have a property ``needs``, a tuple of what it wants to be looked at where the held-out rows are
    (see `gates.evidence`); it finds it with `GateInput.found`.

    Pure: the same input gives the same verdict, whenever and wherever. A gate never raises for what it is
    given: what it cannot judge it refuses, and says so. It is a frozen dataclass: its ``repr`` is how it is
    written in ``factory.py``, and stands in the ledger.
    """

    @property
    def name(self) -> str:
        """The gate with what it looks at, up to 120 characters: ``"AtLeast(roc_auc)"``."""
        ...

    def judge(self, seen: GateInput) -> Verdict:
        """Judge one candidate."""
        ...


def shown(*values: float) -> list[str]:
    """Numbers as a person reads them: as few digits as keep different ones different, three at least."""
    for digits in range(3, 16):
        texts = [f"{value:.{digits}g}" for value in values]
        if len(set(texts)) == len(set(values)):
            return texts
    return [repr(value) for value in values]


def counted(number: int, what: str) -> str:
    """``"1 row"``, ``"2 rows"``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
