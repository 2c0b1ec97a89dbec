"""When a shift is worth an alarm, as a model's definition says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from modelworks.core.errors import Invalid
from modelworks.monitor.drift import DRIFT_TESTS

YEAR = 364
"""Days of a year in whole weeks, so that weekdays are compared with the same ones."""
_WEEK = 7

Compared = Literal["training", "trailing", "seasonal"]
"""What the days that are judged are compared with."""


@dataclass(frozen=True)
class Drift:
    """How large a shift must be to be told of, and from what: ``drift=`` of `@mw.model`.

    How sure it must be is not a matter of the model: false alarms are controlled over the whole fleet.

    Attributes:
        test: How shifts are measured: ``"psi"``, ``"js"`` (Jensen-Shannon divergence, bits), ``"ks"``
            (Kolmogorov-Smirnov) or ``"wasserstein"`` (standard deviations).
        least: The smallest shift that matters; by default what is usual for the test: 0.2, 0.03, 0.1, 0.1.
        reference: What the last days are compared with: ``"training"``, the rows that the version was made of;
            ``"trailing"``, what it answered in the `days` before them; ``"seasonal"``, what it answered on the same
            days a year (52 weeks) before. Where it did not answer then, its training is taken.
        days: See ``"trailing"``; at least a week.
    """

    test: str = "psi"
    least: float | None = None
    reference: Compared = "training"
    days: int = 28

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            NotFound: there is no such test.
            Invalid: it does not measure how large a shift is, or the limit cannot be meant.
        """
        if DRIFT_TESTS[self.test].gives != "effect":
            raise Invalid(
                f"test of mw.Drift is {self.test!r}",
                "it says how sure a shift is, not how large",
                f"use one of {', '.join(name for name in DRIFT_TESTS if DRIFT_TESTS[name].gives == 'effect')}",
            )
        if self.least is not None and not 0 < self.least < float("inf"):
            raise Invalid(f"least of mw.Drift is {self.least}", "", "use a number above 0")
        if self.reference not in get_args(Compared):
            raise Invalid(
                f"reference of mw.Drift is {self.reference!r}",
                "",
                f"use one of {', '.join(get_args(Compared))}",
            )
        if self.days < _WEEK:
            raise Invalid(f"days of mw.Drift is {self.days}", "days of the week differ", "use at least 7")

    @property
    def limit(self) -> float:
        """The smallest shift that matters."""
        return DRIFT_TESTS[self.test].usual if self.least is None else self.least

    @property
    def slight(self) -> float:
        """The smallest shift that is mentioned, where it is beyond chance."""
        return min(DRIFT_TESTS[self.test].slight, self.limit)

    def before(self, days: float) -> tuple[float, float] | None:
        """How many days ago the days began that the last `days` are compared with.

        Returns:
            More than the first number and at most the second; ``None`` where it is the training.
        """
        if self.reference == "trailing":
            return days, days + self.days
        return (YEAR, YEAR + days) if self.reference == "seasonal" else None

    def to_json(self) -> dict[str, Any]:
        """As data; called with it, the class makes it again."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | None) -> Drift:
        """The inverse; of nothing what is usual."""
        return cls(**(data or {}))
