"""A gate: an answer must not take long."""

from __future__ import annotations

from dataclasses import dataclass

from modelworks.core.errors import Invalid
from modelworks.registry.gates.evidence import Timing
from modelworks.registry.gates.port import GateInput, Verdict


@dataclass(frozen=True)
class Fast:
    """One row must be answered in `p99_ms` milliseconds, 99 times of a hundred: ``mw.Fast(p99_ms=5)``.

    Timed is the model alone, in the form in which it would be served, by the process that trained it: what is
    around it (HTTP, decoding, features) comes on top, and busy neighbours make it look slower.

    Attributes:
        p99_ms: Milliseconds.

    Raises:
        Invalid: they are not above 0.
    """

    p99_ms: float

    def __post_init__(self) -> None:
        if not self.p99_ms > 0:
            raise Invalid(f"mw.Fast has p99_ms={self.p99_ms}", "", "use a number above 0")

    @property
    def name(self) -> str:
        """``"Fast"``."""
        return "Fast"

    @property
    def needs(self) -> tuple[Timing, ...]:
        """See `Gate.needs`."""
        return (Timing(),)

    def judge(self, seen: GateInput) -> Verdict:
        """See `Gate.judge`."""
        found = seen.found(self.needs[0])
        if isinstance(found, str):
            return Verdict(self.name, False, found)
        passed = found.p99 <= self.p99_ms
        said = (
            f"of {found.calls} single rows 99 % were answered in {found.p99:.3g} ms (half in "
            f"{found.p50:.3g} ms), {'within' if passed else 'more than'} {self.p99_ms:.3g} ms"
        )
        evidence = {"p50_ms": found.p50, "p99_ms": found.p99, "limit_ms": self.p99_ms}
        return Verdict(self.name, passed, said, evidence)
