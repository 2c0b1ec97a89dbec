"""The port of rollout strategies: how a version that passed its gates replaces the champion."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

from modelworks.deploy.strategies.seen import Arm, Sums


@dataclass(frozen=True)
class Rollout:
    """Where a rollout stands.

    Attributes:
        champion: The version that answers; ``None`` where the segment has none yet.
        challenger: The version that is to replace it.
        share: Share of the requests that the challenger answers (or answers silently), 0 to 1.
        since: When that share was set, UTC; ``None`` before the first step.
        rows: Rows that the challenger had been given until then.
        begun: When the rollout began, UTC; ``None`` before the first step.
    """

    champion: int | None
    challenger: int
    share: float = 0.0
    since: datetime | None = None
    rows: int = 0
    begun: datetime | None = None


@dataclass(frozen=True)
class Observation:
    """What was seen since the rollout began.

    Attributes:
        now: The time, UTC.
        champion: Of the rows that the champion answered beside it.
        challenger: Of the rows that the challenger was given.
        pairs: Loss of the challenger less that of the champion, on rows that both have answered.
        servers: Servers that run.
        loaded: Those of them that have the challenger in memory.
        broken: Why a server cannot load it; ``""`` where none said so.
    """

    now: datetime
    champion: Arm = field(default_factory=Arm)
    challenger: Arm = field(default_factory=Arm)
    pairs: Sums = field(default_factory=Sums)
    servers: int = 0
    loaded: int = 0
    broken: str = ""


@dataclass(frozen=True)
class Step:
    """What to do next.

    Attributes:
        action: ``"promote"`` makes the challenger the champion, ``"abandon"`` takes it out, ``"go_on"`` lets
            both run on, with `share` of the requests to the challenger.
        reason: Why, one sentence without a full stop.
        share: Share of the requests that the challenger answers from now on, 0 to 1.
        silent: Whether it answers beside the champion and nobody is told what it says.
    """

    action: Literal["promote", "go_on", "abandon"]
    reason: str
    share: float = 1.0
    silent: bool = False


class Strategy(Protocol):
    """A way to replace a champion.

    Pure: the same state and observation give the same step. It is a frozen dataclass: its ``repr`` is how it
    is written in ``factory.py``; its class, called with what `to_json` gives less ``"kind"``, makes it again.
    The first step of a rollout is asked for with nothing seen.
    """

    def next(self, state: Rollout, seen: Observation) -> Step:
        """Decide the next step of a rollout."""
        ...

    def to_json(self) -> dict[str, Any]:
        """The strategy as data, its name in the catalog under ``"kind"``; ``"by"`` is the column that rows stick by."""
        ...
