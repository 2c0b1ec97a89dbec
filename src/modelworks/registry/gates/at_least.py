"""A gate: a metric must reach a floor."""

from __future__ import annotations

from dataclasses import dataclass

from modelworks.models.metrics import METRICS
from modelworks.registry.gates.port import GateInput, Verdict, shown


@dataclass(frozen=True)
class AtLeast:
    """A metric on the held-out rows must be `floor` or more; refuses where it is undefined.

    Attributes:
        metric: Name of the metric.
        floor: Least value that passes.

    Raises:
        NotFound: there is no such metric.
    """

    metric: str
    floor: float

    def __post_init__(self) -> None:
        METRICS[self.metric]

    @property
    def name(self) -> str:
        """``"AtLeast(metric)"``."""
        return f"AtLeast({self.metric})"

    def judge(self, seen: GateInput) -> Verdict:
        """See `Gate.judge`."""
        value = seen.metric(self.metric)
        evidence = {"metric": self.metric, "value": value, "floor": self.floor, "rows": seen.rows_held_out}
        if value is None:
            return Verdict(self.name, False, seen.lacks(self.metric), evidence)
        passed = value >= self.floor
        got, floor = shown(value, self.floor)
        word = "reaches" if passed else "is below"
        reason = f"{self.metric} {got} {seen.on_rows} {word} the floor of {floor}"
        return Verdict(self.name, passed, reason, evidence)
