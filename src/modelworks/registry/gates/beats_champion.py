"""A gate: the candidate must be better than the champion on the same newest rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from scipy.special import stdtrit

from modelworks.core.errors import Invalid
from modelworks.models.metrics import METRICS
from modelworks.registry.gates.port import GateInput, Paired, Verdict, shown

_PAIRED = {"log_loss": "log_loss", "rmse": "squared_error"}
"""Metrics that follow from the mean of a loss by row, and that loss."""


@dataclass(frozen=True)
class BeatsChampion:
    """The candidate must be better than the champion, both on the newest held-out rows.

    Where there is no champion to beat, it passes.

    With `confidence`, chance is taken into account: what must reach `by` is the lower bound of a one-sided
    interval for the improvement, ``mean - t(confidence, rows - 1) * standard error`` of the differences row
    by row, which needs far fewer rows than two separate intervals. It takes the rows to be independent; where
    neighbours in time share their luck the true interval is wider. Source: the paired t test, Student, "The
    probable error of a mean", Biometrika 6 (1908).

    Attributes:
        metric: Name of the metric.
        by: Improvement that is asked for, in the metric's units; at 0 any improvement passes and a tie does
            not; below 0 the candidate may be worse by that much.
        confidence: Between 0.5 and 1, for metrics that follow from a loss by row (``log_loss``, ``rmse``);
            ``None`` takes the values as they are.
        min_rows: Held-out rows without which the two cannot be told apart.

    Raises:
        NotFound: there is no such metric.
        Invalid: `confidence` out of its range, or for a metric that does not follow from a loss by row.
    """

    metric: str
    by: float = 0.0
    confidence: float | None = None
    min_rows: int = 10

    def __post_init__(self) -> None:
        METRICS[self.metric]
        if self.confidence is None:
            return
        if not 0.5 <= self.confidence < 1:
            raise Invalid(f"a confidence of {self.confidence} is not possible", "", "use for instance 0.95")
        if self.metric not in _PAIRED:
            raise Invalid(
                f"BeatsChampion cannot give a confidence for {self.metric}",
                "that takes a loss for each row",
                f"use {' or '.join(_PAIRED)}, or leave confidence out",
            )

    @property
    def name(self) -> str:
        """``"BeatsChampion(metric)"``."""
        return f"BeatsChampion({self.metric})"

    def judge(self, seen: GateInput) -> Verdict:
        """See `Gate.judge`."""
        value, champion, rows = (
            seen.metric(self.metric),
            seen.champion_metric(self.metric),
            seen.rows_held_out,
        )
        evidence: dict[str, Any] = {"metric": self.metric, "value": value, "champion": champion}
        evidence |= {"by": self.by, "rows": rows}
        if value is None:
            return Verdict(self.name, False, seen.lacks(self.metric), evidence)
        if seen.champion_metrics is None:
            return Verdict(self.name, True, "there is no champion to beat", evidence)
        if champion is None:
            nothing = f"the champion has no {self.metric} on these rows, so there is nothing to beat"
            return Verdict(self.name, True, nothing, evidence)
        if rows < self.min_rows:
            few = f"{seen.on_rows} the two cannot be told apart; at least {self.min_rows} are asked for"
            return Verdict(self.name, False, few, evidence)
        improvement = value - champion if METRICS[self.metric].greater_is_better else champion - value
        evidence["improvement"] = improvement
        compared = self._compared(seen, value, champion, improvement)
        if self.confidence is None:
            return Verdict(self.name, self._enough(improvement), compared, evidence)
        paired = seen.paired
        if paired is None or paired.standard_error is None or paired.loss != _PAIRED[self.metric]:
            return Verdict(self.name, False, "the two could not be compared row by row", evidence)
        bound = _lower_bound(paired, self.confidence)
        if self.metric == "rmse":
            # From squared errors to their root, taking the champion's to be what was measured; 0 stays 0.
            bound = champion - math.sqrt(max(champion**2 - bound, 0.0))
        evidence |= {"confidence": self.confidence, "bound": bound, "standard_error": paired.standard_error}
        passed = self._enough(bound)
        (least,) = shown(bound)
        asked = f"{'enough' if passed else 'not enough'} for {'any' if self.by == 0 else f'{self.by:.3g}'}"
        sure = f"the improvement is at least {least} with {self.confidence:.4g} confidence, {asked}"
        return Verdict(self.name, passed, f"{compared}; {sure}", evidence)

    def _enough(self, improvement: float) -> bool:
        return improvement > 0 if self.by == 0 else improvement >= self.by

    def _compared(self, seen: GateInput, value: float, champion: float, improvement: float) -> str:
        mine, theirs = shown(value, champion)
        where = f"{self.metric} {mine} {seen.on_rows}"
        if improvement == 0:
            return f"{where} is the same as the champion's"
        said = f"{where} is {'better' if improvement > 0 else 'worse'} than the champion's {theirs}"
        if self.by == 0 or self.confidence is not None:
            return said
        word = "enough" if self._enough(improvement) else "not enough"
        return f"{said} by {abs(improvement):.3g}, {word} for {self.by:.3g}"


def _lower_bound(paired: Paired, confidence: float) -> float:
    """Lower one-sided confidence bound of the improvement (champion's loss - candidate's loss)."""
    assert paired.standard_error is not None
    return float(-paired.mean - stdtrit(paired.rows - 1, confidence) * paired.standard_error)
