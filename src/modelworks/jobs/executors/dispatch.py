"""Giving out items to workers that may die or hang at any moment, whatever kind of workers they are."""

from __future__ import annotations

import os
import pickle
import sys
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Generic, Protocol, TypeVar

from modelworks.core.errors import Unavailable
from modelworks.jobs.executors.port import IDLE, Done, More, dearest_first
from modelworks.jobs.executors.portable import dumps, foreign
from modelworks.jobs.executors.worker import READY

_AHEAD = 4
"""Items a worker may hold, so that it works on while the parent is busy."""
_AHEAD_BYTES = 32_768
"""A larger item is sent only to a worker that waits for it, so that no pipe fills from both ends."""
_STILLBORN = 3
"""Workers that may die in a row before any says a word: then it's not the items' fault."""

W = TypeVar("W")


@dataclass(frozen=True)
class Dead:
    """A worker is no more.

    Attributes:
        reason: What happened: "the worker process was killed by SIGKILL".
    """

    reason: str


class Crew(Protocol[W]):
    """Where workers come from, and how one speaks with them."""

    def hire(self, start: bytes) -> W:
        """A worker that is told `start`; see `worker.serve`."""
        ...

    def send(self, worker: W, message: bytes) -> None:
        """Give it an item; if it's dead, `answers` will say so."""
        ...

    def answers(self, staff: Sequence[W], seconds: float | None) -> Iterable[tuple[W, bytes | Dead]]:
        """What those of `staff` say that hold items, or are not ready; empty when the time is over."""
        ...

    def kill(self, worker: W) -> None:
        """End it, whatever it does."""
        ...


class Run(Generic[W]):
    """One call of an executor's `run`.

    Args:
        crew: The workers.
        function: See `Executor.run`, as for all that follows.
        items: What to do it on.
        workers: How many run at a time.
        initial: What all items share.
        weights: Relative cost of each item.
        limit: Seconds that an item may take.
        retries: How often an item is begun again whose worker died.
        more: From a result to items that follow from it.
    """

    def __init__(
        self,
        crew: Crew[W],
        function: Callable[..., Any],
        items: Sequence[Any],
        *,
        workers: int,
        initial: Any,
        weights: Sequence[float] | None,
        limit: float | None,
        retries: int,
        more: More[Any, Any] | None,
    ) -> None:
        self.crew = crew
        self.items = list(items)
        self.most = max(workers, 1)
        self.more = more
        self.limit = limit
        self.retries = retries
        path = [entry or os.getcwd() for entry in sys.path]
        self.module = foreign(function)
        self.start = pickle.dumps(("start", (dumps((function, initial), self.module), path)))
        self.weights = [1.0] * len(items) if weights is None else list(weights)
        self.waiting = deque(dearest_first(len(items), weights))
        self.left = sum(self.weights)
        self.died: dict[int, int] = {}
        self.held: dict[W, deque[int]] = {}
        self.ready: set[W] = set()
        self.since: dict[W, float] = {}
        self.given_up: deque[Done[Any, Any]] = deque()
        self.stillborn = 0

    def results(self, idle: Callable[[], None] | None) -> Iterator[Done[Any, Any]]:
        """Hire workers, give out items, and yield what comes back."""
        self._hire()
        while self.waiting or any(self.held.values()):
            self._give_out()
            asked, heard = monotonic(), set[W]()
            for worker, said in self.crew.answers(list(self.held), self._patience(asked, idle is not None)):
                heard.add(worker)
                if isinstance(said, Dead):
                    self._bury(worker, said.reason)
                    continue
                self.stillborn = 0
                if said == READY:
                    self.ready.add(worker)
                    continue
                position, good, content = pickle.loads(said)  # noqa: S301 - our child wrote it
                self.held[worker].remove(position)
                self.since[worker] = monotonic()
                item = self.items[position]
                error, trace = ("", "") if good else content
                done = Done(item, content if good else None, error, trace, "done" if good else "raised")
                self._add(done)
                self._give_out()
                yield done
            self._end_late(asked, heard)
            if not heard and idle is not None:
                idle()
            while self.given_up:
                done = self.given_up.popleft()
                self._add(done)
                yield done

    def _add(self, done: Done[Any, Any]) -> None:
        """Put what follows from a result among what waits, by its weight."""
        added = [] if self.more is None else list(self.more(done))
        if not added:
            return
        first = len(self.items)
        self.items += [item for item, _ in added]
        self.weights += [weight for _, weight in added]
        self.left += sum(weight for _, weight in added)
        waiting = [*self.waiting, *range(first, len(self.items))]
        self.waiting = deque(sorted(waiting, key=lambda position: -self.weights[position]))
        self._hire()

    def _patience(self, now: float, told: bool) -> float | None:
        """Seconds to wait for an answer: until somebody wants to hear that there is none, or an item is late."""
        most = [IDLE] if told else []
        if self.limit is not None:
            most += [self.since[one] + self.limit - now for one, held in self.held.items() if held]
        return max(min(most), 0.0) if most else None

    def _give_out(self) -> None:
        """Fill every worker's queue: first one item each, then ahead, less and less towards the end.

        Source: Polychronopoulos and Kuck, "Guided Self-Scheduling" (1987).
        """
        for depth in range(1, _AHEAD + 1):
            for worker, mine in self.held.items():
                if not self.waiting:
                    return
                position = self.waiting[0]
                weight = sum(self.weights[held] for held in mine) + self.weights[position]
                if len(mine) >= depth or (mine and weight > self.left / len(self.held) / 2):
                    continue
                # Where a worker has died at an item, its next one holds nothing else: else an answer that was lost
                # because the item after it was deadly would be held against this one.
                if mine and (position in self.died or not self.died.keys().isdisjoint(mine)):
                    continue
                if worker not in self.ready:
                    continue
                message = dumps(("item", (position, self.items[position])), self.module)
                if mine and len(message) > _AHEAD_BYTES:
                    continue
                self.waiting.popleft()
                self.left -= self.weights[position]
                if not mine:
                    self.since[worker] = monotonic()
                mine.append(position)
                self.crew.send(worker, message)

    def _end_late(self, now: float, heard: Collection[W]) -> None:
        """Kill workers whose item took too long already when they were last asked, and that did not answer."""
        if self.limit is None:
            return
        for worker, mine in list(self.held.items()):
            if mine and worker not in heard and now - self.since[worker] >= self.limit:
                self._replace(worker)
                position, *others = mine
                error = f"it took longer than {self.limit:g} s and was ended"
                self.given_up.append(Done(self.items[position], None, error, fate="late"))
                self._take_back(others)

    def _bury(self, worker: W, reason: str) -> None:
        """A worker died: the item it was at is tried again or given up, all else it held goes to others.

        Raises:
            Unavailable: one after the other dies before it can be given anything.
        """
        if worker not in self.ready:
            self.stillborn += 1
            if self.stillborn >= _STILLBORN:
                raise Unavailable("no worker can be started", reason, "see to it, and try again")
        mine = self._replace(worker)
        if not mine:
            self._hire()
            return
        position, *others = mine
        self.died[position] = self.died.get(position, 0) + 1
        if self.died[position] > self.retries:
            tries = self.died[position]
            error = reason + (f", {tries} times at this item" if tries > 1 else "")
            self.given_up.append(Done(self.items[position], None, error, fate="died"))
        else:
            others = [position, *others]
        self._take_back(others)

    def _hire(self) -> None:
        """Add workers that know the run, as many as find something to do."""
        for _ in range(min(self.most - len(self.held), len(self.waiting))):
            self.held[self.crew.hire(self.start)] = deque()

    def _replace(self, worker: W) -> deque[int]:
        """Let a worker go; what it held."""
        self.crew.kill(worker)
        self.ready.discard(worker)
        self.since.pop(worker, None)
        return self.held.pop(worker)

    def _take_back(self, positions: Sequence[int]) -> None:
        self.waiting.extendleft(reversed(positions))
        self.left += sum(self.weights[position] for position in positions)
        self._hire()
