"""Lengths of time as people write them: ``"15m"``, ``"1d"``."""

from __future__ import annotations

from datetime import timedelta

from modelworks.core.errors import Invalid

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


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
