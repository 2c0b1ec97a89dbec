"""Work in this process, one item after the other."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from modelworks.jobs.executors.port import RETRIES, Done, Initial, Item, More, Value, dearest_first, failed


class Inline:
    """For one worker, for debugging, and where no process may be started.

    An item that kills its process kills this one.
    """

    apart: ClassVar[bool] = False

    def __init__(self, preload: Sequence[str] = (), address: str = "") -> None:
        pass

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
        """See `Executor.run`; only function, items, initial, weights and more are of use here."""
        waiting = [(items[at], weights[at] if weights else 1.0) for at in dearest_first(len(items), weights)]
        while waiting:
            item, _ = waiting.pop(0)
            try:
                done: Done[Item, Value] = Done(item, function(initial, item))
            except Exception as error:
                done = failed(item, error, traceback.format_exc())
            if added := [] if more is None else list(more(done)):
                waiting = sorted([*waiting, *added], key=lambda one: -one[1])
            yield done

    def cores(self) -> int:
        """One item after the other."""
        return 1

    def close(self) -> None:
        """Nothing is kept."""
