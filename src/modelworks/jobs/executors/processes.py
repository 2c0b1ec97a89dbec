"""Work in warm processes, forked from a server that has imported the heavy libraries once.

A worker starts in milliseconds, has one thread for numeric libraries, and may die at any moment: what it was
doing is given to another one, and an item that kills its worker twice is given up.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from types import ModuleType
from typing import Any

from modelworks.jobs.executors.port import IDLE, Done, Initial, Item, Value, dearest_first
from modelworks.jobs.executors.portable import dumps, foreign
from modelworks.jobs.executors.worker import THREADS, serve

STRIKES = 2
"""Workers that an item may kill before it is given up."""

_AHEAD = 4
"""Items a worker may hold, so that it works on while the parent is busy."""
_AHEAD_BYTES = 32_768
"""A larger item is sent only to a worker that waits for it, so that no pipe fills from both ends."""
_starting = threading.Lock()


@dataclass(eq=False)
class _Worker:
    process: ForkServerProcess
    pipe: Connection
    items: deque[int] = field(default_factory=deque)

    def kill(self) -> None:
        self.pipe.close()
        self.process.kill()
        self.process.join()


class Processes:
    """A pool that stays warm between runs.

    Args:
        preload: Modules that the workers' common ancestor imports; the first pool of a process decides.
    """

    def __init__(self, preload: Sequence[str] = ()) -> None:
        self.preload = tuple(preload)
        self._idle: list[_Worker] = []
        self._lock = threading.Lock()

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
        """See `Executor.run`; several runs may go on at once, each with workers of its own.

        When the caller stops early, or is interrupted, what is still running is killed.
        """
        if not items:
            return
        run = _Run(self, function, items, initial, weights)
        try:
            run.hire(min(workers, len(items)))
            yield from run.results(idle)
        finally:
            self._take_back(run.staff)

    def warm(self, workers: int) -> None:
        """Start that many workers now."""
        self._take_back([self._get() for _ in range(workers)])

    def close(self) -> None:
        """Stop the workers that wait."""
        with self._lock:
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.kill()

    def _get(self) -> _Worker:
        """A worker that waits, or a new one."""
        while True:
            with self._lock:
                worker = self._idle.pop() if self._idle else None
            if worker is None:
                return _start(self.preload)
            if worker.process.is_alive() and not worker.pipe.poll():
                return worker
            worker.kill()

    def _take_back(self, staff: Sequence[_Worker]) -> None:
        for worker in staff:
            if worker.items:
                worker.kill()
        with self._lock:
            self._idle += [worker for worker in staff if not worker.items]


class _Run:
    """The state of one call of `Processes.run`."""

    def __init__(
        self,
        pool: Processes,
        function: Callable[..., Any],
        items: Sequence[Any],
        initial: Any,
        weights: Sequence[float] | None,
    ) -> None:
        self.pool = pool
        self.items = items
        path = [entry or os.getcwd() for entry in sys.path]
        self.module = foreign(function)
        self.start = pickle.dumps(("start", (dumps((function, initial), self.module), path)))
        self.weights = [1.0] * len(items) if weights is None else list(weights)
        self.waiting = deque(dearest_first(len(items), weights))
        self.left = sum(self.weights)
        self.strikes = [0] * len(items)
        self.staff: list[_Worker] = []
        self.given_up: deque[Done[Any, Any]] = deque()

    def hire(self, count: int) -> None:
        """Add workers that know the run."""
        for _ in range(count):
            worker = self.pool._get()
            self.staff.append(worker)
            with suppress(OSError):  # its death is noticed in `results`
                worker.pipe.send_bytes(self.start)

    def results(self, idle: Callable[[], None] | None) -> Iterator[Done[Any, Any]]:
        """Give out items, and yield what comes back."""
        while self.waiting or any(worker.items for worker in self.staff):
            self._give_out()
            pipes = {worker.pipe: worker for worker in self.staff if worker.items}
            ready = wait(list(pipes), None if idle is None else IDLE)
            if not ready and idle is not None:
                idle()
            for pipe in ready:
                worker = pipes[pipe]  # type: ignore[index]
                try:
                    position, good, content = pickle.loads(worker.pipe.recv_bytes())  # noqa: S301 - our child
                except (EOFError, OSError):
                    self._bury(worker)
                    continue
                worker.items.remove(position)
                self._give_out()
                item = self.items[position]
                yield Done(item, content) if good else Done(item, None, *content)
            while self.given_up:
                yield self.given_up.popleft()

    def _give_out(self) -> None:
        """Fill every worker's queue: first one item each, then ahead, less and less towards the end.

        Source: Polychronopoulos and Kuck, "Guided Self-Scheduling" (1987).
        """
        for depth in range(1, _AHEAD + 1):
            for worker in self.staff:
                if not self.waiting:
                    return
                position = self.waiting[0]
                held = sum(self.weights[held] for held in worker.items) + self.weights[position]
                if len(worker.items) >= depth or (worker.items and held > self.left / len(self.staff) / 2):
                    continue
                message = dumps(("item", (position, self.items[position])), self.module)
                if worker.items and len(message) > _AHEAD_BYTES:
                    continue
                self.waiting.popleft()
                self.left -= self.weights[position]
                worker.items.append(position)
                with suppress(OSError):  # its death is noticed in `results`
                    worker.pipe.send_bytes(message)

    def _bury(self, worker: _Worker) -> None:
        """A worker died: the item it was at gets a strike, all it held goes to others, another is hired."""
        self.staff.remove(worker)
        worker.process.join()
        reason = _reason(worker.process.exitcode)
        first, *others = worker.items
        worker.kill()
        self.strikes[first] += 1
        again = [first, *others]
        if self.strikes[first] >= STRIKES:
            again = others
            error = f"the worker process {reason}, {self.strikes[first]} times at this item"
            self.given_up.append(Done(self.items[first], None, error))
        self.waiting.extendleft(reversed(again))
        self.left += sum(self.weights[position] for position in again)
        if self.waiting:
            self.hire(1)


def _reason(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exited with status {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
    return f"was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


def _start(preload: Sequence[str]) -> _Worker:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs,), name="modelworks-worker", daemon=True)
    with _starting, _environment(THREADS), _without_main():
        process.start()
    theirs.close()
    return _Worker(process, ours)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables, which the fork server inherits when it is started, and put them back."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _without_main() -> Iterator[None]:
    """Hide the main module while a worker starts, so that it is not run there a second time.

    A script without ``if __name__ == "__main__"`` would otherwise start its work again in each worker, and
    one read from standard input could not start any. Functions of a main module travel by value.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
