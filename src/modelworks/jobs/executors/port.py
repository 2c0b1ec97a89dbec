"""The executor's port: one function over many items, results as they are finished."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

Initial = TypeVar("Initial")
Item = TypeVar("Item")
Value = TypeVar("Value")


@dataclass(frozen=True)
class Done(Generic[Item, Value]):
    """One finished item.

    Attributes:
        item: What was to be done.
        value: What the function returned; ``None`` where it failed.
        error: Why it failed, one line; ``""`` where it did not.
        trace: The whole traceback, where there is one.
    """

    item: Item
    value: Value | None
    error: str = ""
    trace: str = ""


IDLE = 1.0
"""Seconds without a result after which a run says so."""


class Executor(Protocol):
    """Runs work somewhere. An item that fails never stops the others."""

    def run(
        self,
        function: Callable[[Initial, Item], Value],
        items: Sequence[Item],
        *,
        workers: int,
        initial: Initial,
        weights: Sequence[float] | None = None,
        idle: Callable[[], None] | None = None,
    ) -> Iterator[Done[Item, Value]]:
        """Call ``function(initial, item)`` for each item; yields each as it is finished, in any order.

        Args:
            function: What to do. Where work leaves this process, it travels by reference if it can be
                imported there, else by value.
            items: What to do it on.
            workers: How many run at a time.
            initial: What all items share; it travels once a worker, not once an item.
            weights: Relative cost of each item; the dearest start first. Without them, the given order.
            idle: Called when `IDLE` seconds passed in which nothing was finished, where work leaves this
                process: the time to bring to safety what has come so far.
        """
        ...

    def close(self) -> None:
        """Give back what is kept warm between runs; a later run starts anew."""
        ...


def dearest_first(count: int, weights: Sequence[float] | None) -> list[int]:
    """Positions of the items in the order in which they start.

    Source: Graham, "Bounds on Multiprocessing Timing Anomalies" (1969): longest processing time first is
    never more than a third over the best schedule.
    """
    if weights is None:
        return list(range(count))
    return sorted(range(count), key=lambda position: -weights[position])


def failed(item: Any, error: BaseException, trace: str) -> Done[Any, Any]:
    """An item whose function raised."""
    return Done(item, None, f"{type(error).__name__}: {error}".rstrip(": "), trace)
