"""Alerts of one cause: what begins within days about the same data, at models that read them, is one incident. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from modelworks.monitor.alerting import SEVERITIES

NEAR = timedelta(days=3)
"""What begins later than this after the newest alert of an incident is another one."""
_DATA = frozenset({"source", "quarantine", "lost", "contract", "stale"})
"""What is wrong with data themselves: it explains all that follows from them."""
_ANSWERS = frozenset({"feature_drift", "slight_drift", "prediction_drift", "performance", "negative_value"})
_OUTCOMES = frozenset({"silent_outcomes", "selective_outcomes"})
_FIRST = ("lost", "source", "contract", "quarantine", "stale", "feature_drift", "silent_outcomes", "volume")
"""Which alert names an incident: what comes first explains the others."""


@dataclass(frozen=True)
class Began:
    """An alert, as far as it matters for what it belongs to.

    Attributes:
        model: Of which model, or ``dataset:NAME``.
        dataset: Which data that is about; ``None`` where they are not known.
        kind: See `monitor.alerting`.
        opened: When.
        features: Those that it names.
        incident: Which it belongs to; ``None`` of a new one.
    """

    model: str
    dataset: str | None
    kind: str
    opened: datetime
    features: frozenset[str] = frozenset()
    incident: int | None = None

    @property
    def scope(self) -> tuple[str, ...] | None:
        """Only alerts of one scope may have one cause; ``None`` where it is the alert's own."""
        if self.kind in _DATA | _ANSWERS and self.dataset is not None:
            return "data", self.dataset
        if self.kind in _OUTCOMES and self.dataset is not None:
            return "outcomes", self.dataset
        return ("traffic",) if self.kind == "volume" else None


def features_of(evidence: Mapping[str, Any]) -> frozenset[str]:
    """The features that an alert names, by its evidence."""
    named = evidence.get("features") or evidence.get("effects") or {}
    return frozenset(named) if isinstance(named, (dict, list)) else frozenset()


def belongs(new: Began, others: Iterable[Began]) -> int | None:
    """The incident that a new alert is part of, the newest of several; ``None`` where it begins one.

    It is of one scope with it, begins at most `NEAR` later than the newest of it, and is of a model that is in it
    already, or has what other models of the same data have: the same kind, of features in common where it names any.
    What is wrong with data is one with all that follows.
    """
    incidents: dict[int, list[Began]] = {}
    for one in others:
        if one.incident is not None and one.scope == new.scope is not None:
            incidents.setdefault(one.incident, []).append(one)
    found = [
        (max(one.opened for one in members), incident)
        for incident, members in incidents.items()
        if any(_one_cause(new, one) for one in members)
    ]
    recent = [(last, incident) for last, incident in found if new.opened - last <= NEAR]
    return max(recent)[1] if recent else None


def _one_cause(new: Began, other: Began) -> bool:
    if new.model == other.model or {new.kind, other.kind} & _DATA:
        return True
    return new.kind == other.kind and (not new.features or bool(new.features & other.features))


def told(alerts: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Incidents of alerts, rows of the table ``alerts``; the newest first, those that are over last."""
    members: dict[int, list[Mapping[str, Any]]] = {}
    for one in alerts:
        members.setdefault(one["incident"] or one["id"], []).append(one)
    found = []
    for incident, some in members.items():
        going = [one for one in some if one["closed"] is None]
        head = min(going or some, key=_weight)
        models = sorted({one["model"] for one in some if not one["model"].startswith("dataset:")})
        seen = {one["acknowledged_by"] for one in going}
        snoozed = [one["snoozed"] for one in going]
        found.append(
            {
                "id": incident,
                "opened": min(one["opened"] for one in some),
                "closed": None if going else max(one["closed"] for one in some),
                "severity": max((one["severity"] for one in going or some), key=SEVERITIES.index),
                "message": head["message"],
                "model": head["model"],
                "kinds": sorted({one["kind"] for one in some}),
                "models": models,
                "open": len(going),
                "alerts": sorted(one["id"] for one in some),
                "acknowledged_by": ", ".join(sorted(filter(None, seen))) if None not in seen else None,
                "snoozed": min(snoozed) if snoozed and None not in snoozed else None,
            }
        )
    found.sort(key=lambda one: (one["closed"] is None, one["opened"], one["id"]), reverse=True)
    return found


def _weight(alert: Mapping[str, Any]) -> tuple[int, int, int]:
    kind = alert["kind"]
    first = _FIRST.index(kind) if kind in _FIRST else len(_FIRST)
    return first, -SEVERITIES.index(alert["severity"]), alert["id"]
