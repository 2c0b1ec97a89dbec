"""The policy: triggers, weighed for every segment of a model. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Literal

from modelworks.core.ref import Segment
from modelworks.learn.budget import Budget, Limit, tightest
from modelworks.learn.siblings import shared
from modelworks.learn.triggers.on_detector import OnDetector
from modelworks.learn.triggers.port import Firing, SegmentState, Trigger, lasting


@dataclass(frozen=True)
class Policy:
    """When to retrain.

    Attributes:
        triggers: Any of them is a reason.
        cooldown: Least time between two trainings of one segment.
        most: Segments trained in one round, those with the greatest need first; ``None`` for all.
        backoff: How often the cool-down is doubled at most for a segment whose trainings bring nothing: after one
            that was refused, failed or taken back it is twice as long, after two in a row four times.
        budget: What may be spent in a day.
        siblings: Whether segments are trained with one that decays or drifts that share its reason, though they
            cannot say so by themselves; see `learn.siblings`.
    """

    triggers: tuple[Trigger, ...] = ()
    cooldown: timedelta = timedelta(days=1)
    most: int | None = None
    backoff: int = 3
    budget: Budget = field(default_factory=Budget)
    siblings: bool = False

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


def decide(policy: Policy, states: Sequence[SegmentState], limits: Sequence[Limit] = ()) -> list[Decision]:
    """Which segments have a reason to be trained now; those without one are not mentioned.

    A segment that was trained less than the cool-down ago waits, whatever came of that training, and longer where
    nothing comes of it again and again; of the others as many as may be are trained, those with the greatest need
    first, ties in the order of `states`.

    Args:
        policy: When to retrain.
        states: What is known of each segment.
        limits: What may be spent today; anything by default.
    """
    fired = {state.segment: _fired(policy, state) for state in states}
    if policy.siblings:
        fired |= {one: [firing] for one, firing in shared(policy.triggers, states, fired).items()}
    decisions = [decision for state in states if (decision := _decide(policy, state, fired[state.segment]))]
    ready = [place for place, decision in enumerate(decisions) if decision.action == "train"]
    ready.sort(key=lambda place: -decisions[place].need)
    least = tightest(limits)
    first = len(ready) if policy.most is None else policy.most
    today = len(ready) if least is None else least[0]
    for rank, place in enumerate(ready[min(first, today) :], min(first, today)):
        why = f"{first} others need it more"
        if least is not None and rank >= today:
            why = str(least[1]) + (f", {today} others need it more" if today else "")
        late = f"{decisions[place].reason}; but {why}"
        decisions[place] = replace(decisions[place], action="hold", reason=late)
    return decisions


def _fired(policy: Policy, state: SegmentState) -> list[Firing]:
    """The reasons that a segment has by itself."""
    if state.live:
        return [firing for trigger in policy.triggers if (firing := trigger.judge(state))]
    return [firing for firing in (_graduate(state),) if firing]


def _decide(policy: Policy, state: SegmentState, fired: list[Firing]) -> Decision | None:
    if not fired:
        return None
    fired.sort(key=lambda firing: -firing.need)
    reason = "; ".join(firing.reason for firing in fired)
    evidence = {firing.trigger: dict(firing.evidence) for firing in fired}
    first = fired[0]
    doubled = min(state.refused, policy.backoff)
    cooldown = policy.cooldown * 2**doubled
    if state.tried is not None and state.now - state.tried < cooldown:
        waits = f"{reason}; but it was trained {lasting(state.now - state.tried)} ago"
        waits += f", the cool-down is {lasting(cooldown)}"
        if doubled:
            times = "once" if state.refused == 1 else f"{state.refused} times in a row"
            waits += f" (of {lasting(policy.cooldown)}): nothing came of it {times}"
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
