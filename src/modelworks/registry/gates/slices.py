"""A gate: no part of the rows may get worse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelworks.core.errors import Invalid
from modelworks.models.metrics import METRICS
from modelworks.registry.gates.chance import by_chance, holm
from modelworks.registry.gates.evidence import Compared, Comparison, finite
from modelworks.registry.gates.port import GateInput, Verdict, counted, shown

_TOLD = 5
"""Slices that are named in a sentence."""


@dataclass(frozen=True)
class Slices:
    """No slice of interest may get worse than under the champion by more than `worse_by`.

    A slice is the held-out rows with one value of a column: ``mw.Slices(by=["carrier"], metric="log_loss",
    worse_by=0.02)``; a column of many numbers is cut into its quarters. Where there is no champion, it passes.

    Chance is taken into account, for among fifty slices some look worse whatever the candidate is: a slice
    counts as worse where a one-sided paired test (Student's t, of the differences row by row) says that it is
    so by more than `worse_by`, with Holm's correction over all slices. Of candidates that harm no slice at
    most ``1 - confidence`` are refused, however many slices there are. What looks worse and could be chance,
    and the slices with too few rows, are named in the sentence.

    Attributes:
        by: Columns of the dataset, each on its own; they need not be inputs of the model.
        metric: Name of the metric.
        worse_by: How much worse a slice may be, in the metric's units.
        min_rows: Held-out rows that a slice needs in order to be judged.
        confidence: Between 0.5 and 1; ``None`` takes the values as they are.

    Raises:
        NotFound: there is no such metric.
        Invalid: no column, a negative allowance, or a confidence out of its range.
    """

    by: tuple[str, ...]
    metric: str
    worse_by: float = 0.0
    min_rows: int = 30
    confidence: float | None = 0.95

    def __post_init__(self) -> None:
        METRICS[self.metric]
        columns = (self.by,) if isinstance(self.by, str) else tuple(self.by)
        object.__setattr__(self, "by", columns)  # a list is what people write
        if not columns:
            raise Invalid("mw.Slices has no column to slice by", "", 'write for instance by=["carrier"]')
        if self.worse_by < 0:
            raise Invalid(f"mw.Slices has worse_by={self.worse_by}", "it is below 0", "use 0 or more")
        if self.confidence is not None and not 0.5 <= self.confidence < 1:
            raise Invalid(f"a confidence of {self.confidence} is not possible", "", "use for instance 0.95")

    @property
    def name(self) -> str:
        """``"Slices(metric by column)"``."""
        return f"Slices({self.metric} by {', '.join(self.by)})"[:120]

    @property
    def needs(self) -> tuple[Comparison, ...]:
        """See `Gate.needs`."""
        return tuple(Comparison(self.metric, column, self.min_rows) for column in self.by)

    def judge(self, seen: GateInput) -> Verdict:
        """See `Gate.judge`."""
        slices: dict[str, Compared] = {}
        for need in self.needs:
            found = seen.found(need)
            if isinstance(found, str):
                return Verdict(self.name, False, found)
            slices |= {f"{need.by} {value or 'missing'}": one for value, one in found.items()}
        evidence: dict[str, Any] = {"slices": slices, "worse_by": self.worse_by}
        if not slices:
            return Verdict(self.name, False, "there are no held-out rows to slice", evidence)
        if seen.champion_metrics is None:
            return Verdict(self.name, True, "there is no champion that a slice could be worse than", evidence)
        worse = {name: w for name, one in slices.items() if (w := self._worsening(one)) is not None}
        if not worse:
            some = counted(len(slices), "slice")
            few = f"{some} of {', '.join(self.by)}, none with {self.min_rows} rows on which both have a value"
            return Verdict(self.name, True, f"{few} of {self.metric}: nothing to compare", evidence)
        sure = self._sure(slices, worse)
        looks = sorted((n for n in worse if worse[n] > self.worse_by), key=lambda n: -worse[n])
        guilty = [name for name in looks if name in sure]
        doubtful = [name for name in looks if name not in sure]
        evidence |= {"worse": guilty, "by_chance": doubtful, "judged": len(worse)}
        return Verdict(self.name, not guilty, self._said(slices, worse, guilty, doubtful), evidence)

    def _worsening(self, one: Compared) -> float | None:
        if one.difference is None or one.rows < self.min_rows:
            return None
        return -one.difference if METRICS[self.metric].greater_is_better else one.difference

    def _sure(self, slices: Mapping[str, Compared], worse: Mapping[str, float]) -> set[str]:
        """The slices that are worse by more than is allowed, and not by chance."""
        if self.confidence is None:
            return {name for name, value in worse.items() if value > self.worse_by}
        names, chances = list(worse), []
        for name in names:
            error = finite(slices[name].difference_error)
            excess = worse[name] - self.worse_by
            chances.append(1.0 if error is None else by_chance(excess, error, slices[name].rows))
        level = 1 - self.confidence
        return {name for name, chance in zip(names, holm(chances), strict=True) if chance < level}

    def _said(
        self,
        slices: Mapping[str, Compared],
        worse: Mapping[str, float],
        guilty: list[str],
        doubtful: list[str],
    ) -> str:
        allowed = f"{self.worse_by:.3g}"
        few = len(slices) - len(worse)
        judged = f"{counted(len(worse), 'slice')} of {' and '.join(self.by)}"
        if guilty:
            verb = "gets" if len(guilty) == 1 else "get"
            parts = [f"{self._listed(slices, guilty)} {verb} worse by more than {allowed}, of {judged}"]
        else:
            parts = [f"none of {judged} gets worse by more than {allowed}"]
            if not doubtful:
                least = max(worse, key=worse.__getitem__)
                parts.append(f"the least favourable is {self._listed(slices, [least])}")
        if doubtful:
            parts.append(f"chance explains that {self._listed(slices, doubtful)} look worse than that")
        if few:
            parts.append(f"{few} with too few rows were not judged")
        return "; ".join(parts)

    def _listed(self, slices: Mapping[str, Compared], names: list[str]) -> str:
        texts = []
        for name in names[:_TOLD]:
            one = slices[name]
            assert one.value is not None
            assert one.champion is not None
            mine, theirs = shown(one.value, one.champion)
            texts.append(f"{name} ({self.metric} {mine} against {theirs} on {one.rows} rows)")
        more = [f"and {len(names) - _TOLD} more"] if len(names) > _TOLD else []
        return ", ".join([*texts, *more])
