"""Train when the data has another version."""

from __future__ import annotations

from dataclasses import dataclass

from modelworks.learn.triggers.port import Firing, SegmentState


@dataclass(frozen=True)
class OnData:
    """Train when any dataset that the model learns from has another version than at the last training.

    That is so after new rows, and also after corrected or forgotten ones, and for datasets that only its features look
    into; for new rows alone there is `OnRows`.
    """

    def judge(self, state: SegmentState) -> Firing | None:
        """See `Trigger.judge`."""
        if not state.new_data:
            return None
        told = ", ".join(
            f"{name} is at version {version}" for name, version in sorted(state.new_data.items())
        )
        return Firing(
            "on_data", f"since it was last trained the data has changed: {told}", dict(state.new_data)
        )
