"""What answering costs: seconds of processors, by model.

Those of this process are divided among the models by the rows that they answered; worker processes say themselves
what each model took.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping

from modelworks.core.clock import system_clock
from modelworks.serving.metrics import Counters
from modelworks.stores.ledger import Ledger, usage

_log = logging.getLogger("modelworks.serving")

EVERY = 60.0
"""Seconds between two entries of a process that has little to do."""
LOOK = 10.0
"""Seconds between two entries of a busy one: what one that is killed has not told of."""
BUSY = 0.5
"""Seconds of processors that are worth an entry before `EVERY` is over."""


def _none() -> dict[str, float]:
    """Of a server without worker processes."""
    return {}


class Meter:
    """Keeps account while it is entered, and once more when it is left.

    Args:
        counters: Of the models; rows that were answered.
        ledger: Where it is written.
        workers: Gives the seconds that worker processes have taken so far, by model.
        every: See `EVERY`.
        look: See `LOOK`.
    """

    def __init__(
        self,
        counters: Mapping[str, Counters],
        ledger: Ledger,
        workers: Callable[[], Mapping[str, float]] = _none,
        every: float = EVERY,
        look: float = LOOK,
    ) -> None:
        self.counters = counters
        self.ledger = ledger
        self.workers = workers
        self.every = every
        self.look = look
        self._apart: Mapping[str, float] = {}
        self._rows: dict[str, int] = {}
        self._seconds = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="meter", daemon=True)

    def __enter__(self) -> Meter:
        self._seconds = time.process_time()
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        told = time.monotonic()
        while not self._stop.wait(min(self.look, self.every)):
            if self._untold() >= BUSY or time.monotonic() - told >= self.every:
                self._tell()
                told = time.monotonic()
        self._tell()

    def _untold(self) -> float:
        """Seconds since the last entry."""
        return time.process_time() - self._seconds + sum(self.workers().values()) - sum(self._apart.values())

    def _tell(self) -> None:
        rows = {model: counted.rows for model, counted in list(self.counters.items())}
        seconds, apart = time.process_time(), self.workers()
        spent = self._since(rows, seconds, apart)
        try:
            with self.ledger.write() as db:
                usage.add(db, "serve", spent, system_clock())
        except Exception as error:  # it is told with the next
            _log.warning("what answering took could not be written down: %s", error)
            return
        self._rows, self._seconds, self._apart = rows, seconds, apart

    def _since(
        self, rows: Mapping[str, int], seconds: float, apart: Mapping[str, float]
    ) -> dict[str, tuple[float, int]]:
        """What was spent since the last entry, by the counts of now."""
        fresh = {model: n - self._rows.get(model, 0) for model, n in rows.items()}
        total, took = sum(fresh.values()), seconds - self._seconds
        spent = {model: (took * n / total, n) for model, n in fresh.items() if n}
        if not total:  # what nobody asked for is no model's
            spent[""] = (took, 0)
        for model, worked in apart.items():
            mine, n = spent.get(model, (0.0, 0))
            if worked > self._apart.get(model, 0.0):
                spent[model] = (mine + worked - self._apart.get(model, 0.0), n)
        return spent
