"""The port of channels: how people are told of alerts that do not look at a console."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

_LISTED = 20
"""Incidents that a message names one by one."""
_TOGETHER = 3
"""Alerts of an incident that it names."""


@dataclass(frozen=True)
class Told:
    """An alert, as it is told.

    Attributes:
        id: Its number.
        event: Whether it was opened, or is over.
        model: Of which model, or ``dataset:NAME``.
        segment: Text of its segment.
        kind: See `monitor.alerting`.
        severity: ``"info"``, ``"warning"`` or ``"critical"``.
        message: What is wrong, one sentence.
        at: When it was opened or closed.
        incident: The incident that it is part of; `id` where it began one.
    """

    id: int
    event: Literal["opened", "closed"]
    model: str
    segment: str
    kind: str
    severity: str
    message: str
    at: datetime
    incident: int = 0

    @property
    def line(self) -> str:
        """For people."""
        if self.event == "closed":
            return f"over: {self.message}"
        return f"{self.severity}: {self.message}"


@dataclass(frozen=True)
class Notice:
    """What is told at once.

    Attributes:
        id: The same each time it is told again, since nobody knows whether it was heard.
        project: Name of the project.
        alerts: What happened, in order.
    """

    id: str
    project: str
    alerts: Sequence[Told]

    @property
    def title(self) -> str:
        """In a line."""
        opened = [one for one in self.alerts if one.event == "opened"]
        if len(self.alerts) == 1:
            return f"[{self.project}] {self.alerts[0].line}"
        critical = sum(one.severity == "critical" for one in opened)
        incidents = len({one.incident or one.id for one in opened})
        fewer = f" of {incidents} incident{'s' * (incidents > 1)}" if incidents < len(opened) else ""
        parts = [
            f"{len(opened)} alerts{fewer}" if opened else "",
            f"{critical} of them critical" if critical else "",
        ]
        closed = len(self.alerts) - len(opened)
        parts.append(f"{closed} over" if closed else "")
        return f"[{self.project}] {', '.join(part for part in parts if part)}"

    @property
    def text(self) -> str:
        """All of it, by incident."""
        incidents: dict[tuple[str, int], list[Told]] = {}
        for one in self.alerts:
            incidents.setdefault((one.event, one.incident or one.id), []).append(one)
        lines = []
        for (_, incident), some in list(incidents.items())[:_LISTED]:
            lines += [f"- {one.line}" if one is some[0] else f"  - {one.line}" for one in some[:_TOGETHER]]
            if len(some) > _TOGETHER:
                more = len(some) - _TOGETHER
                lines.append(f"  - and {more} more of the same: modelworks alerts --incident {incident}")
        if len(incidents) > _LISTED:
            lines.append(f"- and {len(incidents) - _LISTED} more: modelworks incidents")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """As data."""
        alerts = [
            {**vars(one), "at": one.at.isoformat(), "incident": one.incident or one.id} for one in self.alerts
        ]
        return {"id": self.id, "project": self.project, "title": self.title, "alerts": alerts}


class Channel(Protocol):
    """Tells people, or another system."""

    def send(self, notice: Notice) -> None:
        """Tell it; returns when the other side has taken it.

        Raises:
            Unavailable: it has not, or nobody knows.
        """
        ...
