"""The port of rollout strategies: how a version that passed its gates replaces the champion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol


@dataclass(frozen=True)
class Rollout:
    """Where a rollout stands.

    Attributes:
        champion: The version that answers; ``None`` where the segment has none yet.
        challenger: The version that is to replace it.
        share: Share of the requests that the challenger answers, 0 to 1.
        since: When that share was set, UTC; ``None`` before the first step.
    """

    champion: int | None
    challenger: int
    share: float = 0.0
    since: datetime | None = None


@dataclass(frozen=True)
class Observation:
    """What was seen since the last step.

    Attributes:
        now: The time, UTC.
        rows: Requests that each of the two answered: ``{"champion": 900, "challenger": 100}``.
        metrics: Their values on requests whose outcome is known, in the same form.
    """

    now: datetime
    rows: Mapping[str, int] = field(default_factory=dict)
    metrics: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """What to do next.

    Attributes:
        action: ``"promote"`` makes the challenger the champion, ``"abandon"`` takes it out, ``"go_on"`` lets
            both run on, with `share` of the requests to the challenger.
        reason: Why, one sentence without a full stop.
        share: Share of the requests that the challenger answers from now on, 0 to 1.
    """

    action: Literal["promote", "go_on", "abandon"]
    reason: str
    share: float = 1.0


class Strategy(Protocol):
    """A way to replace a champion.

    Pure: the same state and observation give the same step. It is a frozen dataclass: its ``repr`` is how it
    is written in ``factory.py``, and stands in the ledger.
    """

    def next(self, state: Rollout, seen: Observation) -> Step:
        """Decide the next step of a rollout."""
        ...

    def to_json(self) -> dict[str, Any]:
        """The strategy as data, its name in the catalog under ``"kind"``."""
        ...
