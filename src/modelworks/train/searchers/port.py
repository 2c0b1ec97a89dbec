"""The port of searchers: which parameters to try next, judged by what was tried."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from modelworks.core.errors import Invalid

Params = Mapping[str, Any]


@dataclass(frozen=True)
class Choice:
    """One of some values, without an order."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class Span:
    """A number between two, both among them.

    Attributes:
        low: The least.
        high: The greatest.
        whole: Whether only whole numbers count.
        log: Whether it is the order of magnitude that counts.
    """

    low: float
    high: float
    whole: bool
    log: bool

    def at(self, share: float) -> float | int:
        """The value so far from `low` to `high`, of whole numbers the nearest; `share` from 0 to 1."""
        if self.log:
            value = math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
        else:
            value = self.low + share * (self.high - self.low)
        value = min(max(value, self.low), self.high)
        return round(value) if self.whole else value


Space = Mapping[str, Choice | Span]


@dataclass(frozen=True)
class Trial:
    """One that is over.

    Attributes:
        number: From 0; trials of a search are begun in this order.
        params: What was tried.
        loss: Less is better; ``None`` where it failed.
        pruned: Whether it was given up before its last fold: then `loss` is of those before.
    """

    number: int
    params: Params
    loss: float | None
    pruned: bool = False


class Searcher(Protocol):
    """Suggests what to try. It is a pure function: given the same, it suggests the same."""

    def __call__(
        self, space: Space, past: Sequence[Trial], numbers: Sequence[int], seed: int
    ) -> Sequence[Params]:
        """Parameters for the trials of the given numbers, which run side by side.

        Args:
            space: What may be tried.
            past: Trials that are over, by number.
            numbers: Of the trials to suggest.
            seed: All chance comes from it, and from the numbers.

        Returns:
            One for each number; fewer where there is nothing left to try.
        """
        ...


def read_space(space: Mapping[str, Any]) -> Space:
    """What a user wrote: ``{"depth": (2, 10), "C": (0.01, 100, "log"), "kind": ["a", "b"]}``.

    Raises:
        Invalid: it is none of these forms.
    """
    if not space:
        raise Invalid(
            "there is nothing to search", "the space is empty", 'give one: mw.Tune({"C": (0.01, 100, "log")})'
        )
    return {name: _domain(name, given) for name, given in space.items()}


def _domain(name: str, given: Any) -> Choice | Span:
    match given:
        case list() if given and all(isinstance(value, str | int | float | bool | None) for value in given):
            return Choice(tuple(given))
        case (int() | float() as low, int() | float() as high, *more) if (
            isinstance(given, tuple)
            and more in ([], ["log"])
            and math.isfinite(high - low)
            and low < high
            and (low > 0 or not more)
        ):
            return Span(low, high, isinstance(low, int) and isinstance(high, int), bool(more))
    raise Invalid(
        f"parameter {name!r} cannot be searched",
        f"got {given!r}",
        'give a list of values, (low, high), or (low, high, "log") with low above 0',
    )
