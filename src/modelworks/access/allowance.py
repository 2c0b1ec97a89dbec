"""An allowance: how often a caller may ask."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, insert, select, update

from modelworks.core.clock import midnight, utc
from modelworks.core.errors import TooMany
from modelworks.stores.ledger.tables import spent


class Allowance:
    """What a caller may spend: so many requests a second, and so many a day.

    Those of a second are a bucket that fills steadily, up to those of one second; each request takes one. Those of a
    day (of UTC) are counted here and settled with the ledger, where the servers add up what each has counted.

    Source: the token bucket of Turner, New directions in communications, IEEE Communications Magazine 24 (1986).

    Args:
        caller: Whose it is: the name of a token.
        rate: Requests a second; ``None`` for any number.
        quota: Requests a day; ``None`` for any number.
        clock: Seconds, only ever more.
    """

    def __init__(
        self,
        caller: str,
        rate: float | None,
        quota: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.caller = caller
        self.rate = rate
        self.quota = quota
        self._most = max(rate or 0.0, 1.0)
        self._clock = clock
        self._lock = threading.Lock()
        self._left, self._at = self._most, clock()
        self._used = 0  # as the ledger said last
        self._mine = 0  # since then

    def spend(self) -> TooMany | None:
        """Take a request from it; the error for the caller if there is none left."""
        if self.rate is None and self.quota is None:
            return None
        with self._lock:
            if self.quota is not None and self._used + self._mine >= self.quota:
                return _used_up(self.caller, self.quota)
            if self.rate is not None:
                now = self._clock()
                self._left = min(self._left + (now - self._at) * self.rate, self._most)
                self._at = now
                if self._left < 1:
                    return _too_often(self.caller, self.rate, (1 - self._left) / self.rate)
                self._left -= 1
            self._mine += 1
            return None

    @property
    def counted(self) -> int:
        """What was spent since it was last settled."""
        return self._mine

    def settled(self, counted: int, used: int) -> None:
        """`counted` of what was spent stands in the ledger, which says that all servers have spent `used` today."""
        with self._lock:
            self._mine -= counted
            self._used = used


def settle(db: Connection, caller: str, counted: int, now: datetime) -> int:
    """Add to what a caller has spent today; returns what that is now, of all servers."""
    day = _day(now)
    here = (spent.c.token == caller, spent.c.day == day)
    if counted:
        added = update(spent).where(*here).values(requests=spent.c.requests + counted)
        if not db.execute(added).rowcount:
            db.execute(insert(spent).values(token=caller, day=day, requests=counted))
    return db.scalar(select(spent.c.requests).where(*here)) or 0


def spent_on(db: Connection, now: datetime) -> dict[str, int]:
    """What each token has spent on the day of `now`, as far as it is settled."""
    query = select(spent.c.token, spent.c.requests).where(spent.c.day == _day(now))
    return {row.token: row.requests for row in db.execute(query)}


def _day(now: datetime) -> str:
    return utc(now).date().isoformat()


def _too_often(caller: str, rate: float, after: float) -> TooMany:
    return TooMany(
        f"the token {caller!r} asks too often",
        f"{rate:g} requests a second are allowed",
        f"ask again after {after:.2g} s, send more rows in a request, or ask for a higher rate",
        after=after,
    )


def _used_up(caller: str, quota: int) -> TooMany:
    now = datetime.now(UTC)
    tomorrow = midnight(now + timedelta(days=1))
    return TooMany(
        f"the token {caller!r} has used up its requests of today",
        f"{quota:,} a day are allowed",
        "ask again after midnight UTC, send more rows in a request, or ask for a higher quota",
        after=(tomorrow - now).total_seconds(),
    )
