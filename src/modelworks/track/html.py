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
_SOFT = "opacity:.65"
# Notebooks stripe tables and align what is in them to the right.
_BARE = "background:none;border:0;padding:2px 0;text-align:left;vertical-align:middle"
_COLORS = {
    "done": "#2a7d46",
    "running": "#2563a8",
    "failed": "#b3261e",
    "killed": "#b3261e",
    "lost": "#a15c00",
}
_WIDTH, _HEIGHT = 160, 28
_MOST = 60


def run_html(
    told: Mapping[str, Any], courses: Mapping[str, Sequence[float]] | None = None, made: str = ""
) -> str:
    """A run's name and state, its metrics with their courses, its parameters, tags and artifacts.

    Args:
        told: The run.
        courses: The course of each metric.
        made: The model version that it made, in words.
    """
    head = f"<b style='font-size:15px'>{escape(told['name'])}</b> &nbsp;{_state(told['status'])}"
    if told.get("experiment"):
        head += f" &nbsp;in {escape(told['experiment'])}"
    head += f"<div style='{_SOFT};font-family:monospace;font-size:11px'>{escape(told['id'])}</div>"
    metrics = [
        f"{_cell(value, number=True)}<td style='{_BARE}'>{spark((courses or {}).get(name, ()))}</td>"
        for name, value in told["metrics"].items()
    ]
    tables = [_table("metrics", told["metrics"], metrics)]
    tables += [
        _table(kind, told[kind], [_cell(value) for value in told[kind].values()])
        for kind in ("params", "tags")
    ]
    body = "".join(part for part in tables if part)
    foot = (
        [f"made <b>{escape(made.partition(',')[0])}</b>{escape(''.join(made.partition(',')[1:]))}"]
        if made
        else []
    )
    if told["artifacts"]:
        foot.append("artifacts: " + ", ".join(map(escape, told["artifacts"])))
    ends = "".join(f"<div style='margin-top:8px'>{line}</div>" for line in foot)
    return f"<div style='{_STYLE}'>{head}<div style='display:flex;flex-wrap:wrap;gap:0 36px'>{body}</div>{ends}</div>"


def _state(status: str) -> str:
    """A status as a coloured label."""
    color = _COLORS.get(status, "#666")
    style = f"color:{color};border:1px solid {color};border-radius:9px;padding:0 8px"
    return f"<span style='{style}'>{escape(status)}</span>"


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
        f"<tr style='background:none'><td style='{_BARE};{_SOFT};padding-right:1.5em'>{escape(name)}</td>{cell}</tr>"
        for name, cell in list(zip(names, cells, strict=True))[:_MOST]
    )
    more = f"<tr><td>and {len(names) - _MOST} more</td></tr>" if len(names) > _MOST else ""
    table = f"<table style='border:0;margin:0;border-collapse:collapse'>{rows}{more}</table>"
    return f"<div style='margin-top:10px'><div style='font-weight:600;margin-bottom:2px'>{kind}</div>{table}</div>"


def _cell(value: Any, *, number: bool = False) -> str:
    align = ";text-align:right;font-variant-numeric:tabular-nums;padding-right:1em" if number else ""
    return f"<td style='{_BARE}{align}'>{_text(value)}</td>"


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "-" if value is None else escape(str(value)[:200])


def server_html(url: str, running: bool) -> str:
    """A server: where it answers, where people look."""
    state = _state("running" if running else "stopped")
    link = "<a href='{0}' target='_blank'>{1}</a>"
    console, docs = link.format(f"{url}/", f"{url}/"), link.format(f"{url}/docs", "API")
    return (
        f"<div style='{_STYLE}'><b>Server</b> &nbsp;{state}<br>console {console} &nbsp; "
        f"{docs}<br>predictions <code>POST {url}/predict/MODEL</code></div>"
    )
