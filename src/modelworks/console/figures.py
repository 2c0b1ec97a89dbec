"""Small pictures as SVG that stands inside a page: they follow its colours, and need nothing from outside."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

_Z = 1.96


def histogram(counts: Sequence[int], width: int = 132, height: int = 26) -> Markup:
    """Bars of counts."""
    most, step = max(counts, default=0) or 1, width / max(len(counts), 1)
    bars = "".join(
        f'<rect x="{at * step:.1f}" y="{height - tall:.1f}" width="{max(step - 1, 1):.1f}" height="{tall:.1f}"/>'
        for at, count in enumerate(counts)
        if (tall := max(1.0, height * count / most) if count else 0.0)
    )
    return Markup(  # noqa: S704 - numbers only
        f'<svg class="bars" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="Histogram">{bars}</svg>'
    )


def scale(rows: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """The least and the largest of what `whisker` shows of some rows."""
    values = [
        value
        for row in rows
        for value in (row["value"], row["beside"], *(row["interval"] or ()))
        if value is not None and math.isfinite(value)
    ]
    low, high = min(values, default=0.0), max(values, default=1.0)
    margin = (high - low) * 0.04 or abs(high) * 0.04 or 0.04
    return low - margin, high + margin


def whisker(row: Mapping[str, Any], low: float, high: float, middle: float | None = None) -> Markup:
    """A value with its interval; the other version's as a ring; a line where the value of all rows is."""
    width, height = 220, 18

    def x(value: float) -> str:
        return f"{6 + (width - 12) * (value - low) / ((high - low) or 1):.1f}"

    parts = [f'<line class="axis" x1="6" x2="{width - 6}" y1="9" y2="9"/>']
    if middle is not None:
        parts.append(f'<line class="mean" x1="{x(middle)}" x2="{x(middle)}" y1="0" y2="18"/>')
    if row["interval"]:
        a, b = row["interval"]
        parts.append(f'<line class="reach" x1="{x(a)}" x2="{x(b)}" y1="9" y2="9"/>')
    if row["beside"] is not None:
        parts.append(f'<circle class="ring" cx="{x(row["beside"])}" cy="9" r="4"/>')
    if row["value"] is not None:
        parts.append(f'<circle class="dot" cx="{x(row["value"])}" cy="9" r="4"/>')
    return Markup(  # noqa: S704 - numbers only
        f'<svg class="whisker" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="Value and interval">{"".join(parts)}</svg>'
    )


def reliability(bins: Sequence[Mapping[str, Any]], spread: Sequence[int]) -> Markup:
    """Predicted probability against what happened, with 95 % intervals; below, how often what was predicted.

    Args:
        bins: See `registry.gates.evidence.Bin`.
        spread: Rows in bins of equal width between 0 and 1.
    """
    size, left, top, foot = 300, 54, 12, 56
    width, height = left + size + 24, top + size + foot + 34

    def x(value: float) -> float:
        return left + size * value

    def y(value: float) -> float:
        return top + size * (1 - min(max(value, 0.0), 1.0))

    parts = [f'<rect class="frame" x="{left}" y="{top}" width="{size}" height="{size}"/>']
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(
            f'<line class="grid" x1="{left}" x2="{left + size}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        )
        parts.append(
            f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{top}" y2="{top + size}"/>'
        )
        parts.append(f'<text x="{left - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:.0%}</text>')
        parts.append(
            f'<text x="{x(tick):.1f}" y="{top + size + foot + 16}" text-anchor="middle">{tick:.0%}</text>'
        )
    parts.append(f'<line class="ideal" x1="{x(0)}" y1="{y(0)}" x2="{x(1)}" y2="{y(1)}"/>')
    most, floor, wide = max(spread, default=1) or 1, top + size + foot, size / max(len(spread), 1)
    for at, count in enumerate(spread):
        tall = 44 * count / most
        parts.append(
            f'<rect class="count" x="{left + at * wide:.1f}" width="{wide - 1:.1f}" y="{floor - tall:.1f}" '
            f'height="{tall:.1f}"/>'
        )
    points = []
    for one in bins:
        p, share, rows = one["predicted"], one["happened"], one["rows"]
        low, high = _wilson(share, rows)
        px = x(p)
        points.append(f"{px:.1f},{y(share):.1f}")
        parts.append(
            f'<line class="reach" x1="{px:.1f}" x2="{px:.1f}" y1="{y(low):.1f}" y2="{y(high):.1f}"/>'
        )
    parts.append(f'<polyline class="curve" points="{" ".join(points)}"/>')
    parts += [
        f'<circle class="dot" cx="{x(one["predicted"]):.1f}" cy="{y(one["happened"]):.1f}" r="4"/>'
        for one in bins
    ]
    parts.append(
        f'<text x="{left + size / 2}" y="{height - 2}" text-anchor="middle">predicted (bars: rows)</text>'
        f'<text x="12" y="{top + size / 2}" text-anchor="middle" transform="rotate(-90 12 {top + size / 2})">'
        "happened</text>"
    )
    return Markup(  # noqa: S704 - numbers only
        f'<svg class="reliability" viewBox="0 0 {width} {height}" width="{width}" role="img" '
        f'aria-label="Predicted probability against what happened">{"".join(parts)}</svg>'
    )


def _wilson(share: float, rows: int) -> tuple[float, float]:
    middle = (share + _Z**2 / (2 * rows)) / (1 + _Z**2 / rows)
    reach = _Z / (1 + _Z**2 / rows) * math.sqrt(share * (1 - share) / rows + _Z**2 / (4 * rows**2))
    return middle - reach, middle + reach


def courses(lines: Mapping[str, Sequence[float | None]], ticks: Sequence[str]) -> Markup:
    """Lines over time, one a name, in the colours ``c0``, ``c1``, ... of the page.

    Args:
        lines: Values by tick; ``None`` where there is none.
        ticks: What stands below.
    """
    width, height, left, foot = 860, 280, 62, 26
    values = [value for line in lines.values() for value in line if value is not None]
    low, high = min(values, default=0.0), max(values, default=1.0)
    span, step = (high - low) or 1.0, (width - left - 40) / max(len(ticks) - 1, 1)

    def point(at: int, value: float) -> str:
        return f"{left + at * step:.1f},{12 + (height - foot - 24) * (high - value) / span:.1f}"

    parts = []
    for share in (0.0, 0.5, 1.0):
        y = 12 + (height - foot - 24) * share
        parts.append(f'<line class="grid" x1="{left}" x2="{width - 16}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(
            f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{high - span * share:.4g}</text>'
        )
    for at, tick in enumerate(ticks):
        parts.append(
            f'<text x="{left + at * step:.1f}" y="{height - 6}" text-anchor="middle">{escape(tick)}</text>'
        )
    for number, line in enumerate(lines.values()):
        points = " ".join(point(at, value) for at, value in enumerate(line) if value is not None)
        parts.append(f'<polyline class="line c{number}" points="{points}"/>')
    return Markup(  # noqa: S704 - numbers, and ticks that are escaped
        f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" aria-label="By month">'
        f"{''.join(parts)}</svg>"
    )


def frontier(points: Sequence[tuple[str, float, float, bool]], across: str, up: str) -> Markup:
    """Points with their names; those that no other one beats are joined.

    Args:
        points: Name, place across, place up, whether no other one beats it.
        across: What is across.
        up: What is up; the least is below.
    """
    width, height, left, foot = 860, 320, 74, 44
    costs, values = [one[1] for one in points] or [0.0], [one[2] for one in points] or [0.0]
    wide, tall = (max(costs) - min(costs)) or 1.0, (max(values) - min(values)) or 1.0

    def x(value: float) -> float:
        return left + 24 + (width - left - 220) * (value - min(costs)) / wide

    def y(value: float) -> float:
        return 24 + (height - foot - 60) * (1 - (value - min(values)) / tall)

    best = sorted((one for one in points if one[3]), key=lambda one: one[1])
    joined = " ".join(f"{x(one[1]):.1f},{y(one[2]):.1f}" for one in best)
    parts = [
        f'<line class="axis" x1="{left}" x2="{width - 16}" y1="{height - foot}" y2="{height - foot}"/>',
        f'<polyline class="ideal" fill="none" points="{joined}"/>',
    ]
    for number, (name, cost, value, _) in enumerate(points):
        parts.append(f'<circle class="fill c{number}" cx="{x(cost):.1f}" cy="{y(value):.1f}" r="6"/>')
        parts.append(
            f'<text x="{x(cost) + 10:.1f}" y="{y(value) + 4:.1f}">{escape(name)}: {value:.4f}, {cost:,.0f}</text>'
        )
    parts.append(
        f'<text x="{width / 2}" y="{height - 12}" text-anchor="middle">{escape(across)}</text>'
        f'<text x="14" y="{height / 2}" text-anchor="middle" transform="rotate(-90 14 {height / 2})">'
        f"{escape(up)}</text>"
    )
    return Markup(  # noqa: S704 - numbers, and names that are escaped
        f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" aria-label="Frontier">'
        f"{''.join(parts)}</svg>"
    )
