"""Train when the definition has changed."""

from __future__ import annotations

from dataclasses import dataclass

from modelworks.learn.triggers.port import Firing, SegmentState


@dataclass(frozen=True)
class OnCode:
    """Train when the model's definition is another than at the last training: its function, features or parameters."""

    def judge(self, state: SegmentState) -> Firing | None:
        """See `Trigger.judge`."""
        if not state.new_code:
            return None
        told = {} if state.tried is None else {"tried": state.tried.isoformat()}
        return Firing("on_code", "its definition has changed since it was last trained", told)
