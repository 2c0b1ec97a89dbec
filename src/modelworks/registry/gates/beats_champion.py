"""A gate: the candidate must be better than the champion on the same newest rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from modelworks.core.errors import Invalid
from modelworks.models.metrics import METRICS
from modelworks.registry.gates.chance import interval, reach_of
from modelworks.registry.gates.evidence import Comparison, finite
from modelworks.registry.gates.port import GateInput, Verdict, shown

_PAIRED = {"log_loss": "log_loss", "rmse": "squared_error"}
"""Metrics that follow from the mean of a loss by row, and that loss."""


@dataclass(frozen=True)
class BeatsChampion:
    """The candidate must be better than the champion, both on the newest held-out rows.

    Where there is no champion to beat, it passes. Its sentence gives the interval of the improvement, 95 % sure,
    from the differences row by row, which need far fewer rows than two separate intervals. It takes the rows to
    be independent; where neighbours in time share their luck the true interval is wider. Source: the paired
    t test, Student, "The probable error of a mean", Biometrika 6 (1908); for metrics that are no mean of losses
    of the influence of each row (see `Metric.influence`), as DeLong's test does it for areas under the ROC
    curve.

    Without `confidence` the better value wins, also by a little and on few rows. That is the rule whose largest
    expected regret is least (Manski, "Statistical Treatment Rules for Heterogeneous Populations", Econometrica
    72, 2004; Stoye, Journal of Econometrics 151, 2009): of two versions of about the same quality either will
    do, and a small segment that had to be 95 % sure would keep its old model for ever. For the same reason
    nothing is corrected for the number of segments that are judged at once: a wrong promotion in one segment
    does not make one in another any worse. Who wants fewer changes says so with `by` or `confidence`: then what
    must reach `by` is the lower bound of a one-sided interval, ``mean - t(confidence, rows - 1) * standard
    error``; with a `by` below 0 that is a test that the candidate is not noticeably worse.

    Attributes:
        metric: Name of the metric.
        by: Improvement that is asked for, in the metric's units; at 0 any improvement passes and a tie does
            not; below 0 the candidate may be worse by that much.
        confidence: Between 0.5 and 1; ``None`` takes the values as they are.
        min_rows: Held-out rows without which the two cannot be told apart.

    Raises:
        NotFound: there is no such metric.
        Invalid: `confidence` out of its range, or for a metric of which the error is not known.
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
        if METRICS[self.metric].influence is None:
            raise Invalid(
                f"BeatsChampion cannot give a confidence for {self.metric}",
                "it is not known how much each row moves it",
                "give the metric an influence, or leave confidence out",
            )

    @property
    def name(self) -> str:
        """``"BeatsChampion(metric)"``."""
        return f"BeatsChampion({self.metric})"

    @property
    def needs(self) -> tuple[Comparison, ...]:
        """See `Gate.needs`; losses are compared row by row whether or not a gate asks."""
        return () if self.metric in _PAIRED else (Comparison(self.metric),)

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
        error = self._error(seen, champion)
        bounds = None if error is None else interval(improvement, error, rows)
        compared = self._compared(seen, value, champion, improvement, bounds)
        evidence |= {"standard_error": error, "interval": bounds}
        if self.confidence is None:
            return Verdict(self.name, self._enough(improvement), compared, evidence)
        if error is None:
            return Verdict(self.name, False, "the two could not be compared row by row", evidence)
        bound = self._bound(seen, champion, improvement, error)
        evidence |= {"confidence": self.confidence, "bound": bound}
        passed = self._enough(bound)
        (least,) = shown(bound)
        asked = f"{'enough' if passed else 'not enough'} for {'any' if self.by == 0 else f'{self.by:.3g}'}"
        sure = f"the improvement is at least {least} with {self.confidence:.4g} confidence, {asked}"
        return Verdict(self.name, passed, f"{compared}; {sure}", evidence)

    def _enough(self, improvement: float) -> bool:
        return improvement > 0 if self.by == 0 else improvement >= self.by

    def _error(self, seen: GateInput, champion: float) -> float | None:
        """Standard error of the improvement, from the differences row by row."""
        if self.metric not in _PAIRED:
            found = seen.found(self.needs[0])
            one = None if isinstance(found, str) else found.get("")
            return None if one is None else finite(one.difference_error)
        paired = seen.paired
        if paired is None or paired.standard_error is None or paired.loss != _PAIRED[self.metric]:
            return None
        if self.metric == "rmse":  # the root changes by that of its square, divided by twice itself
            return paired.standard_error / (2 * champion) if champion > 0 else None
        return paired.standard_error

    def _bound(self, seen: GateInput, champion: float, improvement: float, error: float) -> float:
        """Lower one-sided confidence bound of the improvement."""
        assert self.confidence is not None
        paired = seen.paired
        if self.metric not in _PAIRED or paired is None or paired.standard_error is None:
            return improvement - reach_of(error, seen.rows_held_out, self.confidence)
        bound = -paired.mean - reach_of(paired.standard_error, paired.rows, self.confidence)
        if self.metric == "rmse":
            # From squared errors to their root, taking the champion's to be what was measured; 0 stays 0.
            bound = champion - math.sqrt(max(champion**2 - bound, 0.0))
        return bound

    def _compared(
        self,
        seen: GateInput,
        value: float,
        champion: float,
        improvement: float,
        bounds: tuple[float, float] | None,
    ) -> str:
        mine, theirs = shown(value, champion)
        where = f"{self.metric} {mine} {seen.on_rows}"
        if improvement == 0:
            return f"{where} is the same as the champion's"
        better = improvement > 0
        said = f"{where} is {'better' if better else 'worse'} than the champion's {theirs} by {abs(improvement):.3g}"
        if bounds is not None:
            low, high = bounds if better else (-bounds[1], -bounds[0])
            said += f" (95 % sure: {low:.3g} to {high:.3g})"
        if self.by == 0 or self.confidence is not None:
            return said
        return f"{said}, {'enough' if self._enough(improvement) else 'not enough'} for {self.by:.3g}"
