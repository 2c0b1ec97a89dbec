"""Work on a Ray cluster: one that runs already, or one of this machine, started when it is first needed.

A worker is an actor with a core of its own. It knows what to do before it is given items, and may die at any
moment; see `dispatch`. What travels is what travels to processes as well: Ray only carries it. Files are mapped by
the workers of one machine where they are; among several machines their content lies in Ray's object store, once a
machine, and workers look at it there.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from time import monotonic
from typing import Any, ClassVar

import numpy as np

# That a worker died is told by us, and not on the standard output, which may be somebody's JSON. Ray reads this once.
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "A worker died or was killed")

import ray
from ray.exceptions import RayError

from modelworks.core.errors import Unavailable
from modelworks.jobs.executors import shared
from modelworks.jobs.executors.dispatch import Dead, Run
from modelworks.jobs.executors.port import RETRIES, Done, Initial, Item, More, Value, own_cores
from modelworks.jobs.executors.worker import Desk

_BREAKPOINTS = "PYTHONBREAKPOINT"
_OBJECTS = 256 * 1024 * 1024
"""Bytes of the object store of a cluster that is started here: files go round it, the rest is small."""
_PATIENCE = 300.0
"""Seconds in which at least one worker has to find a place in the cluster, which may have to grow first."""


class Actor(Desk):
    """A worker; `hear` and `look` are called one after the other."""

    def __init__(self, preload: Sequence[str]) -> None:
        super().__init__()
        for name in preload:
            with suppress(Exception):  # what an item really needs, it imports again and says why it can't
                import_module(name)

    def open(self, start: bytes, paths: Sequence[Path], *contents: Any) -> bytes:
        """Begin a run, with what its files hold."""
        shared.give(dict(zip(paths, contents, strict=True)))
        return self.hear(start)


@dataclass(eq=False)
class _Worker:
    actor: Any
    calls: deque[Any] = field(default_factory=deque)


class Ray:
    """A cluster, and the workers that stay warm between runs where it is our own.

    Args:
        preload: Modules that a worker imports before its first item.
        address: Of a cluster that runs, for instance ``"10.0.0.1:6379"``, ``"auto"`` or ``"ray://..."``; by
            default what ``RAY_ADDRESS`` says, else a cluster of this machine, which ends with `close`.
    """

    apart: ClassVar[bool] = True

    def __init__(self, preload: Sequence[str] = (), address: str = "") -> None:
        self.preload = tuple(preload)
        self.address = address or os.environ.get("RAY_ADDRESS", "")
        self._idle: list[_Worker] = []
        self._lock = threading.Lock()
        self._connected = False

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

        When the caller stops early, or is interrupted, what is still running is killed.

        Raises:
            Unavailable: there is no cluster, or it has no place for a worker.
        """
        if not items:
            return
        self._connect(workers)
        crew = _Crew(self, files)
        run = Run(
            crew,
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
        """The cores of the cluster."""
        if not self.address:
            return own_cores()
        self._connect(1)
        return max(int(ray.cluster_resources().get("CPU", 1)), 1)

    def close(self) -> None:
        """End the workers that wait, and the cluster if it was started here."""
        with self._lock:
            idle, self._idle = self._idle, []
            connected, self._connected = self._connected, False
        if ray.is_initialized():
            for worker in idle:
                ray.kill(worker.actor)
            if connected:
                ray.shutdown()

    def _connect(self, workers: int) -> None:
        """Be part of a cluster; of the one that this process is part of already, if it is.

        Raises:
            Unavailable: there is none at the address, or none can be started.
        """
        with self._lock:
            if ray.is_initialized():
                return
            self._idle.clear()  # of a cluster that is gone
            own: dict[str, Any] = {}
            if not self.address:
                os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
                own = {
                    "num_cpus": max(workers, own_cores()),
                    "include_dashboard": False,
                    "object_store_memory": _OBJECTS,
                }
            breakpoints = os.environ.get(_BREAKPOINTS)
            try:
                ray.init(
                    address=self.address or "local",
                    namespace="modelworks",
                    logging_level=logging.ERROR,
                    log_to_driver=False,
                    **own,
                )
            except (ConnectionError, OSError, RuntimeError, ValueError) as error:
                where = f"at {self.address!r}" if self.address else "on this machine"
                raise Unavailable(
                    f"there is no Ray cluster {where}",
                    str(error).strip().split("\n")[0],
                    "see the setting train.ray_address, or use train.executor = 'processes'",
                ) from error
            finally:  # Ray would have every breakpoint of this process
                if breakpoints is None:
                    os.environ.pop(_BREAKPOINTS, None)
                else:
                    os.environ[_BREAKPOINTS] = breakpoints
            self._connected = True

    def _get(self) -> _Worker:
        """A worker that waits, or a new one."""
        with self._lock:
            if self._idle:
                return self._idle.pop()
        made = ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(Actor)
        return _Worker(made.remote(self.preload))

    def _take_back(self, run: Run[_Worker]) -> None:
        """Keep those that wait for the next run; those that are at something are ended.

        So are all of a cluster that others use too: one that waits has a core that they could have.
        """
        if not ray.is_initialized():
            return
        for worker, held in run.held.items():
            if held or self.address or worker not in run.ready:
                ray.kill(worker.actor)
            else:
                with self._lock:
                    self._idle.append(worker)


class _Crew:
    """The workers of one run; see `Crew`."""

    def __init__(self, cluster: Ray, files: Sequence[Path]) -> None:
        self.cluster = cluster
        self.files: list[Path] = []
        self.contents: list[Any] = []
        if len([node for node in ray.nodes() if node["Alive"]]) > 1:
            self.files = list(files)
            # A plain array goes from the file into the store as it is; anything else would be pickled.
            self.contents = [ray.put(np.frombuffer(shared.buffer(path), np.uint8)) for path in files]
        self.start: Any = None
        self.hired = monotonic()
        self.anyone = False

    def hire(self, start: bytes) -> _Worker:
        """See `Crew.hire`."""
        if self.start is None:
            self.start = ray.put(start)
        worker = self.cluster._get()
        worker.calls.append(worker.actor.open.remote(self.start, self.files, *self.contents))
        return worker

    def send(self, worker: _Worker, message: bytes) -> None:
        """See `Crew.send`."""
        worker.calls.append(worker.actor.hear.remote(message))

    def answers(
        self, staff: Sequence[_Worker], seconds: float | None
    ) -> Iterator[tuple[_Worker, bytes | Dead]]:
        """See `Crew.answers`.

        Raises:
            Unavailable: nobody finds a place in the cluster.
        """
        first = {worker.calls[0]: worker for worker in staff if worker.calls}
        if not self.anyone:
            seconds = _PATIENCE if seconds is None else seconds
        ready, _ = ray.wait(list(first), num_returns=1, timeout=seconds)
        if ready:  # and who else is
            ready, _ = ray.wait(list(first), num_returns=len(first), timeout=0)
        elif not self.anyone and monotonic() - self.hired > _PATIENCE:
            raise Unavailable(
                "no worker finds a place in the Ray cluster",
                f"free of {ray.cluster_resources()} are {ray.available_resources()}",
                "end what takes its cores, or add a machine",
            )
        for call in ready:
            worker = first[call]
            worker.calls.popleft()
            try:
                said = ray.get(call)
            except RayError as error:
                yield worker, Dead(_reason(error))
                continue
            self.anyone = True
            yield worker, said

    def kill(self, worker: _Worker) -> None:
        """See `Crew.kill`."""
        ray.kill(worker.actor)


def _reason(error: RayError) -> str:
    """Ray tells much; a sentence of it says what happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = next((line for line in lines if "exit" in line.lower() or "memory" in line.lower()), lines[0])
    return "the worker died: " + told.rpartition("Worker exit detail: ")[2].split(". ")[0].rstrip(".")
