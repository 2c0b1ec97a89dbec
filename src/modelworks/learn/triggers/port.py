"""The port of triggers: whether one segment has a reason to be trained again. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

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
        refused: How often in a row nothing came of its training: it failed, a gate refused it, or it was taken back.
        answered: Predictions of the champion, in the days that monitoring looks at.
        days: Days with any of them.
        labelled: Those with an outcome.
        loss_kind: What `loss` is: ``"log_loss"`` (nats) or ``"squared_error"``.
        loss: Their mean loss; ``None`` with fewer than two.
        loss_error: Its standard error.
        promised: The same loss at validation; ``None`` where it was not measured.
        promised_error: Its standard error.
        shifted: Features that have shifted, as `monitor` judged the whole fleet.
        shifting: The same by the easier limits that keep an alarm open.
        psi: Shift of every feature, as a population stability index.
        losses: Loss of each of the champion's rows, in the order in which the truths came; ``None`` where no
            trigger looks at them.
        new_data: Datasets that it learns from and that have another version than when it was last trained, with that
            version; all of it before the first time is none.
        new_code: Whether its definition is another than when it was last trained.
    """

    segment: Segment
    now: datetime
    live: bool
    tried: datetime | None
    rows: int
    new_rows: int
    min_rows: int
    refused: int = 0
    answered: int = 0
    days: int = 0
    labelled: int = 0
    loss_kind: Literal["log_loss", "squared_error"] = "log_loss"
    loss: float | None = None
    loss_error: float | None = None
    promised: float | None = None
    promised_error: float | None = None
    shifted: tuple[str, ...] = ()
    shifting: tuple[str, ...] = ()
    psi: Mapping[str, float] = field(default_factory=dict)
    losses: npt.NDArray[np.float64] | None = field(default=None, compare=False, repr=False)
    new_data: Mapping[str, int] = field(default_factory=dict)
    new_code: bool = False


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
    """A rule for when to train.

    Pure: the same state gives the same answer. It is a frozen dataclass: its ``repr`` is how it is written in
    ``factory.py``, and stands in the ledger.
    """

    def judge(self, state: SegmentState) -> Firing | None:
        """The reason to train this segment now, ``None`` without one."""
        ...


def lasting(time: timedelta) -> str:
    """A length of time as a person reads it: ``"3 days"``, ``"20 hours"``, ``"5 minutes"``."""
    for unit, name in (
        (timedelta(days=1), "day"),
        (timedelta(hours=1), "hour"),
        (timedelta(minutes=1), "minute"),
    ):
        if time >= unit:
            number = time // unit
            return f"{number} {name}{'' if number == 1 else 's'}"
    return "less than a minute"
