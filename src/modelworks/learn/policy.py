"""The policy: triggers, weighed for every segment of a model. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Literal

from modelworks.core.ref import Segment
from modelworks.learn.triggers.on_detector import OnDetector
from modelworks.learn.triggers.port import Firing, SegmentState, Trigger, lasting


@dataclass(frozen=True)
class Policy:
    """When to retrain.

    Attributes:
        triggers: Any of them is a reason.
        cooldown: Least time between two trainings of one segment.
        most: Segments trained in one round, those with the greatest need first; ``None`` for all.
    """

    triggers: tuple[Trigger, ...] = ()
    cooldown: timedelta = timedelta(days=1)
    most: int | None = None

    @property
    def streams(self) -> bool:
        """Whether a trigger looks at the loss of every row."""
        return any(isinstance(trigger, OnDetector) for trigger in self.triggers)


@dataclass(frozen=True)
class Decision:
    """What is to be done with one segment that has a reason to be trained.

    Attributes:
        segment: Which.
        action: ``"train"``; or ``"hold"``: it has to wait, and `reason` says why.
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
    """Which segments have a reason to be trained now; those without one are not mentioned.

    A segment that was trained less than the cool-down ago waits, whatever came of that training; of the
    others the first `most` by need are trained, ties in the order of `states`.
    """
    decisions = [decision for state in states if (decision := _decide(policy, state))]
    if policy.most is None:
        return decisions
    ready = [place for place, decision in enumerate(decisions) if decision.action == "train"]
    for place in sorted(ready, key=lambda place: -decisions[place].need)[policy.most :]:
        late = f"{decisions[place].reason}; but {policy.most} others need it more"
        decisions[place] = replace(decisions[place], action="hold", reason=late)
    return decisions


def _decide(policy: Policy, state: SegmentState) -> Decision | None:
    if state.live:
        fired = [firing for trigger in policy.triggers if (firing := trigger.judge(state))]
    else:
        fired = [firing for firing in (_graduate(state),) if firing]
    if not fired:
        return None
    fired.sort(key=lambda firing: -firing.need)
    reason = "; ".join(firing.reason for firing in fired)
    evidence = {firing.trigger: dict(firing.evidence) for firing in fired}
    first = fired[0]
    if state.tried is not None and state.now - state.tried < policy.cooldown:
        waits = f"{reason}; but it was trained {lasting(state.now - state.tried)} ago"
        waits += f", the cool-down is {lasting(policy.cooldown)}"
        return Decision(state.segment, "hold", first.trigger, waits, evidence, first.need)
    return Decision(state.segment, "train", first.trigger, reason, evidence, first.need)


def _graduate(state: SegmentState) -> Firing | None:
    """A segment that its parent answers for, and that now has rows enough for a model of its own.

    After a failed attempt it needs a quarter of `min_rows` new ones.
    """
    if state.rows < state.min_rows or (state.tried is not None and state.new_rows < state.min_rows / 4):
        return None
    return Firing(
        "graduate",
        f"it has {state.rows} rows, {state.min_rows} are enough for a model of its own",
        {"rows": state.rows, "min_rows": state.min_rows},
    )
