"""From journals into the ledger. Whoever wants to read settles first: the writer's process need not live."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from modelworks.core.clock import Clock
from modelworks.stores import Stores, journal
from modelworks.track import book
from modelworks.track.entry import Entry, decode

log = logging.getLogger("modelworks.track")

_AT_ONCE = 4 * 1024 * 1024
"""Bytes of a journal that go into one transaction."""
SILENCE = timedelta(minutes=10)
"""After so long a distant process that says nothing is taken to be dead; a living one speaks twice a minute."""


def folder(stores: Stores) -> Path:
    """Where the journals of this machine are."""
    return stores.spool.parent / "track"


def settle(stores: Stores, clock: Clock) -> int:
    """Put into the ledger what is new in the journals, and say of the runs of dead processes that they are lost.

    Returns:
        The number of entries.
    """
    here = folder(stores)
    if not _news(stores, here):
        return 0
    entered = 0
    with stores.ledger.alone("track"):
        # What is finished is decided first: what a process says until it dies is read after that.
        paths = journal.files(here)
        finished = [path for path in paths if not journal.alive(path)]
        # A process that begins its next file does so before it leaves the one before: it is seen by now.
        living = {journal.session_of(path) for path in journal.files(here) if path not in finished}
        for path in paths:
            entered += _read(stores, path, clock)
        for path in finished:
            _bury(stores, path, dead=journal.session_of(path) not in living)
    return entered


def _news(stores: Stores, here: Path) -> bool:
    """Whether there is anything to do, without waiting for anybody."""
    paths = journal.files(here)
    if not paths:
        return False
    with stores.ledger.read() as db:
        return any(
            journal.more(path, book.position(db, path.stem)) or not journal.alive(path) for path in paths
        )


def _read(stores: Stores, path: Path, clock: Clock) -> int:
    """Enter what is new of one file, piece by piece, each with the position after it."""
    entered = 0
    while True:
        with stores.ledger.read() as db:
            start = position = book.position(db, path.stem)
        entries: list[Entry] = []
        for position, payload in journal.blocks(path, start, _AT_ONCE):  # noqa: B007 - the last one counts
            entries += _entries(path, payload)
        if position == start:
            return entered
        with stores.ledger.write() as db:
            book.enter(db, entries)
            book.advance(db, path.stem, position, clock())
        entered += len(entries)


def _entries(path: Path, payload: bytes) -> list[Entry]:
    """The entries of a block; what cannot be one stops nobody, and is not lost either."""
    try:
        return decode(payload)
    except msgspec.DecodeError as error:
        with path.with_suffix(".refused").open("ab") as file:
            file.write(payload + b"\n")
        log.warning("what is no entry of a run was put into %s.refused: %s", path.stem, error)
        return []


def _bury(stores: Stores, path: Path, *, dead: bool) -> None:
    """Remove a finished file, all of which is in the ledger; if its process is dead, its runs are lost."""
    try:
        last = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except FileNotFoundError:
        return
    with stores.ledger.write() as db:
        lost = book.lose(db, journal.session_of(path), last) if dead else 0
        whole = book.position(db, path.stem)
    if lost:
        log.warning("%d runs are lost: their process died", lost)
    if journal.more(path, whole):
        kept = path.rename(path.with_suffix(".damaged"))
        log.warning("the end of a journal cannot be read; it is kept as %s", kept)
    path.unlink(missing_ok=True)  # first the file: a position without one does no harm
    with stores.ledger.write() as db:
        book.forget(db, path.stem)
