"""The port of triggers: whether one segment has a reason to be trained again. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from modelworks.core.ref import Segment


@dataclass(frozen=True)
class SegmentState:
    """What is known of one segment at the moment of the decision.

    Attributes:
        segment: Which.
        now: The moment.
        live: Whether it has a champion.
        tried: When it was last trained, whatever came of it; ``None`` for never.
        rows: Rows that a training could use.
        new_rows: Those of them that came since it was last trained.
        min_rows: Rows it needs for a model of its own.
        labelled: Live predictions with an outcome in the window that is looked at.
        loss: Their mean loss.
        loss_error: Its standard error.
        promised: The loss at validation.
        shifted: Features (and ``"(output)"``) that have drifted, with false alarms controlled over the fleet.
        psi: Population stability index by feature.
    """

    segment: Segment
    now: datetime
    live: bool
    tried: datetime | None
    rows: int
    new_rows: int
    min_rows: int
    labelled: int = 0
    loss: float | None = None
    loss_error: float | None = None
    promised: float | None = None
    shifted: tuple[str, ...] = ()
    psi: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Firing:
    """A trigger's reason to train.

    Attributes:
        trigger: Its name.
        reason: Why, one sentence without a full stop.
        evidence: The numbers behind it.
        need: How strong the reason is, for when not all can be trained; 1 is just enough.
    """

    trigger: str
    reason: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    need: float = 1.0


class Trigger(Protocol):
    """A rule for when to train; a frozen dataclass that users write in ``factory.py``."""

    def judge(self, state: SegmentState) -> Firing | None:
        """The reason to train this segment now, ``None`` without one."""
        ...
