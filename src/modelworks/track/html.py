"""A run as HTML, for notebooks: one block, no scripts, nothing loaded from elsewhere."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

_STYLE = (
    "font-family:system-ui,sans-serif;font-size:13px;border:1px solid #8884;border-radius:6px;"
    "padding:10px 14px;display:inline-block;max-width:60em"
)
_COLORS = {
    "done": "#2a7d46",
    "running": "#2563a8",
    "failed": "#b3261e",
    "killed": "#b3261e",
    "lost": "#a15c00",
}
_WIDTH, _HEIGHT = 160, 28
_MOST = 60


def run_html(told: Mapping[str, Any], courses: Mapping[str, Sequence[float]] | None = None) -> str:
    """A run's name and state, its metrics with their courses, its parameters, tags and artifacts."""
    color = _COLORS.get(told["status"], "#666")
    head = (
        f"<b>{escape(told['name'])}</b> <span style='color:{color}'>{escape(told['status'])}</span> "
        f"<code>{escape(told['id'])}</code>"
    )
    if told.get("experiment"):
        head += f" in {escape(told['experiment'])}"
    parts = [head]
    metrics = [
        f"<td>{_text(value)}</td><td>{spark((courses or {}).get(name, ()))}</td>"
        for name, value in told["metrics"].items()
    ]
    parts.append(_table("metrics", told["metrics"], metrics))
    parts += [
        _table(kind, told[kind], [f"<td>{_text(value)}</td>" for value in told[kind].values()])
        for kind in ("params", "tags")
    ]
    if told["artifacts"]:
        parts.append("<div>artifacts: " + ", ".join(map(escape, told["artifacts"])) + "</div>")
    return f"<div style='{_STYLE}'>{''.join(part for part in parts if part)}</div>"


def spark(values: Sequence[float]) -> str:
    """A course as a small drawing."""
    finite = [(at, value) for at, value in enumerate(values) if math.isfinite(value)]
    if len(finite) < 2:
        return ""
    low, high = min(value for _, value in finite), max(value for _, value in finite)
    wide, tall = max(len(values) - 1, 1), (high - low) or 1.0
    places = " ".join(
        f"{at / wide * _WIDTH:.1f},{2 + (high - value) / tall * (_HEIGHT - 4):.1f}" for at, value in finite
    )
    return (
        f"<svg width='{_WIDTH}' height='{_HEIGHT}' role='img'>"
        f"<polyline points='{places}' fill='none' stroke='#2563a8' stroke-width='1.5'/></svg>"
    )


def _table(kind: str, names: Mapping[str, Any], cells: Sequence[str]) -> str:
    if not names:
        return ""
    rows = "".join(
        f"<tr><td style='opacity:.7;padding-right:1em'>{escape(name)}</td>{cell}</tr>"
        for name, cell in list(zip(names, cells, strict=True))[:_MOST]
    )
    more = f"<tr><td>and {len(names) - _MOST} more</td></tr>" if len(names) > _MOST else ""
    return f"<div style='margin-top:6px'><i>{kind}</i><table>{rows}{more}</table></div>"


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "-" if value is None else escape(str(value)[:200])
