"""Runs on a server: what is recorded goes into a journal on this machine, and a thread sends it, in order, once."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from modelworks.core.clock import Clock, new_id, system_clock
from modelworks.core.errors import Denied, ModelworksError, NotReady, Unavailable
from modelworks.sdk.client import Client
from modelworks.stores import journal
from modelworks.stores.artifacts import LocalArtifacts
from modelworks.stores.ledger.alone import among_files
from modelworks.track.entry import Entry, decode, encode
from modelworks.track.environment import source as origin
from modelworks.track.found import Found

log = logging.getLogger("modelworks.track")

_AT_ONCE = 1024 * 1024
"""Bytes of a journal that are sent in one request."""
_LINGER = 0.1
"""Seconds in which more may come before what came is sent."""
_HEARTBEAT = 30.0
_PATIENCE = 10.0
"""Seconds that the end of a process waits for a server that does not answer."""
_TRANSIENT = (Unavailable, NotReady, Denied)
"""What may be over the next time: no answer, not yet, a token that is not known."""


class RemoteSink:
    """See `Sink`. What is said is on this machine's disk when the call returns.

    Args:
        server: URL.
        token: Token for it.
        state: Folder under which what has not been sent waits.
        clock: Gives the time.
    """

    stores = None

    def __init__(self, server: str, token: str | None, state: Path, clock: Clock = system_clock) -> None:
        self.server = server.rstrip("/")
        self.clock = clock
        self.client = Client(server, token)
        self._token = token
        self.folder = state / "outbox" / sha256(self.server.encode()).hexdigest()[:16]
        self.journal = journal.Journal(self.folder, new_id())
        self._outbox = Outbox(self.folder, self.client)
        self._begin()

    def _begin(self) -> None:
        self._artifacts = LocalArtifacts(self.folder / f"{self.session}.artifacts")
        self.source = Found(lambda: origin(self._artifacts))
        self._changed = threading.Condition()
        self._said = self._sent = 0
        self._closing = False
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
            wanted = self._said
            while self._sent < wanted and self._trouble is None:
                self._changed.wait(1.0)
            if self._sent < wanted and self._trouble is not None:
                raise self._trouble

    def _keep(self) -> None:
        """Send what comes, and now and then a sign of life; what earlier processes have left, first."""
        pause, left = _LINGER, True
        while True:
            with self._changed:
                if self._said == self._sent and not left and not self._closing:
                    self._changed.wait(_HEARTBEAT)
                if self._closing and self._said == self._sent:
                    return
                said = self._said
            time.sleep(0 if self._closing else pause)
            try:
                if left:
                    self._outbox.send_left()
                self._outbox.send(self.session, beat=True)
            except _TRANSIENT as error:
                self._tell(error)
                pause = min(2 * pause, 15.0)
                with self._changed:
                    self._trouble = error
                    self._changed.notify_all()
                    if self._closing:
                        return
                continue
            except Exception as error:
                log.exception("what runs say cannot be sent; it is kept in %s", self.folder)
                with self._changed:
                    self._trouble = Unavailable("what runs say cannot be sent", str(error))
                    self._changed.notify_all()
                return
            if self._trouble is not None:
                log.warning("%s answers again; what waited has been sent", self.server)
            pause, left = _LINGER, False
            with self._changed:
                self._sent, self._trouble = said, None
                self._changed.notify_all()

    def _tell(self, error: ModelworksError) -> None:
        if self._trouble is None:
            log.warning("%s; what runs say waits in %s and is sent when it can be", error, self.folder)

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
                "%s of the entries of runs could not be sent to %s; they wait in %s and are sent by the next run "
                "that goes to this server from here, or by 'modelworks runs send'", waiting, self.server, self.folder
            )  # fmt: skip
        elif self._said:
            self._outbox.send_left()
        self.client.close()

    def forget(self) -> None:
        """In a forked child: be a session of one's own, with a connection of one's own."""
        self.journal.forget()
        self.client = Client(self.server, self._token)
        self._outbox = Outbox(self.folder, self.client)
        self._begin()


class Outbox:
    """What waits for one server, of one or more sessions.

    How far a session has been sent is noted beside its journal. If that note is lost, some entries are sent
    twice: they are numbered, and the server takes each once.

    Args:
        folder: Where the journals are.
        client: The server.
    """

    def __init__(self, folder: Path, client: Client) -> None:
        self._folder = folder
        self._client = client

    def send(self, session: str, *, beat: bool = False) -> int:
        """Send what is new of a session; returns the number of entries.

        Args:
            session: Which one.
            beat: Say that it lives, also where there is nothing new.

        Raises:
            ModelworksError: it could not be sent; what was sent before is noted.
        """
        sent, note = 0, self._note(session)
        for path in self._files(session):
            for position, entries in _pieces(path, note["positions"].get(path.name, 0)):
                note["number"] += self._post(session, entries, note["number"])
                note["positions"][path.name] = position
                self._write(session, note)
                sent += len(entries)
        if beat and not sent:
            self._client.call("track", entries=[], session=session, begin=note["number"])
        return sent

    def _post(self, session: str, entries: list[Entry], begin: int) -> int:
        """Send entries; one that the server will never take is put aside. Returns the number of those taken."""
        try:
            for entry in entries:
                for digest in (*entry.artifacts.values(), *_blobs(entry)):
                    self._upload(session, digest)
            self._client.call("track", entries=[msgspec.to_builtins(one) for one in entries],
                              session=session, begin=begin)  # fmt: skip
        except _TRANSIENT:
            raise
        except ModelworksError as error:
            if len(entries) > 1:
                middle = len(entries) // 2
                first = self._post(session, entries[:middle], begin)
                return first + self._post(session, entries[middle:], begin + first)
            with (self._folder / f"{session}.refused").open("ab") as file:
                file.write(encode(entries) + b"\n")
            log.warning("the server does not take something; it is kept in %s.refused: %s", session, error)
            return 0
        return len(entries)

    def _upload(self, session: str, digest: str) -> None:
        blobs = self._folder / f"{session}.artifacts"
        done = blobs / f"{digest}.sent"
        if not done.exists() and digest in LocalArtifacts(blobs):
            self._client.upload(LocalArtifacts(blobs).get(digest))
            done.touch()

    def send_left(self) -> int:
        """Send what processes that are gone have left, and tell the server that they are; returns the number."""
        sent = 0
        if not self._folder.exists():
            return 0
        with among_files(self._folder / "locks", "outbox"):
            paths = journal.files(self._folder)
            gone = [path for path in paths if not journal.alive(path)]
            living = {journal.session_of(path) for path in journal.files(self._folder) if path not in gone}
            for session in dict.fromkeys(journal.session_of(path) for path in gone):
                if session in living:
                    continue
                sent += self.send(session)
                self._client.call("track", entries=[], session=session, begin=self._note(session)["number"],
                                  over=True)  # fmt: skip
                for path in self._files(session):
                    path.unlink()
                shutil.rmtree(self._folder / f"{session}.artifacts", ignore_errors=True)
                self._place(session).unlink(missing_ok=True)
        return sent

    def _files(self, session: str) -> list[Path]:
        return [path for path in journal.files(self._folder) if journal.session_of(path) == session]

    def _place(self, session: str) -> Path:
        return self._folder / f"{session}.sent"

    def _note(self, session: str) -> dict[str, Any]:
        try:
            note: dict[str, Any] = msgspec.json.decode(self._place(session).read_bytes())
        except FileNotFoundError:
            note = {"number": 0, "positions": {}}
        return note

    def _write(self, session: str, note: dict[str, Any]) -> None:
        part = self._folder / f".{session}.sent"
        part.write_bytes(msgspec.json.encode(note))
        part.rename(self._place(session))


def _blobs(entry: Entry) -> list[str]:
    """Digests that the source of a run names."""
    return [entry.source[name] for name in ("environment", "diff") if name in (entry.source or {})]  # type: ignore[index]


def _pieces(path: Path, start: int) -> Iterator[tuple[int, list[Entry]]]:
    """The entries of a file from `start` on, as many as go into a request, with the position after them."""
    while True:
        entries: list[Entry] = []
        position = start
        for position, payload in journal.blocks(path, start, _AT_ONCE):  # noqa: B007 - the last one counts
            entries += decode(payload)
        if position == start:
            return
        yield position, entries
        start = position
