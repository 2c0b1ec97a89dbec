"""A gate: what a model was made of must not be old."""

from __future__ import annotations

from dataclasses import dataclass

from modelworks.core.duration import duration
from modelworks.registry.gates.evidence import NewestRow
from modelworks.registry.gates.port import GateInput, Verdict


@dataclass(frozen=True)
class FreshData:
    """The newest of the rows that made or judged the model must not be old: ``mw.FreshData("2d")``.

    They are those of the model's own segment, by the event time. (``mw.Fresh`` is a rule of a dataset: it looks
    at what an ingest brings.)

    Attributes:
        within: How old it may be when the gate judges, for instance ``"2d"``.

    Raises:
        Invalid: `within` is no duration.
    """

    within: str

    def __post_init__(self) -> None:
        duration(self.within)

    @property
    def name(self) -> str:
        """``"FreshData"``."""
        return "FreshData"

    @property
    def needs(self) -> tuple[NewestRow, ...]:
        """See `Gate.needs`."""
        return (NewestRow(),)

    def judge(self, seen: GateInput) -> Verdict:
        """See `Gate.judge`."""
        newest = seen.found(self.needs[0])
        if isinstance(newest, str):
            return Verdict(self.name, False, newest)
        if seen.now is None:
            return Verdict(self.name, False, "nobody said what time it is, so age cannot be judged")
        age = seen.now - newest
        passed = age <= duration(self.within)
        days = age.total_seconds() / 86_400
        old = (
            f"{days:,.0f} days"
            if days >= 10
            else f"{days:.2g} days"
            if days >= 2
            else f"{days * 24:.3g} hours"
        )
        said = (
            f"the newest row is of {newest:%Y-%m-%d %H:%M} UTC, {old} old, "
            f"{'within' if passed else 'more than'} {self.within}"
        )
        evidence = {"newest": newest.isoformat(), "age_days": days, "within": self.within}
        return Verdict(self.name, passed, said, evidence)
