"""The policy: triggers, weighed for every segment of a model. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from modelworks.core.ref import Segment
from modelworks.learn.triggers.port import Firing, SegmentState, Trigger


@dataclass(frozen=True)
class Policy:
    """When to retrain.

    Attributes:
        triggers: Any of them is a reason.
        cooldown: Least time between two trainings of one segment.
        most: Segments trained in one round, those with the strongest reason first; ``None`` for all.
    """

    triggers: tuple[Trigger, ...] = ()
    cooldown: timedelta = timedelta(days=1)
    most: int | None = None


@dataclass(frozen=True)
class Decision:
    """What is to be done with one segment.

    Attributes:
        segment: Which.
        action: ``"train"``; or ``"hold"``: there is a reason, but it was trained too short a time ago.
        trigger: The trigger with the strongest reason.
        reason: Why; all triggers that fired.
        evidence: The numbers behind it, by trigger.
        need: How strong the reason is.
    """

    segment: Segment
    action: Literal["train", "hold"]
    trigger: str
    reason: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    need: float = 1.0


def decide(policy: Policy, states: Sequence[SegmentState]) -> list[Decision]:
    """Which segments have a reason to be trained now; those without one are not mentioned."""
    decisions = []
    for state in states:
        fired = [firing for firing in map(_graduate, [state]) if firing]
        if state.live:
            fired += [firing for trigger in policy.triggers if (firing := trigger.judge(state))]
        if not fired:
            continue
        fired.sort(key=lambda firing: -firing.need)
        waits = state.tried is not None and state.now - state.tried < policy.cooldown
        reason = "; ".join(firing.reason for firing in fired)
        decisions.append(
            Decision(
                state.segment,
                "hold" if waits else "train",
                fired[0].trigger,
                f"{reason}; but it was trained less than {policy.cooldown.days} days ago" if waits else reason,
                {firing.trigger: dict(firing.evidence) for firing in fired},
                fired[0].need,
            )
        )
    if policy.most is not None:
        train = sorted((d for d in decisions if d.action == "train"), key=lambda d: -d.need)[: policy.most]
        chosen = {decision.segment for decision in train}
        decisions = [d for d in decisions if d.action != "train" or d.segment in chosen]
    return decisions


def _graduate(state: SegmentState) -> Firing | None:
    """A segment that its parent answered for and that now has rows enough for a model of its own.

    After a failed attempt it needs a quarter of `min_rows` new ones.
    """
    if state.live or state.rows < state.min_rows:
        return None
    if state.tried is not None and state.new_rows < state.min_rows / 4:
        return None
    return Firing(
        "graduate", f"it has {state.rows} rows and can have a model of its own, {state.min_rows} are needed",
        {"rows": state.rows, "min_rows": state.min_rows},
    )  # fmt: skip
