"""What runs are found by: every parameter, metric and tag as a row of its own, `ledger.tables.run_values`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from modelworks.core.plain import to_json

_LONGEST = 500
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def rows(
    run: str, params: Mapping[str, Any], metrics: Mapping[str, Any], tags: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """The rows of a run that has said all it has to say."""
    for name, value in params.items():
        yield param(run, name, value)
    for name, value in metrics.items():
        yield metric(run, name, math.nan if value is None else float(value))
    for name, value in tags.items():
        yield tag(run, name, str(value))


def param(run: str, name: str, value: Any) -> dict[str, Any]:
    """A parameter: its text, and the number that it is or reads as."""
    text = value if isinstance(value, str) else to_json(value).decode()
    number = float(text) if _NUMBER.fullmatch(text) else math.nan
    return _row(run, f"params.{name}", number if math.isfinite(number) else None, text[:_LONGEST])


def metric(
    run: str,
    name: str,
    value: float,
    step: int | None = None,
    time: int | None = None,
    points: int | None = None,
) -> dict[str, Any]:
    """A metric: its newest point. What is not finite cannot be compared: it stands as a text."""
    finite = math.isfinite(value)
    text = None if finite else repr(value)
    return _row(run, f"metrics.{name}", value if finite else None, text, step, time, points)


def tag(run: str, name: str, value: str) -> dict[str, Any]:
    """A tag."""
    return _row(run, f"tags.{name}", None, value[:_LONGEST])


def _row(
    run: str,
    field: str,
    number: float | None,
    text: str | None,
    step: int | None = None,
    time: int | None = None,
    points: int | None = None,
) -> dict[str, Any]:
    return {
        "run": run,
        "field": field,
        "number": number,
        "text": text,
        "step": step,
        "time": time,
        "points": points,
    }
