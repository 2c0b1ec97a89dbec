"""What a policy of retraining would have done with the past, and what came of it. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

import numpy as np
import numpy.typing as npt

from modelworks.core.errors import Invalid
from modelworks.core.ref import Segment
from modelworks.learn.policy import Policy
from modelworks.learn.triggers.every import Every
from modelworks.learn.triggers.on_data import OnData
from modelworks.learn.triggers.on_decay import OnDecay
from modelworks.learn.triggers.on_detector import OnDetector
from modelworks.learn.triggers.on_drift import OnDrift
from modelworks.learn.triggers.on_gain import OnGain
from modelworks.learn.triggers.on_outcomes import OnOutcomes
from modelworks.learn.triggers.on_rows import OnRows
from modelworks.learn.triggers.port import Trigger

Doubles = npt.NDArray[np.float64]

USUAL = ("never", "every=7d", "every=28d", "drift", "decay")
"""Policies that are compared where none are named; the model's own comes in addition."""
DECLARED = "declared"
"""Name of the model's own policy."""
_MOST = 50
"""Policies that are compared at once: each keeps an answer to every row."""
_SURE = 1.96
"""Standard errors on either side of a 95 % interval."""


Action = Literal["promote", "refuse", "fail"]


@dataclass(frozen=True)
class Event:
    """One training in a simulated past.

    Attributes:
        at: When.
        segment: Of which segment.
        trigger: Why; ``"start"`` for the first.
        action: What became of it: ``"promote"``, ``"refuse"`` by a gate, or ``"fail"``.
    """

    at: datetime
    segment: Segment
    trigger: str
    action: Action


@dataclass(frozen=True)
class Apart:
    """How much something differs between two policies, by row.

    Attributes:
        mean: Of the differences.
        low: Lower end of a 95 % interval for it; of a single day, that says nothing of others, minus infinity.
        high: Upper end, or infinity.
    """

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Span:
    """A month, or all of them.

    Attributes:
        name: ``"2013-03"``, or ``"all"``.
        rows: Rows that were answered and whose truth is known.
        metrics: Of these answers, by name; ``None`` where one is undefined.
        value: What acting on them was worth, in the unit of the model's value; ``None`` where it has none.
        trained: Trainings.
        promoted: Trainings that made a new champion.
        seconds: What the trainings took, seconds of a worker.
        apart: The loss against the first policy's, on the same rows; ``None`` for the first itself.
        gain: What a row is worth more than by the first policy; ``None`` for the first itself, or without a value.
    """

    name: str
    rows: int
    metrics: Mapping[str, float | None]
    value: float | None
    trained: int
    promoted: int
    seconds: float
    apart: Apart | None = None
    gain: Apart | None = None


@dataclass(frozen=True)
class Course:
    """What one policy would have done.

    Attributes:
        policy: Its name.
        triggers: As they are written in ``factory.py``.
        spans: By month; the last is all of them.
        events: Its trainings, the first ones included, in the order of time.
        efficient: Whether no other policy is at least as good with less training.
    """

    policy: str
    triggers: tuple[str, ...]
    spans: tuple[Span, ...]
    events: tuple[Event, ...]
    efficient: bool = True

    @property
    def whole(self) -> Span:
        """All months together."""
        return self.spans[-1]

    @property
    def apart(self) -> Apart | None:
        """Its loss against the first policy's, on the same rows; ``None`` for the first itself."""
        return self.whole.apart


@dataclass(frozen=True)
class Simulation:
    """Policies side by side on one past.

    Attributes:
        model: Name of the model.
        since: Where the past begins.
        until: Where it ends.
        loss: What `Span.apart` compares: ``"log_loss"`` or ``"squared_error"``.
        unit: Of the value; ``""`` where the model has no value.
        courses: One a policy.
        seconds: How long it took.
    """

    model: str
    since: datetime
    until: datetime
    loss: Literal["log_loss", "squared_error"]
    unit: str
    courses: tuple[Course, ...]
    seconds: float


def policies(texts: Sequence[str], declared: Policy) -> dict[str, Policy]:
    """Policies by their names.

    They are ``never``, ``declared`` (the model's own), ``every=7d``, ``rows=5000``, ``outcomes=200``, ``data``,
    ``drift``, ``drift=0.5`` (the least PSI), ``decay``, ``decay=0.1`` (by how much), ``detector=adwin``,
    ``detector=adwin/0.001`` (its setting), ``gain=20/0.05`` (what a unit of loss is worth for a prediction, and what a
    training costs); several are joined by ``+``: ``every=28d+drift``; ``decay+siblings`` takes siblings along. All have
    the cool-down, back-off and budget of the model's own.

    Args:
        texts: The names.
        declared: The model's own.

    Raises:
        Invalid: one of them is no policy, or they are too many.
    """
    if len(texts) > _MOST:
        raise Invalid(f"{len(texts)} policies are too many", "", f"compare at most {_MOST} at once")
    found: dict[str, Policy] = {}
    for text in texts:
        if text == DECLARED:
            found[text] = declared
        elif text == "never":
            found[text] = replace(declared, triggers=())
        else:
            parts = text.split("+")
            triggers = tuple(_trigger(part) for part in parts if part != "siblings" or len(parts) == 1)
            found[text] = replace(declared, triggers=triggers, siblings="siblings" in parts)
    return found


def _trigger(text: str) -> Trigger:
    name, _, value = text.partition("=")
    try:
        if name == "every" and value:
            return Every(value)
        if name == "rows" and value:
            return OnRows(int(value))
        if name == "outcomes" and value:
            return OnOutcomes(int(value))
        if text == "data":
            return OnData()
        if name == "gain" and value:
            worth, _, cost = value.partition("/")
            return OnGain(float(worth), float(cost))
        if name == "detector" and value:
            which, _, setting = value.partition("/")
            return OnDetector(which, float(setting) if setting else None)
        if name == "drift":
            return OnDrift(psi=float(value)) if value else OnDrift()
        if name == "decay":
            return OnDecay(by=float(value)) if value else OnDecay()
    except ValueError:
        pass
    raise Invalid(
        f"{text!r} is no policy",
        "",
        "write never, declared, every=7d, rows=5000, outcomes=200, data, drift, drift=0.5, decay, decay=0.1, "
        "detector=adwin, gain=20/0.05; or several joined by '+'",
    )


def apart(one: Doubles, other: Doubles, day: npt.NDArray[np.int64]) -> Apart:
    """How much the losses of two policies, or what their answers are worth, differ on the same rows.

    Rows of a day share their luck, so days are what is independent: the standard error is that of a ratio of sums
    over days. Source: Cochran, Sampling Techniques, 1977, section 6.4 (the variance of a ratio estimator).

    Args:
        one: Losses of the first, shape (rows,).
        other: Of the second.
        day: The day of each row.
    """
    difference = one - other
    places = np.unique(day, return_inverse=True)[1]
    sums, rows = np.bincount(places, difference), np.bincount(places)
    mean = float(difference.mean())
    days = len(rows)
    if days < 2:
        return Apart(mean, -math.inf, math.inf)
    error = math.sqrt(days / (days - 1) * float(np.square(sums - mean * rows).sum())) / len(difference)
    return Apart(mean, mean - _SURE * error, mean + _SURE * error)


def efficient(points: Iterable[tuple[float, float]]) -> list[bool]:
    """Which of some (cost, loss) no other one beats: it is as good in both, and better in one."""
    found = list(points)
    return [
        not any(c <= cost and lost <= loss and (c, lost) != (cost, loss) for c, lost in found)
        for cost, loss in found
    ]
