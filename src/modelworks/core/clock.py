"""Time as a value: processes that need "now" are handed a clock, judges are handed the time."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from modelworks.core.errors import Invalid

Clock = Callable[[], datetime]
"""Returns the current time, always timezone-aware UTC."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def system_clock() -> datetime:
    """The machine's time, UTC."""
    return datetime.now(UTC)


@dataclass
class FrozenClock:
    """A clock that moves only when told; for tests, replays and simulation."""

    at: datetime

    def __call__(self) -> datetime:
        return self.at

    def advance(self, by: timedelta) -> None:
        """Move forward by `by`."""
        self.at += by


def utc(moment: datetime) -> datetime:
    """`moment` in UTC; a naive one is taken to be UTC already."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def duration(text: str) -> timedelta:
    """Read ``"90s"``, ``"15m"``, ``"6h"``, ``"1d"`` or ``"2w"``.

    Raises:
        Invalid: `text` is none of these.
    """
    number, unit = text[:-1], text[-1:]
    try:
        if unit in _UNITS and float(number) > 0:
            return timedelta(seconds=float(number) * _UNITS[unit])
    except (ValueError, OverflowError):
        pass
    raise Invalid(f"{text!r} is not a duration", "", "write a number and s, m, h, d or w, for instance '1d'")


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
