"""What is done with requests that hold what the training of a model did not see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from modelworks.core.errors import Invalid

Action = Literal["reject", "flag", "pass"]
"""Refuse the request; answer, and say in answer and log what was odd; answer and say nothing."""
Oddity = Literal["missing", "unknown", "out_of_range"]


@dataclass(frozen=True)
class Inputs:
    """What is done with a row that holds what the training did not see.

    A value of another type is refused in any case, as is a number that is infinite.

    Attributes:
        missing: A number, or true or false, is missing, and never was.
        unknown: A text that was never there; a missing one is ``""``, a text as any other. Not looked at where a
            column had more than 1,000 different ones.
        out_of_range: A number below the smallest or above the largest.
        margin: How far beyond, as a share of the distance from the smallest to the largest, a number may be.
    """

    missing: Action = "reject"
    unknown: Action = "flag"
    out_of_range: Action = "flag"
    margin: float = 0.0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            Invalid: one cannot be meant.
        """
        for oddity in get_args(Oddity):
            given = getattr(self, oddity)
            if given not in get_args(Action):
                raise Invalid(
                    f"{oddity} of mw.Inputs is {given!r}", "", f"use one of {', '.join(get_args(Action))}"
                )
        if not 0 <= self.margin < float("inf"):
            raise Invalid(
                f"margin of mw.Inputs is {self.margin}", "it is a share of the range", "use 0.1 for a tenth"
            )

    def action(self, oddity: Oddity) -> Action:
        """What is done in that case."""
        found: Action = getattr(self, oddity)
        return found

    def to_json(self) -> dict[str, Any]:
        """As data; called with it, the class makes it again."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | None) -> Inputs:
        """The inverse; of nothing what is usual."""
        return cls(**(data or {}))
