"""A gate: a metric must stay under a ceiling."""

from __future__ import annotations

from dataclasses import dataclass

from modelworks.models.metrics import METRICS
from modelworks.registry.gates.port import GateInput, Verdict, shown


@dataclass(frozen=True)
class AtMost:
    """A metric on the held-out rows must be `ceiling` or less; refuses where it is undefined.

    Attributes:
        metric: Name of the metric.
        ceiling: Largest value that passes.

    Raises:
        NotFound: there is no such metric.
    """

    metric: str
    ceiling: float

    def __post_init__(self) -> None:
        METRICS[self.metric]

    @property
    def name(self) -> str:
        """``"AtMost(metric)"``."""
        return f"AtMost({self.metric})"

    def judge(self, seen: GateInput) -> Verdict:
        """See `Gate.judge`."""
        value = seen.metric(self.metric)
        evidence = {
            "metric": self.metric,
            "value": value,
            "ceiling": self.ceiling,
            "rows": seen.rows_held_out,
        }
        if value is None:
            return Verdict(self.name, False, seen.lacks(self.metric), evidence)
        passed = value <= self.ceiling
        got, ceiling = shown(value, self.ceiling)
        word = "stays within" if passed else "is above"
        reason = f"{self.metric} {got} {seen.on_rows} {word} the ceiling of {ceiling}"
        return Verdict(self.name, passed, reason, evidence)
