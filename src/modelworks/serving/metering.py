"""What answering costs: seconds of this process' processor, divided among the models by the rows they answered."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping

from modelworks.core.clock import system_clock
from modelworks.serving.metrics import Counters
from modelworks.stores.ledger import Ledger, usage

_log = logging.getLogger("modelworks.serving")

EVERY = 60.0
"""Seconds between two entries; a process that is killed has not told of its last ones."""


class Meter:
    """Keeps account while it is entered, and once more when it is left.

    Args:
        counters: Of the models; rows that were answered.
        ledger: Where it is written.
        every: Seconds between two entries.
    """

    def __init__(self, counters: Mapping[str, Counters], ledger: Ledger, every: float = EVERY) -> None:
        self.counters = counters
        self.ledger = ledger
        self.every = every
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
        while not self._stop.wait(self.every):
            self._tell()
        self._tell()

    def _tell(self) -> None:
        spent, rows, seconds = self._since()
        try:
            with self.ledger.write() as db:
                usage.add(db, "serve", spent, system_clock())
        except Exception as error:  # it is told with the next
            _log.warning("what answering took could not be written down: %s", error)
            return
        self._rows, self._seconds = rows, seconds

    def _since(self) -> tuple[dict[str, tuple[float, int]], dict[str, int], float]:
        """What was spent since the last entry, and the counts of now."""
        seconds = time.process_time()
        rows = {model: counted.rows for model, counted in list(self.counters.items())}
        fresh = {model: n - self._rows.get(model, 0) for model, n in rows.items()}
        total, took = sum(fresh.values()), seconds - self._seconds
        if not total:  # what nobody asked for is no model's
            return {"": (took, 0)}, rows, seconds
        return {model: (took * n / total, n) for model, n in fresh.items() if n}, rows, seconds
