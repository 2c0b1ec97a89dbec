"""What is seen of the two sides of a rollout: counts and sums that add up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Sums:
    """Of some values: how many, their sum, the sum of their squares."""

    n: int = 0
    total: float = 0.0
    squares: float = 0.0

    @property
    def mean(self) -> float:
        """Their mean; 0 where there are none."""
        return self.total / self.n if self.n else 0.0

    @property
    def variance(self) -> float:
        """Their variance; 0 with fewer than two."""
        return max(self.squares - self.n * self.mean**2, 0.0) / (self.n - 1) if self.n > 1 else 0.0

    def __add__(self, other: Sums) -> Sums:
        """Both together."""
        return Sums(self.n + other.n, self.total + other.total, self.squares + other.squares)

    def __sub__(self, other: Sums) -> Sums:
        """Without those of the other, which are among these."""
        return Sums(self.n - other.n, self.total - other.total, self.squares - other.squares)


@dataclass(frozen=True)
class Arm:
    """What was seen of one side.

    Attributes:
        rows: Rows that it was given.
        failed: Those on which it raised, gave no finite number, or took far too long.
        rejected: Those that it does not take, though the champion does.
        seconds: Natural logarithms of how long its calls took, each at least `QUICK` seconds.
        outputs: Its main outputs, counted by bin; bins are ordered as the outputs are.
        loss: Loss of those with an outcome: log loss (nats) or squared error.
    """

    rows: int = 0
    failed: int = 0
    rejected: int = 0
    seconds: Sums = field(default_factory=Sums)
    outputs: Mapping[int, int] = field(default_factory=dict)
    loss: Sums = field(default_factory=Sums)

    def __add__(self, other: Arm) -> Arm:
        """Both together."""
        return Arm(
            self.rows + other.rows,
            self.failed + other.failed,
            self.rejected + other.rejected,
            self.seconds + other.seconds,
            Counter(self.outputs) + Counter(other.outputs),
            self.loss + other.loss,
        )

    def to_json(self) -> dict[str, Any]:
        """As data."""
        return {
            "rows": self.rows,
            "failed": self.failed,
            "rejected": self.rejected,
            "seconds": [self.seconds.n, self.seconds.total, self.seconds.squares],
            "outputs": {str(place): count for place, count in sorted(self.outputs.items())},
            "loss": [self.loss.n, self.loss.total, self.loss.squares],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Arm:
        """The inverse of `to_json`."""
        return cls(
            data["rows"],
            data["failed"],
            data["rejected"],
            Sums(*data["seconds"]),
            {int(place): count for place, count in data["outputs"].items()},
            Sums(*data["loss"]),
        )


QUICK = 0.005
"""Seconds; a call that is faster than this counts as if it took this long: nobody notices the difference."""
