"""Alerts in the ledger: opened, brought up to date, closed, listed, marked by people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, func, insert, select, update

from modelworks.core.errors import Conflict, NotFound
from modelworks.core.plain import plain
from modelworks.core.ref import Segment, segment_text
from modelworks.monitor import incidents
from modelworks.monitor.alerting import Finding, Kind
from modelworks.monitor.incidents import Began, features_of
from modelworks.stores.ledger.portable import queue_up
from modelworks.stores.ledger.tables import alerts, models

_ABOUT = "dataset:"
"""What the name of a dataset has before it, where an alert is about data."""
_INCIDENT: ColumnElement[int] = func.coalesce(alerts.c.incident, alerts.c.id)


def settle(
    db: Connection,
    model: str,
    found: Sequence[Finding],
    staying: Set[tuple[Segment, str]],
    now: datetime,
    kinds: Set[Kind] | None = None,
    family: str | None = None,
) -> int:
    """Open what is new, bring what is open up to date, close what is over; returns the number opened.

    There is at most one open alert of a kind for a segment; one that is found only by the easier limits stays
    open as it was, and if it is one of many segments it stands for each of them. Where only some `kinds`,
    or those that begin with `family`, were judged, others stay as they are.
    """
    queue_up(db, f"alerts {model}")
    query = select(alerts).where(alerts.c.model == model, alerts.c.closed.is_(None))
    if kinds is not None:
        judged = alerts.c.kind.in_(kinds)
        query = query.where(judged if family is None else judged | alerts.c.kind.startswith(family))
    open_ones: dict[tuple[str, str], Row[Any]] = {(row.segment, row.kind): row for row in db.execute(query)}
    fresh = []
    many = {
        kind
        for (segment, kind), row in open_ones.items()
        if not segment and "segments" in row.evidence and ((), kind) in staying
    }
    many -= {one.kind for one in found if not one.segment}
    for one in found:
        known = open_ones.pop((segment_text(one.segment), one.kind), None)
        if known is None:
            if one.kind not in many:
                fresh.append(one)
        elif known.message != one.message:
            db.execute(update(alerts).where(alerts.c.id == known.id).values(**_said(one)))
    if fresh:
        _open(db, model, fresh, now)
    kept = {(segment_text(segment), kind) for segment, kind in staying}
    over = [row.id for key, row in open_ones.items() if key not in kept]
    if over:
        db.execute(update(alerts).where(alerts.c.id.in_(over)).values(closed=now))
    return len(fresh)


def _open(db: Connection, model: str, fresh: Sequence[Finding], now: datetime) -> None:
    """Open alerts, each as part of the incident that it belongs to."""
    datasets = {row.name: row.dataset for row in db.execute(select(models.c.name, models.c.dataset))}

    def began(model: str, kind: str, evidence: Mapping[str, Any], opened: datetime, of: int | None) -> Began:
        about = model.removeprefix(_ABOUT) if model.startswith(_ABOUT) else datasets.get(model)
        return Began(model, about, kind, opened, features_of(evidence), of)

    recent = select(alerts, _INCIDENT.label("of")).where(
        alerts.c.closed.is_(None), alerts.c.opened >= now - incidents.NEAR
    )
    others = [began(row.model, row.kind, row.evidence, row.opened, row.of) for row in db.execute(recent)]
    for one in fresh:
        new = began(model, one.kind, one.evidence, now, None)
        part = incidents.belongs(new, others)
        place = {"model": model, "segment": segment_text(one.segment), "kind": one.kind, "opened": now}
        made = db.execute(insert(alerts).values(**place, **_said(one), incident=part))
        (identifier,) = made.inserted_primary_key or (0,)
        others.append(began(model, one.kind, one.evidence, now, part or identifier))


def _said(one: Finding) -> dict[str, Any]:
    return {"message": one.message, "severity": one.severity, "evidence": plain(one.evidence)}


def listed(
    db: Connection, model: str | None, open_only: bool, limit: int, incident: int | None = None
) -> list[dict[str, Any]]:
    """Alerts, the newest first."""
    query = select(alerts).order_by(alerts.c.opened.desc(), alerts.c.id.desc()).limit(limit)
    if model is not None:
        query = query.where(alerts.c.model == model)
    if open_only:
        query = query.where(alerts.c.closed.is_(None))
    if incident is not None:
        query = query.where(_INCIDENT.in_([incident]))
    return _rows(db, query)


def listed_incidents(db: Connection, open_only: bool, limit: int) -> list[dict[str, Any]]:
    """Incidents, the newest first; see `monitor.incidents.told`."""
    newest = (
        select(_INCIDENT).group_by(_INCIDENT).order_by(func.max(alerts.c.opened).desc(), _INCIDENT.desc())
    )
    if open_only:
        newest = newest.where(alerts.c.closed.is_(None))
    return incidents.told(_rows(db, select(alerts).where(_INCIDENT.in_(newest.limit(limit)))))


def mark(db: Connection, alert: int, whole: bool, values: Mapping[str, Any]) -> dict[str, Any]:
    """Write something down about an open alert; returns the alert.

    Args:
        db: An open transaction.
        alert: Its number.
        whole: About all that are open of its incident.
        values: By column.

    Raises:
        NotFound: there is none of that number.
        Conflict: it is over.
    """
    found = db.execute(select(alerts).where(alerts.c.id == alert)).mappings().one_or_none()
    if found is None:
        raise NotFound(f"there is no alert {alert}", "", "'modelworks alerts' lists them")
    mine = alerts.c.id == alert
    if whole:
        mine = _INCIDENT.in_([found["incident"] or alert])
    changed = db.execute(update(alerts).where(mine, alerts.c.closed.is_(None)).values(**values)).rowcount
    if not changed:
        raise Conflict(f"alert {alert} is over", f"since {found['closed']:%Y-%m-%d %H:%M}", "")
    return {**found, **values, "alerts": changed}


def _rows(db: Connection, query: Select[Any]) -> list[dict[str, Any]]:
    return [dict(row) for row in db.execute(query).mappings()]
