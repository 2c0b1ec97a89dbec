"""What the machine does while a run goes on: processor and memory, sampled by a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from modelworks.core.errors import ModelworksError

PREFIX = "system."


class Sampler:
    """Looks every `every` seconds, and a last time when it is stopped.

    Args:
        log: Takes the metrics.
        every: Seconds.
    """

    def __init__(self, log: Callable[[dict[str, float]], Any], every: float) -> None:
        import psutil

        self._psutil = psutil
        self._process = psutil.Process()
        self._log = log
        self._every = max(every, 0.1)
        self._over = threading.Event()
        psutil.cpu_percent()  # the first call only begins to count
        self._process.cpu_percent()
        self._thread = threading.Thread(target=self._sample, name="run-system", daemon=True)
        self._thread.start()

    def _sample(self) -> None:
        over = False
        while not over:
            over = self._over.wait(self._every)
            memory = self._psutil.virtual_memory()
            try:
                self._log(
                    {
                        f"{PREFIX}cpu_percent": self._psutil.cpu_percent(),
                        f"{PREFIX}memory_percent": memory.percent,
                        f"{PREFIX}process_cpu_percent": self._process.cpu_percent(),
                        f"{PREFIX}process_memory_mb": self._process.memory_info().rss / 1e6,
                    }
                )
            except ModelworksError:  # nothing of the user's may fail because of this
                return

    def stop(self) -> None:
        """Look a last time, and end."""
        self._over.set()
        if self._thread is not threading.current_thread():
            self._thread.join(5)
