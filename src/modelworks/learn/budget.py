"""What retraining may cost in a day. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from modelworks.core.errors import Invalid


@dataclass(frozen=True)
class Spent:
    """What the policy's trainings have cost today.

    Attributes:
        trainings: Segments that were decided to be trained.
        seconds: Of the workers, so far.
        each: Seconds of a worker that one has taken of late; ``None`` where none was trained yet.
    """

    trainings: int = 0
    seconds: float = 0.0
    each: float | None = None


@dataclass(frozen=True)
class Budget:
    """What a model's policy may spend in a day (UTC); what is over it waits for the next, the most needy first.

    Trainings by hand are neither held nor counted.

    Attributes:
        trainings: Segments trained in a day; ``None`` for any number.
        minutes: Minutes of a worker in a day; ``None`` for any. What a training will take is taken from those before.
    """

    trainings: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        """Check the limits.

        Raises:
            Invalid: one cannot be meant.
        """
        for name, value in (("trainings", self.trainings), ("minutes", self.minutes)):
            if value is not None and not value > 0:
                raise Invalid(f"{name} of mw.Budget is {value}", "", "use a number above 0, or leave it out")

    def left(self, spent: Spent) -> int | None:
        """How many more may be trained today; ``None`` for any number."""
        limits = []
        if self.trainings is not None:
            limits.append(self.trainings - spent.trainings)
        if self.minutes is not None:
            seconds = 60 * self.minutes - spent.seconds
            if seconds <= 0:
                limits.append(0)
            elif spent.each:
                limits.append(int(seconds / spent.each))
        return max(0, min(limits)) if limits else None

    def used(self, spent: Spent) -> str:
        """What is used of it, in words."""
        told = []
        if self.trainings is not None:
            told.append(f"{spent.trainings:,} of {self.trainings:,} trainings")
        if self.minutes is not None:
            told.append(f"{spent.seconds / 60:,.1f} of {self.minutes:,g} minutes of a worker")
        return " and ".join(told)


@dataclass(frozen=True)
class Limit:
    """A budget, and what of it has been used today.

    Attributes:
        budget: What may be spent.
        spent: What has been.
        whose: Before the word budget, as in ``"the budget"``.
    """

    budget: Budget
    spent: Spent = field(default_factory=Spent)
    whose: str = "the"

    @property
    def left(self) -> int | None:
        """How many more may be trained today; ``None`` for any number."""
        return self.budget.left(self.spent)

    def __str__(self) -> str:
        return f"{self.whose} budget of today is used: {self.budget.used(self.spent)}"


def tightest(limits: Sequence[Limit]) -> tuple[int, Limit] | None:
    """How many more may be trained today, and the limit that says so; ``None`` where none does."""
    told = [(left, place) for place, limit in enumerate(limits) if (left := limit.left) is not None]
    if not told:
        return None
    left, place = min(told)
    return left, limits[place]
