"""A gate: a model must not be large."""

from __future__ import annotations

from dataclasses import dataclass

from modelworks.core.errors import Invalid
from modelworks.registry.gates.evidence import Size
from modelworks.registry.gates.port import GateInput, Verdict


@dataclass(frozen=True)
class Small:
    """The model must take `mb` megabytes (of a million bytes) or less, as it would be served: ``mw.Small(mb=5)``.

    Attributes:
        mb: Megabytes.

    Raises:
        Invalid: they are not above 0.
    """

    mb: float

    def __post_init__(self) -> None:
        if not self.mb > 0:
            raise Invalid(f"mw.Small has mb={self.mb}", "", "use a number above 0")

    @property
    def name(self) -> str:
        """``"Small"``."""
        return "Small"

    @property
    def needs(self) -> tuple[Size, ...]:
        """See `Gate.needs`."""
        return (Size(),)

    def judge(self, seen: GateInput) -> Verdict:
        """See `Gate.judge`."""
        found = seen.found(self.needs[0])
        if isinstance(found, str):
            return Verdict(self.name, False, found)
        size, passed = found / 1e6, found <= self.mb * 1e6
        said = f"the model takes {size:.3g} MB, {'within' if passed else 'more than'} {self.mb:.3g} MB"
        return Verdict(self.name, passed, said, {"bytes": found, "mb": self.mb})
