"""Telling people of alerts: each once on each channel, again until the channel has taken it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, delete, exists, select, update

from modelworks.config import Settings
from modelworks.core.clock import new_id
from modelworks.core.errors import Invalid, ModelworksError
from modelworks.monitor.alerting import SEVERITIES
from modelworks.monitor.channels.email import Email
from modelworks.monitor.channels.port import Channel, Notice, Told
from modelworks.monitor.channels.slack import Slack
from modelworks.monitor.channels.webhook import Webhook
from modelworks.pipelines.context import Stations
from modelworks.stores.ledger.portable import chunks, insert_many
from modelworks.stores.ledger.tables import alerts, notices

_REMEMBERED = timedelta(days=1)
"""How long ago an alert may have been opened that a channel is told of which is new."""
_AT_ONCE = 500
"""Alerts in one notice."""
_FIRST, _LONGEST = timedelta(seconds=10), timedelta(hours=1)
"""Time before a channel that did not take a notice is tried again; it doubles up to the longest."""


def channels_of(settings: Settings) -> dict[str, Channel]:
    """The channels that the settings name.

    Raises:
        Invalid: one of them cannot be used as it is set.
    """
    if settings.alerts_least not in SEVERITIES:
        raise Invalid(
            f"alerts.least cannot be {settings.alerts_least!r}",
            "",
            f"set it to one of {', '.join(SEVERITIES)}",
        )
    found: dict[str, Channel] = {}
    if settings.alerts_webhook:
        found["webhook"] = Webhook(settings.alerts_webhook, settings.alerts_secret)
    if settings.alerts_slack:
        found["slack"] = Slack(settings.alerts_slack)
    if settings.alerts_email:
        found["email"] = Email(settings.alerts_email, settings.alerts_smtp, settings.alerts_sender)
    return found


def notify(stations: Stations, channels: Mapping[str, Channel], least: str = "warning") -> dict[str, Any]:
    """Tell every channel what it was not told yet.

    A channel that cannot be reached is tried again later, and keeps none of the others waiting. Who dies between
    telling and noting that it was told tells it again, with the same id.

    Args:
        stations: The belt.
        channels: By name.
        least: The least severity.

    Returns:
        By channel the number of alerts that it was told of, or why it was not.
    """
    told: dict[str, Any] = {}
    for name, channel in channels.items():
        with stations.stores.ledger.alone(f"notify {name}"):
            notice = _next(stations, name, least)
            if notice is None:
                continue
            try:
                channel.send(notice)
            except ModelworksError as error:
                _failed(stations, notice, error)
                told[name] = str(error)
            else:
                _heard(stations, name, notice)
                told[name] = len(notice.alerts)
    return told


def try_out(stations: Stations, channels: Mapping[str, Channel]) -> dict[str, str]:
    """Send a message that says that it is a test; by channel ``""``, or why it did not get there."""
    now = stations.clock()
    message = "this is a test of where alerts go"
    told = Told(0, "opened", "", "", "test", "warning", message, now)
    found = {}
    for name, channel in channels.items():
        try:
            channel.send(Notice(new_id(), stations.project.root.name, [told]))
            found[name] = ""
        except ModelworksError as error:
            found[name] = str(error)
    return found


def _next(stations: Stations, channel: str, least: str) -> Notice | None:
    """The notice that a channel is to be told now: one that it did not take, or what is new, written down first."""
    now, ledger = stations.clock(), stations.stores.ledger
    with ledger.read() as db:  # each second: a write only where there is something to tell
        waiting = db.execute(
            select(notices.c.notice, notices.c.due)
            .where(notices.c.channel == channel, notices.c.sent.is_(None))
            .order_by(notices.c.due)
            .limit(1)
        ).one_or_none()
        if waiting is not None:
            return _notice(db, stations, waiting.notice) if waiting.due <= now else None
        fresh = _fresh(db, channel, least, now)
    if not fresh:
        return None
    identifier = new_id()
    rows = [
        {"notice": identifier, "channel": channel, "alert": alert, "event": event, "tries": 0, "due": now}
        for alert, event in fresh
    ]
    with ledger.write() as db:
        insert_many(db, notices, rows)
        return _notice(db, stations, identifier)


def _fresh(db: Connection, channel: str, least: str, now: datetime) -> list[tuple[int, str]]:
    """Alerts that a channel was not told of yet, each with what it is to be told of it."""
    told = notices.alias()

    def heard(event: str, alert: Any) -> Any:
        return exists().where(told.c.channel == channel, told.c.alert == alert, told.c.event == event)

    severe = alerts.c.severity.in_(SEVERITIES[SEVERITIES.index(least) :])
    awake = alerts.c.snoozed.is_(None) | (alerts.c.snoozed <= now)
    recent = and_(alerts.c.opened > now - _REMEMBERED, awake)
    opened = select(alerts.c.id).where(
        alerts.c.closed.is_(None), recent | (alerts.c.snoozed <= now), severe, ~heard("opened", alerts.c.id)
    )
    n = notices.c
    over = (
        select(n.alert)
        .join(alerts, alerts.c.id == n.alert)
        .where(n.channel == channel, n.event == "opened", alerts.c.closed.is_not(None))
        .where(~heard("closed", n.alert))
    )
    return [
        (alert, event)
        for event, which, order in (("opened", opened, alerts.c.id), ("closed", over, n.alert))
        for alert in db.scalars(which.order_by(order).limit(_AT_ONCE))
    ]


def _heard(stations: Stations, channel: str, notice: Notice) -> None:
    """Note that a channel has taken a notice; nothing has to be kept of alerts that it knows to be over."""
    over = [one.id for one in notice.alerts if one.event == "closed"]
    with stations.stores.ledger.write() as db:
        db.execute(update(notices).where(notices.c.notice == notice.id).values(sent=stations.clock()))
        for some in chunks(over):
            db.execute(delete(notices).where(notices.c.channel == channel, notices.c.alert.in_(some)))


def _notice(db: Connection, stations: Stations, identifier: str) -> Notice:
    return Notice(identifier, stations.project.root.name, _alerts(db, identifier))


def _alerts(db: Connection, notice: str) -> list[Told]:
    query = (
        select(notices.c.event, alerts)
        .join(alerts, alerts.c.id == notices.c.alert)
        .where(notices.c.notice == notice)
        .order_by(notices.c.event.desc(), alerts.c.id)
    )
    return [
        Told(
            row.id,
            row.event,
            row.model,
            row.segment,
            row.kind,
            row.severity,
            row.message,
            row.opened if row.event == "opened" else row.closed,
            row.incident or row.id,
        )
        for row in db.execute(query)
    ]


def _failed(stations: Stations, notice: Notice, error: ModelworksError) -> None:
    with stations.stores.ledger.write() as db:
        mine = notices.c.notice == notice.id
        tries = db.scalars(select(notices.c.tries).where(mine).limit(1)).one() + 1
        due = stations.clock() + min(_FIRST * 2 ** min(tries - 1, 20), _LONGEST)
        db.execute(update(notices).where(mine).values(tries=tries, due=due, error=str(error)[:500]))
