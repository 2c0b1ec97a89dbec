"""A holdout: a share of the traffic that the model does not serve, to know what it is worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from modelworks.core.errors import Invalid


@dataclass(frozen=True)
class Holdout:
    """Give a share of the traffic, always the same keys, something else than the model.

    Attributes:
        share: Of the rows, in percent.
        answer: ``"none"``: they are told nothing, the output is null; ``"baseline"``: what an older `version` says;
            or a number, which is the output.
        version: With ``"baseline"``: which version, of each segment that has it.
        by: The column that rows stick by; the dataset's key by default.
    """

    share: float = 5
    answer: Literal["none", "baseline"] | float = "none"
    version: int = 1
    by: str | None = None

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            Invalid: one cannot be meant.
        """
        if not 0 < self.share < 100:
            raise Invalid(f"share of mw.Holdout is {self.share}", "it is in percent", "use 5 for 5 %")
        if isinstance(self.answer, (str, bool)) and self.answer not in ("none", "baseline"):
            raise Invalid(
                f"answer of mw.Holdout is {self.answer!r}", "", 'use "none", "baseline", or a number'
            )

    def to_json(self) -> dict[str, Any]:
        """As data; called with it, the class makes it again."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | None) -> Holdout | None:
        """The inverse; of nothing nothing."""
        return None if data is None else cls(**data)
