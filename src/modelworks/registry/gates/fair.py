"""A gate: groups of people must be treated alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from modelworks.core.errors import Invalid
from modelworks.registry.gates.chance import SURE, shares_apart
from modelworks.registry.gates.evidence import Confusion, Confusions
from modelworks.registry.gates.port import GateInput, Verdict, counted

Measure = Literal["demographic_parity", "equal_opportunity", "equalized_odds"]
_RATES: Mapping[str, tuple[str, ...]] = {
    "demographic_parity": ("",),
    "equal_opportunity": (" with the event",),
    "equalized_odds": (" with the event", " without the event"),
}
"""The rows of which about equal shares must be selected."""


@dataclass(frozen=True)
class Fair:
    """Groups must get about the same: ``mw.Fair(by="sex", measure="equal_opportunity", within=0.1)``.

    ============================  ====================================================================
    ``"demographic_parity"``      share of the rows that are selected: P(selected)
    ``"equal_opportunity"``       share found of those with the event: P(selected | event)
    ``"equalized_odds"``          that, and the share falsely selected: P(selected | no event)
    ============================  ====================================================================

    What must be `within` is the largest difference between any two groups; of equalized odds the larger of the
    two differences. A row is selected where the probability of the second class is `threshold` or more. The
    interval in the sentence is of the two groups that are furthest apart, taken for themselves. A difference
    counts whether or not chance could explain it, unless `confidence` is given: then it must be surely more
    than `within`. Groups with fewer than `min_rows` rows that the share is about are named, not judged.

    Source: Hardt, Price and Srebro, "Equality of Opportunity in Supervised Learning", NIPS 2016; Dwork et al.,
    "Fairness Through Awareness", ITCS 2012. Equal to Fairlearn's ``demographic_parity_difference``,
    ``equal_opportunity_difference`` and ``equalized_odds_difference``.

    Attributes:
        by: Column of the dataset whose values are the groups; it need not be an input of the model.
        measure: What is compared.
        within: Largest difference that passes.
        threshold: Probability from which a row is selected.
        min_rows: Rows without which a group's share says nothing.
        confidence: Between 0.5 and 1 to refuse only where the difference is surely too large.

    Raises:
        Invalid: an unknown measure, or a number that makes no sense.
    """

    by: str
    measure: Measure = "equal_opportunity"
    within: float = 0.1
    threshold: float = 0.5
    min_rows: int = 30
    confidence: float | None = None

    def __post_init__(self) -> None:
        if self.measure not in _RATES:
            known = ", ".join(get_args(Measure))
            raise Invalid(f"mw.Fair knows no measure {self.measure!r}", f"known: {known}", "use one of these")
        if not 0 <= self.within <= 1 or not 0 <= self.threshold <= 1:
            raise Invalid(f"{self!r} makes no sense", "within and threshold are between 0 and 1", "")
        if self.confidence is not None and not 0.5 <= self.confidence < 1:
            raise Invalid(f"a confidence of {self.confidence} is not possible", "", "use for instance 0.95")

    @property
    def name(self) -> str:
        """``"Fair(measure by column)"``."""
        return f"Fair({self.measure} by {self.by})"[:120]

    @property
    def needs(self) -> tuple[Confusions, ...]:
        """See `Gate.needs`."""
        return (Confusions(self.by, self.threshold),)

    def judge(self, seen: GateInput) -> Verdict:
        """See `Gate.judge`."""
        found = seen.found(self.needs[0])
        if isinstance(found, str):
            return Verdict(self.name, False, found)
        worst, small, judged = None, dict[str, None](), 0
        for rate in _RATES[self.measure]:
            shares = {group: _share(rate, one) for group, one in found.items()}
            small |= {group: None for group, (_, rows) in shares.items() if rows < self.min_rows}
            large = {group: (n, rows) for group, (n, rows) in shares.items() if rows >= max(self.min_rows, 1)}
            judged = max(judged, len(large))
            if len(large) < 2:
                continue
            high = max(large, key=lambda group: large[group][0] / large[group][1])
            low = min(large, key=lambda group: large[group][0] / large[group][1])
            apart = large[high][0] / large[high][1] - large[low][0] / large[low][1]
            if worst is None or apart > worst[0]:
                worst = (apart, rate, high, low, large)
        evidence = {"groups": found, "within": self.within, "threshold": self.threshold, "small": list(small)}
        if worst is None:
            few = (
                f"of {counted(len(found), 'group')} of {self.by} {judged or 'none'} "
                f"{'has' if judged == 1 else 'have'} {self.min_rows} rows to tell a share by"
            )
            # One group alone is treated like itself; several of which nothing is known must not pass unseen.
            return Verdict(self.name, len(found) == 1, f"{few}: nothing to compare", evidence)
        apart, rate, high, low, large = worst
        bounds = shares_apart(large[high], large[low], self.confidence or SURE)
        evidence |= {"difference": apart, "interval": bounds, "share of": rate.strip() or "all"}
        limit = bounds[0] if self.confidence is not None else apart
        passed = limit <= self.within
        said = (
            f"{large[high][0] / large[high][1]:.1%} of {self.by} {high or 'missing'}{rate} are selected, "
            f"{large[low][0] / large[low][1]:.1%} of {low or 'missing'}: {apart:.3g} apart "
            f"({100 * (self.confidence or SURE):.3g} % sure: {bounds[0]:.3g} to {bounds[1]:.3g}), "
            f"{'within' if passed else 'more than'} {self.within:.3g}"
        )
        if passed and apart > self.within:
            said = said.replace("within", "not surely more than")
        if small:
            said += f"; too few rows to judge {', '.join(one or 'missing' for one in list(small)[:5])}"
        return Verdict(self.name, passed, said, evidence)


def _share(rate: str, one: Confusion) -> tuple[int, int]:
    """Hits and rows of a share."""
    match rate:
        case "":
            return one.tp + one.fp, one.rows
        case " with the event":
            return one.tp, one.tp + one.fn
    return one.fp, one.fp + one.tn
