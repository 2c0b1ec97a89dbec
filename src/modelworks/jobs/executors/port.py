"""The executor's port: one function over many items, results as they are finished."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar

Initial = TypeVar("Initial")
Item = TypeVar("Item")
Value = TypeVar("Value")

Fate = Literal["done", "raised", "died", "late"]


@dataclass(frozen=True)
class Done(Generic[Item, Value]):
    """One finished item.

    Attributes:
        item: What was to be done.
        value: What the function returned; ``None`` where it failed.
        error: Why it failed, one line; ``""`` where it did not.
        trace: The whole traceback, where there is one.
        fate: ``"raised"`` by the function, its worker ``"died"``, or it was ended because it was ``"late"``.
    """

    item: Item
    value: Value | None
    error: str = ""
    trace: str = ""
    fate: Fate = "done"


More = Callable[[Done[Item, Value]], Iterable[tuple[Item, float]]]
"""From a result to items that follow from it, each with its weight."""

IDLE = 1.0
"""Seconds without a result after which a run says so."""

RETRIES = 1
"""How often an item is begun again whose worker died, unless somebody says otherwise."""


class Executor(Protocol):
    """Runs work somewhere. An item that fails never stops the others.

    A plug is made with ``(preload, address)``: modules that a worker imports before its first item, and where a
    cluster answers; who has no use for one takes no notice of it.
    """

    apart: ClassVar[bool]
    """Whether work leaves this process: then an item can neither kill it nor hang it."""

    def __init__(self, preload: Sequence[str] = (), address: str = "") -> None: ...

    def run(
        self,
        function: Callable[[Initial, Item], Value],
        items: Sequence[Item],
        *,
        workers: int,
        initial: Initial,
        weights: Sequence[float] | None = None,
        idle: Callable[[], None] | None = None,
        limit: float | None = None,
        retries: int = RETRIES,
        files: Sequence[Path] = (),
        more: More[Item, Value] | None = None,
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
            limit: Seconds that an item may take; then its worker is killed, and it is given up. Where work
                stays in this process nobody can.
            retries: How often an item is begun again whose worker died.
            files: Files that the function reads through `shared.buffer`; where a worker does not see this
                machine's disk, its content is there all the same.
            more: Asked of each result, before it is yielded, for items that are to be done besides.
        """
        ...

    def cores(self) -> int:
        """How many items can be worked on at a time without one waiting for another."""
        ...

    def close(self) -> None:
        """Give back what is kept warm between runs; a later run starts anew."""
        ...


def own_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
    return Done(item, None, f"{type(error).__name__}: {error}".rstrip(": "), trace, "raised")
