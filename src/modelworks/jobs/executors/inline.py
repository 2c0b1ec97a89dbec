"""Work in this process, one item after the other."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence

from modelworks.jobs.executors.port import Done, Initial, Item, Value, dearest_first, failed


class Inline:
    """For one worker, for debugging, and where no process may be started.

    An item that kills its process kills this one.
    """

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
        """See `Executor.run`; `workers` and `idle` are of no use here."""
        for position in dearest_first(len(items), weights):
            item = items[position]
            try:
                done: Done[Item, Value] = Done(item, function(initial, item))
            except Exception as error:
                done = failed(item, error, traceback.format_exc())
            yield done

    def close(self) -> None:
        """Nothing is kept."""
