"""What the strategies with a share of the live traffic have in common: the settings, and when to give up. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from modelworks.core.duration import duration
from modelworks.core.errors import Invalid
from modelworks.deploy.strategies.guard import Guard
from modelworks.deploy.strategies.port import Observation, Rollout, Step


@dataclass(frozen=True, kw_only=True)
class Live:
    """Settings of a rollout that takes its time.

    Attributes:
        rows: Rows that the challenger must have been given before anything is decided in its favor.
        hold: How long a step lasts at least, for instance ``"10m"``.
        patience: How long one lasts at most: who is hardly ever asked is not judged by rows; where outcomes are
            waited for and do not come, the champion stays.
        by: The column that requests stick by: the same value always meets the same side. The dataset's key by
            default; rows without it are shared out by chance.
        guard: What the challenger may not do.
    """

    kind: ClassVar[str] = ""
    rows: int = 200
    hold: str = "1m"
    patience: str = "7d"
    by: str | None = None
    guard: Guard = field(default_factory=Guard)

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            Invalid: one cannot be meant.
        """
        duration(self.hold)
        duration(self.patience)
        if self.rows < 1:
            raise Invalid(f"rows of a rollout is {self.rows}", "", "use 1 or a number above")
        if not isinstance(self.guard, Guard):  # as it stands in the ledger
            object.__setattr__(self, "guard", Guard(**self.guard))

    def to_json(self) -> dict[str, Any]:
        """See `Strategy.to_json`."""
        return {"kind": self.kind, **asdict(self)}

    def over(self, state: Rollout, seen: Observation) -> Step | None:
        """The step of a rollout that need not go on: a first champion, or an objection."""
        if state.champion is None:
            return Step("promote", f"version {state.challenger} is the first champion")
        if seen.broken:
            return Step("abandon", f"version {state.challenger} cannot be loaded: {seen.broken}")
        if said := self.guard.objection(seen):
            return Step("abandon", f"version {state.challenger} is taken out: {said}")
        return None

    def waits(self, state: Rollout, seen: Observation) -> str:
        """Why the next step has to wait; ``""`` where it need not."""
        assert state.since is not None
        waited = seen.now - state.since
        if waited < duration(self.hold):
            return f"it lasts {self.hold} at least"
        if said := self.guard.doubt(seen):
            return f"in doubt: {said}"
        got = seen.challenger.rows - state.rows
        if got < self.rows and waited < duration(self.patience):
            return f"{got:,} of {self.rows:,} rows"
        return ""

    def unheard(self, state: Rollout, seen: Observation, wanted: int) -> Step | None:
        """What to do while fewer outcomes have come than are `wanted`: wait, but not for ever; ``None`` with enough."""
        if seen.challenger.loss.n >= wanted:
            return None
        told = f"{seen.challenger.loss.n:,} of {wanted:,} outcomes have come"
        if state.since is not None and seen.now - state.since >= duration(self.patience):
            return Step("abandon", f"only {told} in {self.patience}: version {state.champion} stays")
        return Step("go_on", told, state.share)
