"""Processes that are kept: started again when they die, and gone when the one that keeps them is."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable

_LONGEST = 30.0


class Kept:
    """A process that is started again when it ends, until it is told to end.

    Args:
        name: For people who look at threads.
        start: Starts it, its standard input a pipe: see `outlived`.
        sound: Seconds after which it is taken to be sound, so that the next one need not wait.
        wait: Seconds before the one after a sound one; what dies early waits longer each time.
        ended: Called with the exit status each time.
    """

    def __init__(
        self,
        name: str,
        start: Callable[[], subprocess.Popen[bytes]],
        *,
        sound: float,
        wait: float,
        ended: Callable[[int], None] = lambda _status: None,
    ) -> None:
        self._start = start
        self._sound = sound
        self._wait = wait
        self._ended = ended
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep, name=name, daemon=True)
        self._thread.start()

    def _keep(self) -> None:
        wait = self._wait
        while True:
            started = time.monotonic()
            with self._lock:
                if self._stopping.is_set():
                    return
                self._process = process = self._start()
            status = process.wait()
            if process.stdin is not None:
                process.stdin.close()
            self._ended(status)
            sound = time.monotonic() - started > self._sound
            wait = self._wait if sound else min(max(2 * wait, 1.0), _LONGEST)
            self._stopping.wait(wait)

    def stop(self, signal_number: int) -> None:
        """Tell it to end, and do not start it again."""
        with self._lock:
            self._stopping.set()
            if self._process is not None:
                self._process.send_signal(signal_number)

    def join(self, seconds: float) -> bool:
        """Wait until it has ended after `stop`; false if it has not by then."""
        self._thread.join(max(seconds, 0))
        return not self._thread.is_alive()


def outlived(then: Callable[[], None]) -> None:
    """In a kept process: call `then`, in a thread, when the one that keeps it is gone, however it ended."""

    def watch() -> None:
        while os.read(0, 4096):
            pass
        then()

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
