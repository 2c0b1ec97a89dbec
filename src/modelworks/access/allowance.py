"""An allowance: how often a caller may ask."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from modelworks.core.errors import TooMany


class Allowance:
    """A bucket of requests that fills steadily, up to those of one second; each request takes one.

    Source: the token bucket of Turner, New directions in communications, IEEE Communications Magazine 24 (1986).

    Args:
        caller: Whose it is.
        rate: Requests a second.
        clock: Seconds, only ever more.
    """

    def __init__(self, caller: str, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.caller = caller
        self.rate = rate
        self._most = max(rate, 1.0)
        self._clock = clock
        self._lock = threading.Lock()
        self._left, self._at = self._most, clock()

    def spend(self) -> TooMany | None:
        """Take a request from it; the error for the caller if there is none left."""
        with self._lock:
            now = self._clock()
            self._left = min(self._left + (now - self._at) * self.rate, self._most)
            self._at = now
            if self._left >= 1:
                self._left -= 1
                return None
            after = (1 - self._left) / self.rate
        return TooMany(
            f"the token {self.caller!r} asks too often",
            f"{self.rate:g} requests a second are allowed",
            f"ask again after {after:.2g} s, send more rows in a request, or ask for a higher rate",
            after=after,
        )
