"""When a person is asked before a version comes out that has passed its gates. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from modelworks.core.errors import Invalid
from modelworks.registry.gates.evidence import Change
from modelworks.registry.gates.port import GateInput, Verdict


@dataclass(frozen=True)
class LargeChange:
    """A person approves what changes much; the rest comes out by itself. For ``approval=`` of ``@mw.model``.

    Candidate and champion answer the same held-out rows. The change is large if any limit is passed, or if the two
    cannot be compared. A segment's first version changes nothing and comes out by itself, as long as `first` does not
    say otherwise.

    Attributes:
        answers: Share of rows that may be put into another class.
        difference: Mean difference of the answers that there may be: of probabilities (half the sum over the
            classes), or of numbers in standard deviations of the champion's answers.
        definition: Whether other code or other inputs than the champion's are a large change.
        first: Whether a first version is one.
    """

    answers: float = 0.05
    difference: float = 0.05
    definition: bool = True
    first: bool = False

    def __post_init__(self) -> None:
        """Check the limits.

        Raises:
            Invalid: one cannot be meant.
        """
        for name, value in (("answers", self.answers), ("difference", self.difference)):
            if not value >= 0:
                raise Invalid(f"{name} of mw.LargeChange is {value}", "", "use 0 or a number above")

    @property
    def needs(self) -> tuple[Change, ...]:
        """See `Gate.needs`."""
        return (Change(),)

    def judge(self, seen: GateInput) -> Verdict:
        """Whether the change is small enough to come out by itself."""
        found = seen.found(Change())
        if isinstance(found, str):
            return Verdict("LargeChange", False, f"how much would change is not known: {found}")
        if found is None:
            return Verdict("LargeChange", not self.first, "it is the first version of its segment")
        large = []
        if self.definition and found.code:
            large.append("the code of its definition is another than the champion's")
        if self.definition and found.inputs:
            large.append(f"its inputs are others: {', '.join(found.inputs)}")
        if found.difference is None:
            large.append("the champion cannot answer the same rows")
        elif found.difference > self.difference:
            large.append(
                f"answers differ by {found.difference:.3g} in the mean, {self.difference:g} is large"
            )
        if found.answers is not None and found.answers > self.answers:
            large.append(f"{found.answers:.1%} of the answers change class, {self.answers:.1%} is large")
        evidence = {
            "answers": found.answers, "difference": found.difference, "code": found.code,
            "inputs": list(found.inputs), "rows": found.rows,
        }  # fmt: skip
        if large:
            return Verdict("LargeChange", False, "; ".join(large), evidence)
        told = f"answers differ by {found.difference:.3g} in the mean {seen.on_rows}"
        if found.answers is not None:
            told += f", {found.answers:.1%} of them change class"
        return Verdict("LargeChange", True, f"the change is small: {told}", evidence)


Approval = Literal["auto", "manual"] | LargeChange
"""Who lets a version come out that has passed its gates."""
