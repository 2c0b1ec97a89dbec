"""What of a model's requests is kept in the prediction log, and how."""

from __future__ import annotations

from dataclasses import dataclass
from random import random

from modelworks.serving.redaction import Redaction


@dataclass(frozen=True)
class Keeping:
    """What is kept.

    Attributes:
        sample: The share of the requests, 0 to 1.
        redaction: What becomes of sensitive values; ``None`` where there are none.
    """

    sample: float = 1.0
    redaction: Redaction | None = None

    def drawn(self) -> bool:
        """Whether this request is kept."""
        return self.sample >= 1.0 or random() < self.sample  # noqa: S311 - a sample, no secret


ALL = Keeping()
"""Everything, as it came."""
