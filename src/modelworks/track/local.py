"""Runs in a project's folder: a journal, and a thread that puts it into the ledger."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from modelworks.core.clock import Clock, new_id, system_clock
from modelworks.core.errors import ModelworksError
from modelworks.registry.model_version import ModelVersion
from modelworks.stores import Stores
from modelworks.stores.journal import Journal
from modelworks.track import points, settle
from modelworks.track.entry import Entry, encode
from modelworks.track.environment import source as origin
from modelworks.track.found import Found
from modelworks.track.look import one
from modelworks.track.model import Logged, register

log = logging.getLogger("modelworks.track")

_SOONEST, _LATEST = 0.25, 5.0
"""Seconds between two settlements; in between it is about twenty times what the last one took."""


class LocalSink:
    """See `Sink`. What is said is in the journal when the call returns, and in the ledger a moment later.

    Args:
        stores: The project's stores.
        clock: Gives the time.
    """

    def __init__(self, stores: Stores, clock: Clock = system_clock) -> None:
        self.stores: Stores = stores
        self.clock = clock
        self.journal = Journal(settle.folder(stores), new_id())
        self.source = Found(lambda: origin(stores.artifacts))
        self._begin()

    def _begin(self) -> None:
        self._news = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    @property
    def session(self) -> str:
        """See `Sink.session`."""
        return self.journal.session

    def say(self, entry: Entry) -> None:
        """See `Sink.say`."""
        self.journal.append(encode([entry]))
        if not self._news.is_set():
            self._news.set()
        if self._thread is None:
            self._start()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None and not self._closing.is_set():
                self._thread = threading.Thread(target=self._keep, name="run-keeper", daemon=True)
                self._thread.start()

    def _keep(self) -> None:
        pause, failing = _SOONEST, False
        while not self._closing.is_set():
            self._news.wait()
            if self._closing.wait(pause):
                return
            self._news.clear()
            begun = time.monotonic()
            try:
                settle.settle(self.stores, self.clock)
                failing = False
            except ModelworksError as error:
                if not failing:
                    log.warning("what runs say is in the journal only, until this is mended: %s", error)
                failing = True
                self._news.set()
            except Exception:
                log.exception("what runs say is in the journal only")
                failing = True
            pause = min(max(20 * (time.monotonic() - begun), _SOONEST), _LATEST)

    def put(self, content: bytes) -> str:
        """See `Sink.put`."""
        return self.stores.artifacts.put(content)

    def register(self, logged: Logged) -> ModelVersion:
        """See `Sink.register`."""
        self.settle()
        return register(self.stores, self.clock, logged)

    def look(self, run: str) -> dict[str, Any]:
        """See `Sink.look`."""
        self.settle()
        return one(self.stores, run)

    def settle(self) -> None:
        """See `Sink.settle`."""
        settle.settle(self.stores, self.clock)

    def close(self) -> None:
        """Put all that was said into the ledger and end the session; runs that still run are lost."""
        self.source.wait()
        self._closing.set()
        self._news.set()
        if self._thread is not None:
            self._thread.join()
        self.journal.close()
        self.settle()
        try:
            points.pack(self.stores)
        except ModelworksError as error:
            log.warning("points of metrics stay in the ledger for now: %s", error)
        self.stores.ledger.close()

    def forget(self) -> None:
        """In a forked child, where no thread but one lives on: be a session of one's own."""
        self.journal.forget()
        self.stores.ledger.engine.dispose(close=False)
        self.source = Found(lambda: origin(self.stores.artifacts))
        self._begin()
