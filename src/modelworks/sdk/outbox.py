"""What waits to be sent to a server: journals of runs, and the artifacts that they name."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from modelworks.core.errors import Denied, ModelworksError, NotReady, Unavailable
from modelworks.sdk.client import Client
from modelworks.stores import journal
from modelworks.stores.artifacts import LocalArtifacts
from modelworks.stores.ledger.alone import among_files
from modelworks.track.entry import decode

log = logging.getLogger("modelworks.track")

TRANSIENT = (Unavailable, NotReady, Denied)
"""What may be over the next time: no answer, not yet, a token that is not known."""
_AT_ONCE = 1024 * 1024
"""Bytes of a journal that are sent in one request."""


class Outbox:
    """What waits for one server, of one or more sessions.

    How far a session has been sent is noted beside its journal. If that note is lost, some entries are sent
    twice: they are numbered, and the server takes each once.

    Args:
        state: Folder of the embedded state.
        client: The server.

    Attributes:
        folder: Where the journals are.
    """

    def __init__(self, state: Path, client: Client) -> None:
        self.folder = state / "outbox" / sha256(client.url.encode()).hexdigest()[:16]
        self._client = client

    def artifacts(self, session: str) -> LocalArtifacts:
        """Where the artifacts of a session wait."""
        return LocalArtifacts(self.folder / f"{session}.artifacts")

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
            for position, payloads in _pieces(path, note["positions"].get(path.name, 0)):
                note["number"] += self._post(session, payloads, note["number"])
                note["positions"][path.name] = position
                self._write(session, note)
                sent += len(payloads)
        if beat and not sent:
            self._client.tell(_batch([], session, note["number"]))
        return sent

    def _post(self, session: str, payloads: list[bytes], begin: int) -> int:
        """Send entries; one that the server will never take is put aside. Returns the number of those taken."""
        try:
            for payload in payloads:
                if b'"artifacts":' in payload or b'"source":' in payload:
                    for digest in _named(payload):
                        self._upload(session, digest)
            self._client.tell(_batch(payloads, session, begin))
        except TRANSIENT:
            raise
        except ModelworksError as error:
            if len(payloads) > 1:
                middle = len(payloads) // 2
                first = self._post(session, payloads[:middle], begin)
                return first + self._post(session, payloads[middle:], begin + first)
            with (self.folder / f"{session}.refused").open("ab") as file:
                file.write(payloads[0] + b"\n")
            log.warning("the server does not take something; it is kept in %s.refused: %s", session, error)
            return 0
        return len(payloads)

    def _upload(self, session: str, digest: str) -> None:
        blobs = self.folder / f"{session}.artifacts"
        done = blobs / f"{digest}.sent"
        if not done.exists() and digest in LocalArtifacts(blobs):
            self._client.upload(LocalArtifacts(blobs).get(digest))
            done.touch()

    def send_left(self) -> int:
        """Send what processes that are gone have left, and tell the server that they are; returns the number."""
        sent = 0
        if not self.folder.exists():
            return 0
        with among_files(self.folder / "locks", "outbox"):
            paths = journal.files(self.folder)
            gone = [path for path in paths if not journal.alive(path)]
            living = {journal.session_of(path) for path in journal.files(self.folder) if path not in gone}
            for session in dict.fromkeys(journal.session_of(path) for path in gone):
                if session in living:
                    continue
                sent += self.send(session)
                self._client.tell(_batch([], session, self._note(session)["number"], over=True))
                for path in self._files(session):
                    path.unlink()
                shutil.rmtree(self.folder / f"{session}.artifacts", ignore_errors=True)
                self._place(session).unlink(missing_ok=True)
        return sent

    def _files(self, session: str) -> list[Path]:
        return [path for path in journal.files(self.folder) if journal.session_of(path) == session]

    def _place(self, session: str) -> Path:
        return self.folder / f"{session}.sent"

    def _note(self, session: str) -> dict[str, Any]:
        try:
            note: dict[str, Any] = msgspec.json.decode(self._place(session).read_bytes())
        except FileNotFoundError:
            note = {"number": 0, "positions": {}}
        return note

    def _write(self, session: str, note: dict[str, Any]) -> None:
        part = self.folder / f".{session}.sent"
        part.write_bytes(msgspec.json.encode(note))
        part.rename(self._place(session))


def _batch(payloads: list[bytes], session: str, begin: int, *, over: bool = False) -> bytes:
    """The body of a request. A block of a journal is a list of one entry, and goes in as it is."""
    entries = b",".join(payload[1:-1] for payload in payloads)
    tail = f'],"session":"{session}","begin":{begin},"over":{"true" if over else "false"}}}'
    return b'{"entries":[' + entries + tail.encode()


def _named(payload: bytes) -> list[str]:
    """Digests of the artifacts that an entry names."""
    (entry,) = decode(payload)
    source = entry.source or {}
    return [*entry.artifacts.values(), *(source[name] for name in ("environment", "diff") if name in source)]


def _pieces(path: Path, start: int) -> Iterator[tuple[int, list[bytes]]]:
    """The blocks of a file from `start` on, as many as go into a request, with the position after them."""
    while True:
        payloads: list[bytes] = []
        position = start
        for position, payload in journal.blocks(path, start, _AT_ONCE):  # noqa: B007 - the last one counts
            payloads.append(payload)
        if position == start:
            return
        yield position, payloads
        start = position
