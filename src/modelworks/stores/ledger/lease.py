"""Leases: work that one process does at a time, and that another takes over from one that is dead or hangs.

A lease is a row. Its holder renews it while it lives; who finds it run out, or its holder dead, takes it over. Its
token is the fence: every transaction of the work confirms it first, so what a holder that hung does when it wakes
up again is not written. Work that was taken over is neither lost nor written twice.

Source: Gray and Cheriton, Leases, 1989; fencing tokens as in Kleppmann, Designing Data-Intensive Applications,
2017, chapter 8.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from sqlalchemy import Connection, delete, func, select, update
from sqlalchemy.exc import SQLAlchemyError

from modelworks.core.clock import new_id, system_clock
from modelworks.core.errors import Conflict
from modelworks.stores.ledger.portable import upsert
from modelworks.stores.ledger.tables import leases

LENGTH = timedelta(seconds=60)
"""A holder that is silent for so long has lost its work to who asks for it."""
_LOOK = 0.1
"""Seconds between two looks of one who waits."""


class Database(Protocol):
    """What leases need of the ledger: see `Ledger`."""

    def read(self) -> AbstractContextManager[Connection]:
        """A connection for queries."""

    def write(self) -> AbstractContextManager[Connection]:
        """A transaction."""

    def alone(self, what: str, once: bool = False) -> AbstractContextManager[None]:
        """A lock that the death of its holder sets free."""

    def held(self, what: str) -> bool:
        """Whether somebody has it."""


@dataclass(frozen=True)
class Lease:
    """The right to do some work.

    Attributes:
        what: Which work.
        token: No other lease ever has it.
    """

    what: str
    token: str

    def confirm(self, db: Connection) -> None:
        """Let the caller's transaction be written only if the work is still this holder's.

        Raises:
            Conflict: somebody else has taken it over.
        """
        # The row is held until the transaction ends; on SQLite who writes is alone in any case.
        query = select(leases.c.token).where(leases.c.what == self.what).with_for_update()
        if db.scalar(query) != self.token:
            raise Conflict(
                f"{self.what!r} was taken over by another process",
                "this one was silent for longer than its lease",
                "nothing is lost: the other one goes on with it",
            )


class Leases:
    """The leases of one ledger, as one process sees them.

    Args:
        database: Where they stand.
        length: See `LENGTH`.
    """

    def __init__(self, database: Database, length: timedelta = LENGTH) -> None:
        self.length = length
        self._database = database
        self._held: set[str] = set()
        self._guard = threading.Lock()
        self._stop = threading.Event()
        self._present = ExitStack()
        self._me = ""
        self._pid = 0
        self._there = False

    @contextmanager
    def take(self, what: str, wait: bool = False) -> Iterator[Lease | None]:
        """Have some work to oneself; ``None`` where somebody else is at it.

        Args:
            what: Which.
            wait: Rather wait until nobody is; at most as long as the other one lives and does not hang.
        """
        lease = self._claim(what)
        while lease is None and wait:
            time.sleep(_LOOK)
            if not self.held(what):
                lease = self._claim(what)
        try:
            yield lease
        finally:
            if lease is not None:
                self._give_back(lease)

    def held(self, what: str) -> bool:
        """Whether somebody is at some work at this moment."""
        with self._database.read() as db:
            row = db.execute(select(leases).where(leases.c.what == what)).one_or_none()
            return row is not None and row.until > _now(db) and self._lives(row.holder)

    def _claim(self, what: str) -> Lease | None:
        lease = Lease(what, new_id())
        with self._guard:
            self._appear()
            self._held.add(lease.token)
        won = False
        try:
            with self._database.read() as db:  # most of what somebody is at is found out without a write
                found = db.execute(select(leases).where(leases.c.what == what)).one_or_none()
                free = found is None or found.until <= _now(db) or not self._lives(found.holder)
            if free:
                with self._database.write() as db:
                    if found is not None:
                        over = (leases.c.what == what, leases.c.token == found.token)
                        db.execute(delete(leases).where(*over))
                    until = _now(db) + self.length
                    upsert(
                        db,
                        leases,
                        [{"what": what, "token": lease.token, "holder": self._me, "until": until}],
                        keep=True,
                    )
                    won = db.scalar(select(leases.c.token).where(leases.c.what == what)) == lease.token
        finally:
            if not won:
                self._let_go(lease)
        return lease if won else None

    def _give_back(self, lease: Lease) -> None:
        try:
            with self._database.write() as db:
                db.execute(delete(leases).where(leases.c.what == lease.what, leases.c.token == lease.token))
        finally:
            self._let_go(lease)

    def _let_go(self, lease: Lease) -> None:
        with self._guard:
            self._held.discard(lease.token)

    def close(self) -> None:
        """Be gone: whoever looks sees nobody."""
        with self._guard:
            if self._there and self._pid == os.getpid():
                self._stop.set()
                with suppress(SQLAlchemyError):  # what is broken has been let go of
                    self._present.close()
                self._there = False

    # -- being there -----------------------------------------------------------------------------------------

    def _appear(self) -> None:
        """Be seen to live, by a lock that death sets free, and begin to renew; once a process.

        On PostgreSQL the lock ends with its connection too: who finds it gone takes it anew.
        """
        if self._pid != os.getpid():  # a forked child has none of its parent's work
            self._held.clear()
            self._present, self._there, self._pid = ExitStack(), False, os.getpid()
            self._me = f"{socket.gethostname()[:60]} {self._pid} {new_id()}"
        if self._there:
            if self._lives(self._me):
                return
            with suppress(SQLAlchemyError):
                self._present.close()
        self._present.enter_context(self._database.alone(_presence(self._me), once=True))
        if self._there:
            return
        self._there, self._stop = True, threading.Event()
        threading.Thread(target=self._renew, args=(self._stop,), name="leases", daemon=True).start()

    def _lives(self, holder: str) -> bool:
        return self._database.held(_presence(holder))

    def _renew(self, stop: threading.Event) -> None:
        while not stop.wait(self.length.total_seconds() / 4):
            try:
                with self._guard:
                    mine = sorted(self._held)
                    if stop.is_set() or not mine:
                        continue
                    self._appear()
                with self._database.write() as db:
                    until = _now(db) + self.length
                    db.execute(update(leases).where(leases.c.token.in_(mine)).values(until=until))
            except (
                SQLAlchemyError
            ):  # or it has no connection left: the next time comes before the lease runs out
                continue


def _presence(holder: str) -> str:
    return f"present {holder}"


def _now(db: Connection) -> datetime:
    """The database's time, so that machines whose clocks differ agree; an embedded one has only this machine's."""
    if db.dialect.name != "postgresql":
        return system_clock()
    moment: datetime = db.execute(select(func.clock_timestamp())).scalar_one()
    return moment
