"""Time as a value: processes that need "now" are handed a clock, judges are handed the time."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Clock = Callable[[], datetime]
"""Returns the current time, always timezone-aware UTC."""


def system_clock() -> datetime:
    """The machine's time, UTC."""
    return datetime.now(UTC)


@dataclass
class FrozenClock:
    """A clock that moves only when told; for tests, replays and simulation."""

    at: datetime

    def __call__(self) -> datetime:
        """The moment it was set to."""
        return self.at

    def advance(self, by: timedelta) -> None:
        """Move forward by `by`."""
        self.at += by


def utc(moment: datetime) -> datetime:
    """`moment` in UTC; a naive one is taken to be UTC already."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def midnight(moment: datetime) -> datetime:
    """When the day of `moment` began, UTC."""
    return utc(moment).replace(hour=0, minute=0, second=0, microsecond=0)


def microseconds(moment: datetime) -> int:
    """Since 1970, UTC."""
    return round((utc(moment) - _EPOCH) / timedelta(microseconds=1))


def from_microseconds(since: int) -> datetime:
    """The inverse of `microseconds`; also of NumPy's numbers."""
    return _EPOCH + timedelta(microseconds=int(since))


_counter_lock = threading.Lock()
_last = 0


def new_id() -> str:
    """A new 26-digit hexadecimal id: 12 digits of milliseconds, 4 of sequence, 10 random.

    Ids sort by the time they were made, so a range of ids is a range of time: min/max statistics of a
    table's files prune a search by id. Source: the layout of UUID version 7, RFC 9562, shortened.
    """
    global _last
    with _counter_lock:
        stamp = max(time.time_ns() // 1_000_000 << 16, _last + 1)
        _last = stamp
    return f"{stamp:016x}{os.urandom(5).hex()}"
