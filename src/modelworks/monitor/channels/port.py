"""The port of channels: how people are told of alerts that do not look at a console."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

_LISTED = 20
"""Alerts that a message names one by one."""


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
    """

    id: int
    event: Literal["opened", "closed"]
    model: str
    segment: str
    kind: str
    severity: str
    message: str
    at: datetime

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
        parts = [
            f"{len(opened)} alerts" if opened else "",
            f"{critical} of them critical" if critical else "",
        ]
        closed = len(self.alerts) - len(opened)
        parts.append(f"{closed} over" if closed else "")
        return f"[{self.project}] {', '.join(part for part in parts if part)}"

    @property
    def text(self) -> str:
        """All of it."""
        lines = [f"- {one.line}" for one in self.alerts[:_LISTED]]
        if len(self.alerts) > _LISTED:
            lines.append(f"- and {len(self.alerts) - _LISTED} more: modelworks alerts")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """As data."""
        alerts = [{**vars(one), "at": one.at.isoformat()} for one in self.alerts]
        return {"id": self.id, "project": self.project, "title": self.title, "alerts": alerts}


class Channel(Protocol):
    """Tells people, or another system."""

    def send(self, notice: Notice) -> None:
        """Tell it; returns when the other side has taken it.

        Raises:
            Unavailable: it has not, or nobody knows.
        """
        ...
