"""Something that takes a moment to find out, found out once, beside the work."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


class Found:
    """Begins to look when it is first asked for.

    Args:
        look: Finds it out; whatever it raises, nobody is told then.
    """

    def __init__(self, look: Callable[[], dict[str, Any]]) -> None:
        self._look = look
        self._lock = threading.Lock()
        self._waiting: list[Callable[[dict[str, Any]], None]] = []
        self._thread: threading.Thread | None = None
        self._found: dict[str, Any] | None = None

    @property
    def now(self) -> dict[str, Any] | None:
        """What was found out, if it is known by now."""
        return self._found

    def then(self, use: Callable[[dict[str, Any]], None]) -> None:
        """Call `use` with it: now, or when it is known."""
        with self._lock:
            if self._found is None:
                self._waiting.append(use)
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="run-source", daemon=True)
                    self._thread.start()
                return
        use(self._found)

    def _run(self) -> None:
        found = self._look()
        with self._lock:
            self._found, waiting = found, self._waiting
            self._waiting = []
        for use in waiting:
            use(found)

    def wait(self) -> None:
        """Return when it is known, or need not be."""
        if self._thread is not None:
            self._thread.join()
