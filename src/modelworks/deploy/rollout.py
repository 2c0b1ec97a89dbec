"""A rollout: a challenger on its way to be champion of a segment, as it stands in the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from modelworks.core.ref import Ref, Segment
from modelworks.deploy.strategies.port import Rollout

Status = Literal["running", "promoted", "abandoned"]


@dataclass(frozen=True)
class Underway:
    """One rollout, running or over.

    Attributes:
        id: Its id; ids sort by the (wall) time they were made, as those of predictions do.
        model: Name of the model.
        segment: The segment.
        strategy: How, as data.
        state: Where it stands.
        silent: Whether the challenger answers without anybody being told.
        status: Whether it runs, or how it ended.
        reason: What was said last.
        evidence: What was seen, as data; see `monitor.trials`.
        begun: When it began, UTC.
        ended: When it ended.
        revision: Grows with every change of any rollout.
    """

    id: str
    model: str
    segment: Segment
    strategy: Mapping[str, Any]
    state: Rollout
    silent: bool
    status: Status
    reason: str
    begun: datetime
    ended: datetime | None = None
    revision: int = 0
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ref(self) -> Ref:
        """The challenger."""
        return Ref(self.model, self.segment, self.state.challenger)
