"""Runs on a server: what is recorded goes into a journal on this machine, and a thread sends it, in order, once."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

from modelworks.core.clock import Clock, new_id, system_clock
from modelworks.core.errors import ModelworksError, Unavailable
from modelworks.registry.model_version import ModelVersion
from modelworks.sdk.client import Client
from modelworks.sdk.outbox import TRANSIENT, Outbox
from modelworks.stores import journal
from modelworks.track import offer as offers
from modelworks.track.entry import Entry, encode
from modelworks.track.environment import source as origin
from modelworks.track.found import Found
from modelworks.track.model import Logged

log = logging.getLogger("modelworks.track")

_LINGER = 0.1
"""Seconds in which more may come before what came is sent."""
_LATEST = 15.0
"""Seconds between two tries at most, while the server does not answer."""
_HEARTBEAT = 30.0
_PATIENCE = 10.0
"""Seconds that the end of a process waits for a server that does not answer."""


class RemoteSink:
    """See `Sink`. What is said is on this machine's disk when the call returns.

    Args:
        server: URL.
        token: Token for it.
        state: Folder under which what has not been sent waits.
        clock: Gives the time.
    """

    def __init__(self, server: str, token: str | None, state: Path, clock: Clock = system_clock) -> None:
        self.clock = clock
        self.client = Client(server, token)
        self._token = token
        self._state = state
        self._outbox = Outbox(state, self.client)
        self.journal = journal.Journal(self._outbox.folder, new_id())
        self._begin()

    def _begin(self) -> None:
        self._artifacts = self._outbox.artifacts(self.session)
        self.source = Found(lambda: origin(self._artifacts))
        self._changed = threading.Condition()
        self._said = self._sent = self._tries = 0
        self._closing = self._hurry = False
        self._trouble: ModelworksError | None = None
        self._thread: threading.Thread | None = None

    @property
    def session(self) -> str:
        """See `Sink.session`."""
        return self.journal.session

    def say(self, entry: Entry) -> None:
        """See `Sink.say`."""
        self.journal.append(encode([entry]))
        with self._changed:
            self._said += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._keep, name="run-sender", daemon=True)
                self._thread.start()
            elif self._said == self._sent + 1:
                self._changed.notify_all()

    def put(self, content: bytes) -> str:
        """See `Sink.put`."""
        return self._artifacts.put(content)

    def register(self, logged: Logged) -> ModelVersion:
        """See `Sink.register`. The server reads it, proves it and numbers it."""
        offer = offers.offer(logged)
        self.settle()
        told = self.client.call(
            "log_model", run=logged.run, name=logged.name, flavor=offer.flavor, signature=offer.signature,
            model=self.client.upload(offer.content), rows=self.client.upload(offer.rows),
        )  # fmt: skip
        return offers.version_of(told)

    def look(self, run: str) -> dict[str, Any]:
        """See `Sink.look`."""
        self.settle()
        found: dict[str, Any] = self.client.call("run", id=run)
        return found

    def settle(self) -> None:
        """See `Sink.settle`.

        Raises:
            Unavailable: the server does not answer; what was said waits on this machine.
        """
        with self._changed:
            wanted, tries = self._said, self._tries
            self._hurry = True
            self._changed.notify_all()
            while self._sent < wanted and (self._trouble is None or self._tries == tries):
                self._changed.wait(1.0)
            if self._sent < wanted and self._trouble is not None:
                raise self._trouble

    def _keep(self) -> None:
        """Send what comes, and now and then a sign of life; what earlier processes have left, first."""
        pause, left = _LINGER, True
        while True:
            with self._changed:
                if self._said == self._sent and not left:
                    if self._closing:
                        return
                    self._changed.wait_for(lambda: self._closing or self._said != self._sent, _HEARTBEAT)
                self._changed.wait_for(lambda: self._closing or self._hurry, pause)
                said, self._hurry = self._said, False
            trouble: ModelworksError | None = None
            try:
                if left:
                    self._outbox.send_left()
                self._outbox.send(self.session, beat=True)
            except TRANSIENT as error:
                trouble = error
                pause = min(2 * pause, _LATEST)
            except Exception as error:
                log.exception("what runs say cannot be sent; it waits in %s", self._outbox.folder)
                trouble, pause = Unavailable("what runs say cannot be sent", str(error)), _LATEST
            else:
                pause, left = _LINGER, False
            self._tell(trouble)
            with self._changed:
                self._trouble = trouble
                self._tries += 1
                self._sent = self._sent if trouble else said
                self._changed.notify_all()
                if self._closing and trouble:
                    return

    def _tell(self, trouble: ModelworksError | None) -> None:
        """Say it when the server stops to answer, and when it answers again."""
        if trouble and self._trouble is None:
            log.warning(
                "%s; what runs say waits in %s and is sent when it can be", trouble, self._outbox.folder
            )
        elif self._trouble and trouble is None:
            log.warning("%s answers again; what waited has been sent", self.client.url)

    def close(self) -> None:
        """Wait until all is sent, but not for ever: what cannot be sent is sent by the next process here."""
        self.source.wait()
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(_PATIENCE)
        waiting = self._said - self._sent
        self.journal.close()
        if waiting:
            log.warning(
                "%s entries of runs could not be sent to %s; they wait in %s and are sent by the next run that goes "
                "to this server from here, or by 'modelworks --server %s runs send'",
                waiting,
                self.client.url,
                self._outbox.folder,
                self.client.url,
            )
        elif self._said:
            self._outbox.send_left()
        self.client.close()

    def forget(self) -> None:
        """In a forked child: be a session of one's own, with a connection of one's own."""
        self.journal.forget()
        self.client = Client(self.client.url, self._token)
        self._outbox = Outbox(self._state, self.client)
        self._begin()
