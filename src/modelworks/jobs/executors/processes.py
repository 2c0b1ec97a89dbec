"""Work in warm processes, forked from a server that has imported the heavy libraries once.

A worker starts in milliseconds, has one thread for numeric libraries, and may die at any moment; see `dispatch`.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import ModuleType
from typing import ClassVar

from modelworks.jobs.executors.dispatch import Dead, Run
from modelworks.jobs.executors.port import RETRIES, Done, Initial, Item, More, Value, own_cores
from modelworks.jobs.executors.worker import THREADS, serve

_starting = threading.Lock()


@dataclass(eq=False)
class _Worker:
    process: ForkServerProcess
    pipe: Connection

    def kill(self) -> None:
        self.pipe.close()
        self.process.kill()
        self.process.join()


class Processes:
    """A pool that stays warm between runs.

    Args:
        preload: Modules that the workers' common ancestor imports; the first pool of a process decides.
    """

    apart: ClassVar[bool] = True

    def __init__(self, preload: Sequence[str] = (), address: str = "") -> None:
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
        limit: float | None = None,
        retries: int = RETRIES,
        files: Sequence[Path] = (),
        more: More[Item, Value] | None = None,
    ) -> Iterator[Done[Item, Value]]:
        """See `Executor.run`; several runs may go on at once, each with workers of its own.

        When the caller stops early, or is interrupted, what is still running is killed. All workers see the
        `files` where they are.
        """
        if not items:
            return
        run = Run(
            self,
            function,
            items,
            workers=workers,
            initial=initial,
            weights=weights,
            limit=limit,
            retries=retries,
            more=more,
        )
        try:
            yield from run.results(idle)
        finally:
            self._take_back(run)

    def cores(self) -> int:
        """Those of this machine."""
        return own_cores()

    def close(self) -> None:
        """Stop the workers that wait."""
        with self._lock:
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.kill()

    # -- what a run asks of its crew --------------------------------------------------------------------

    def hire(self, start: bytes) -> _Worker:
        """See `Crew.hire`."""
        worker = self._get()
        self.send(worker, start)
        return worker

    def send(self, worker: _Worker, message: bytes) -> None:
        """See `Crew.send`."""
        with suppress(OSError):  # its death is noticed in `answers`
            worker.pipe.send_bytes(message)

    def answers(
        self, staff: Sequence[_Worker], seconds: float | None
    ) -> Iterator[tuple[_Worker, bytes | Dead]]:
        """See `Crew.answers`."""
        pipes = {worker.pipe: worker for worker in staff}
        for pipe in wait(list(pipes), seconds):
            worker = pipes[pipe]  # type: ignore[index]
            try:
                yield worker, worker.pipe.recv_bytes()
            except (EOFError, OSError):
                worker.process.join()
                yield worker, Dead(f"the worker process {_reason(worker.process.exitcode)}")

    def kill(self, worker: _Worker) -> None:
        """See `Crew.kill`."""
        worker.kill()

    # -- inside ----------------------------------------------------------------------------------------

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

    def _take_back(self, run: Run[_Worker]) -> None:
        """Keep those that wait for the next run; those that are at something are ended."""
        for worker, held in run.held.items():
            if held or worker not in run.ready:
                worker.kill()
            else:
                with self._lock:
                    self._idle.append(worker)


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
