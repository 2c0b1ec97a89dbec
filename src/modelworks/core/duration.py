"""Lengths of time, and moments, as people write them: ``"15m"``, ``"1d"``."""

from __future__ import annotations

from datetime import datetime, timedelta

from modelworks.core.clock import utc
from modelworks.core.errors import Invalid

_LONGEST = timedelta(days=365_000)
"""A thousand years: what is longer leads out of the calendar."""
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def duration(text: str) -> timedelta:
    """Read ``"90s"``, ``"15m"``, ``"6h"``, ``"1d"`` or ``"2w"``.

    Raises:
        Invalid: `text` is none of these.
    """
    number, unit = text[:-1], text[-1:]
    try:
        if unit in _UNITS:
            found = timedelta(seconds=float(number) * _UNITS[unit])
            if timedelta(0) < found <= _LONGEST:
                return found
    except (ValueError, OverflowError):
        pass
    raise Invalid(f"{text!r} is not a duration", "", "write a number and s, m, h, d or w, for instance '1d'")


def moment(text: str, now: datetime) -> datetime:
    """Read a time as ISO 8601, UTC where it says nothing else, or a duration: that long before `now`.

    Raises:
        Invalid: `text` is neither.
    """
    try:
        return utc(datetime.fromisoformat(text))
    except ValueError:
        pass
    try:
        return now - duration(text)
    except (Invalid, OverflowError):
        raise Invalid(
            f"{text!r} is no time", "", "write for instance '2024-05-01T12:00', or '2h' for two hours ago"
        ) from None


def days_back(days: int | None, usual: int = 28, least: int = 1, most: int = 3_660) -> int:
    """How many days are looked back at: as many as were asked for, or the usual number.

    Raises:
        Invalid: nobody can mean so many.
    """
    days = usual if days is None else days
    if not least <= days <= most:
        raise Invalid(f"{days} days cannot be looked at", "", f"ask for {least} to {most}")
    return days
