"""A deployment: which version of a segment's model should answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from modelworks.core.ref import Ref, Segment


@dataclass(frozen=True)
class Promotion:
    """A wish: let this version answer for its segment.

    Attributes:
        model: Name of the model.
        segment: Its segment.
        version: The version that is to be champion.
        reason: Why.
        strategy: How it is brought out, as data.
    """

    model: str
    segment: Segment
    version: int
    reason: str
    strategy: Mapping[str, Any] = field(default_factory=lambda: {"kind": "direct"})


@dataclass(frozen=True)
class Deployment:
    """What should be running for one segment.

    Attributes:
        model: Name of the model.
        segment: The segment.
        champion: The version that answers.
        previous: The champion before it; ``None`` for the first.
        strategy: How it was brought out, as data.
        reason: Why it is champion.
        revision: Grows with every change of any deployment.
        updated: When it became champion, UTC.
    """

    model: str
    segment: Segment
    champion: int
    previous: int | None
    strategy: Mapping[str, Any]
    reason: str
    revision: int
    updated: datetime

    @property
    def ref(self) -> Ref:
        """The model version that answers."""
        return Ref(self.model, self.segment, self.champion)

    @property
    def node(self) -> str:
        """Its name in the lineage: ``"deployment:delay[UA,EWR]#17"``."""
        return f"deployment:{Ref(self.model, self.segment)}#{self.revision}"


@dataclass(frozen=True)
class Change:
    """One entry of a segment's history: from then on that version answered."""

    revision: int
    model: str
    segment: Segment
    champion: int
    reason: str
    created: datetime
