"""What of a model's answers is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from modelworks.core.errors import Invalid


@dataclass(frozen=True)
class Log:
    """Keep a share of a model's answers in the prediction log.

    Attributes:
        sample: Of the requests, 0 to 1. One that is left out is answered with ids that begin with ``unlogged-``;
            one that is part of a rollout or a holdout is evidence, and kept in any case.
    """

    sample: float = 1.0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            Invalid: one cannot be meant.
        """
        if not 0 <= self.sample <= 1:
            raise Invalid(f"sample of mw.Log is {self.sample}", "it is a share", "use 0.1 for a tenth")

    def to_json(self) -> dict[str, Any]:
        """As data; called with it, the class makes it again."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | None) -> Log:
        """The inverse; of nothing what is usual."""
        return cls(**(data or {}))
