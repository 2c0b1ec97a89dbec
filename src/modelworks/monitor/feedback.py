"""Answers that change what happens: rows that were answered, beside those that the model does not serve. Pure.

Who acts on an answer may prevent what it foretold, so that the model looks wrong where it was right. Rows of the
holdout are chosen by chance and not acted on: what happens to them is what would have happened.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from modelworks.deploy.strategies.seen import Sums
from modelworks.deploy.strategies.sequential import mean_above
from modelworks.monitor.alerting import Finding
from modelworks.monitor.fleet import FALSE_ALARMS
from modelworks.monitor.truths import Truths

_STAYING = 5.0
"""How many times the chance of an alarm an open alert may have by chance alone."""


@dataclass(frozen=True)
class Sides:
    """What happened on complete days.

    Attributes:
        served: Truths of rows that the model answered.
        control: Truths of rows of its holdout.
        foretold: What the model said of the former.
    """

    served: Sums
    control: Sums
    foretold: Sums

    def changes(self, chance: float = FALSE_ALARMS) -> bool:
        """Whether something else happens to rows that are answered than to those of the holdout."""
        return _differ(self.served, self.control, chance)

    @property
    def unjudged(self) -> bool:
        """Whether the rows that were answered say nothing: those of the holdout turned out as was foretold."""
        return self.changes() and not _differ(self.foretold, self.control, FALSE_ALARMS)


def sides(days: Sequence[Truths], since: Sequence[float], lag: float) -> Sides:
    """Both sides of days.

    Args:
        days: The days.
        since: How many days ago each ended.
        lag: How many days ago one must have ended to be complete.
    """
    complete = [one for one, ago in zip(days, since, strict=True) if ago >= lag]

    def of(name: str) -> Sums:
        return sum((Sums(int(n), a, b) for n, a, b in (getattr(one, name) for one in complete)), Sums())

    return Sides(of("served"), of("control"), of("foretold"))


def findings(model: str, seen: Sides, *, lasting: bool = False) -> list[Finding]:
    """What there is to say.

    Args:
        model: Its name.
        seen: Both sides.
        lasting: Judge by the easier limits that keep an open alert open.
    """
    if not seen.changes(FALSE_ALARMS * (_STAYING if lasting else 1.0)):
        return []
    served, control = seen.served, seen.control
    then = (
        "its answers are as right as the holdout shows, and are not judged by the rows that got them"
        if seen.unjudged
        else "judge it, and learn, by the holdout"
    )
    message = (
        f"answers of {model} change what happens: the mean of {served.n:,} outcomes is {served.mean:.3f}, in the "
        f"holdout {control.mean:.3f} over {control.n:,}; {then}"
    )
    evidence = {"served": served.mean, "control": control.mean, "foretold": seen.foretold.mean}
    return [Finding((), "feedback_loop", "warning", message, evidence)]


def _differ(one: Sums, other: Sums, chance: float) -> bool:
    return max(mean_above(one, other), mean_above(other, one)) >= math.log(2 / chance)
