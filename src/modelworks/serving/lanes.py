"""Lanes: where an event loop puts what takes time, a thread for each kind of models.

What arrives while a batch is being answered is the next batch: nobody waits for a timer, and batches grow with the
load. A batch is cut where answering it would take longer than the latency that it may cost; and who would have to wait
too long is told at once to come again.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Sequence
from functools import partial

from modelworks.core.errors import ModelworksError
from modelworks.serving.data_plane import Asked, DataPlane
from modelworks.serving.replica import Replica
from modelworks.serving.replies import LATE, Later, busy

_log = logging.getLogger("modelworks.serving")
_LEARN = 0.1
"""Upwards slowly, downwards at once: a call in which a worker was started says little of the next."""
_MOST = 10_000
"""Requests that may wait, whatever they take."""

Waiting = tuple[Asked, Later, float]


class Lane:
    """One thread.

    Args:
        name: Of the lane.
        plane: Answers.
        latency: Seconds that the requests of one batch may take together.
        wait: Seconds that a request may have to wait.
    """

    def __init__(self, name: str, plane: DataPlane, latency: float, wait: float) -> None:
        self.plane = plane
        self.latency = latency
        self.wait = wait
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Waiting] = deque()
        self._left = 0.0
        self._row: dict[Replica, float] = {}
        self._news = threading.Condition()
        self._ends = False
        self._thread = threading.Thread(target=self._run, name=f"modelworks-lane-{name}", daemon=True)
        self._thread.start()

    def put(self, asked: Asked) -> Later:
        """Answer it soon.

        Raises:
            Busy: there is too much to do already.
        """
        later, cost = Later(), self._cost(asked)
        with self._news:
            if self._left > self.wait or len(self._waiting) >= _MOST:
                self.plane.shed += 1
                raise busy(LATE.format(self.wait))
            self._waiting.append((asked, later, cost))
            self._left += cost
            self._news.notify()
        return later

    def close(self) -> None:
        """Answer what waits, and end."""
        with self._news:
            self._ends = True
            self._news.notify()
        self._thread.join()

    def _cost(self, asked: Asked) -> float:
        """Seconds that it will take, by what the last ones took."""
        return sum(self._row.get(piece.replica, 0.0) * len(piece.numbers) for piece in asked.job.pieces)

    def _run(self) -> None:
        while batch := self._next():
            begun = time.perf_counter()
            answers: Sequence[bytes | ModelworksError]
            try:
                answers = self.plane.complete([asked for asked, _, _ in batch])
                self._learn(batch, time.perf_counter() - begun)
            except Exception:
                _log.exception("%d requests could not be answered", len(batch))
                broken = ModelworksError(
                    "the request could not be answered", "an error of the server", "see its log"
                )
                answers = [broken] * len(batch)
            self._loop.call_soon_threadsafe(_tell, [later for _, later, _ in batch], answers)

    def _next(self) -> list[Waiting]:
        """The next batch; nothing at the end."""
        with self._news:
            while not self._waiting and not self._ends:
                self._news.wait()
            batch: list[Waiting] = []
            seconds = 0.0
            while self._waiting and (not batch or seconds + self._waiting[0][2] <= self.latency):
                batch.append(self._waiting.popleft())
                seconds += batch[-1][2]
            self._left = self._left - seconds if self._waiting else 0.0
            return batch

    def _learn(self, batch: Sequence[Waiting], seconds: float) -> None:
        """What a row of each model takes; together they took `seconds`."""
        took: dict[Replica, list[float]] = {}
        for asked, _, _ in batch:
            for piece in asked.job.pieces:
                if piece.seconds is not None and piece.error is None:
                    took.setdefault(piece.replica, [0.0, 0])[1] += len(piece.numbers)
                    took[piece.replica][0] = max(piece.seconds, took[piece.replica][0])
        for replica, (long, rows) in took.items():
            fresh = min(long, seconds) / rows
            known = self._row.get(replica, 0.0)
            self._row[replica] = min(fresh, known + _LEARN * (fresh - known))
        if len(self._row) > 2 * _MOST:  # of versions that have long gone
            self._row = {replica: self._row[replica] for replica in took}


class Lanes:
    """The lanes of a server.

    Args:
        plane: Answers.
        latency: See `Lane`.
        wait: See `Lane`.
    """

    def __init__(self, plane: DataPlane, latency: float, wait: float = math.inf) -> None:
        self._make = partial(Lane, plane=plane, latency=latency, wait=wait)
        self._lanes: dict[str, Lane] = {}

    def put(self, name: str, asked: Asked) -> Later:
        """See `data_plane.Aside`."""
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = self._make(name)
        return lane.put(asked)

    def close(self) -> None:
        """Answer what waits, and end."""
        for lane in self._lanes.values():
            lane.close()


def _tell(waiting: Sequence[Later], answers: Sequence[bytes | ModelworksError]) -> None:
    for later, answer in zip(waiting, answers, strict=True):
        later.then(answer)
