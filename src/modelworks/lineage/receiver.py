"""Who is told of the lineage, and what they were told already: each event at least once, whoever is down when."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from sqlalchemy import Connection, delete, func, select

from modelworks.core.clock import Clock
from modelworks.core.errors import Invalid, NotReady, Unavailable
from modelworks.lineage.openlineage import Events
from modelworks.stores.ledger import Ledger
from modelworks.stores.ledger.portable import chunks, upsert
from modelworks.stores.ledger.tables import campaigns, dataset_versions, exported

_log = logging.getLogger("modelworks.lineage")
_TIMEOUT = 5.0
_SLACK = timedelta(days=1)
_CAMPAIGNS = "campaigns"
_LAST = 1.0
"""Seconds that a process which ends waits for what is being told; the rest is told the next time."""


def export(
    ledger: Ledger, clock: Clock, to: str, namespace: str, token: str = "", again: bool = False
) -> int:
    """Tell a receiver all that it was not told yet; returns the number of events.

    Args:
        ledger: Where the lineage stands.
        clock: Gives the time.
        to: A file, to which lines of JSON are added, or an ``http://`` or ``https://`` URL.
        namespace: See `Events`.
        token: Sent to the URL as a bearer token.
        again: Tell all of it once more.

    Raises:
        NotReady: the library of events is not installed.
        Invalid: `to` is neither.
        Unavailable: the receiver does not take it; what it took, it is not told again.
    """
    events, total = Events(namespace), 0
    # Two at once would only say the same twice.
    with ledger.alone(f"export {_name(to)}"), _transport(to, token) as send:
        if again:
            with ledger.write() as db:
                db.execute(delete(exported).where(exported.c.receiver == _name(to)))
        for dataset, version in _versions(ledger, _name(to)):
            total += _sent(send, events.ingest(ledger, dataset, version), to)
            _remember(ledger, to, f"dataset:{dataset}", str(version))
        for campaign in _campaigns(ledger, _name(to)):
            total += _sent(send, events.campaign(ledger, campaign), to)
            _remember(ledger, to, f"campaign:{campaign}", "")
        _forget_passed(ledger, to, clock())
    return total


def _told(db: Connection, receiver: str, nodes: str) -> dict[str, str]:
    """Node to position, of what a receiver was told."""
    e = exported.c
    query = select(e.node, e.position).where(e.receiver == receiver, e.node.like(nodes))
    return {row.node: row.position for row in db.execute(query)}


def _versions(ledger: Ledger, receiver: str) -> list[tuple[str, int]]:
    """Dataset versions that the receiver was not told of, the oldest first."""
    v = dataset_versions.c
    with ledger.read() as db:
        told = _told(db, receiver, "dataset:%")
        found = [
            (row.created, name, row.version)
            for name in db.scalars(select(v.dataset).distinct()).all()
            for row in db.execute(
                select(v.created, v.version).where(
                    v.dataset == name, v.version > int(told.get(f"dataset:{name}", 0))
                )
            )
        ]
    return [(name, version) for _, name, version in sorted(found)]


def _campaigns(ledger: Ledger, receiver: str) -> list[str]:
    """Campaigns that are over, and that the receiver was not told of, the oldest first."""
    c = campaigns.c
    with ledger.read() as db:
        told = _told(db, receiver, "campaign%")
        query = select(c.id).where(c.status == "finished", c.id > told.get(_CAMPAIGNS, ""))
        return [one for one in db.scalars(query.order_by(c.id)) if f"campaign:{one}" not in told]


def _remember(ledger: Ledger, to: str, node: str, position: str) -> None:
    with ledger.write() as db:
        upsert(db, exported, [{"receiver": _name(to), "node": node, "position": position}])


def _forget_passed(ledger: Ledger, to: str, now: datetime) -> None:
    """Of campaigns that began long ago, and before any that still runs, one mark says all.

    Ids of campaigns sort by the time they were made, but for the clocks of different machines.
    """
    mark, c = f"{int((now - _SLACK).timestamp() * 1000) << 16:016x}", campaigns.c
    with ledger.write() as db:
        first = db.scalar(select(func.min(c.id)).where(c.status != "finished"))
        mark = mark if first is None else min(mark, first)
        last = db.scalar(select(func.max(c.id)).where(c.id < mark))
        if last is not None:
            mine = exported.c.receiver == _name(to)
            told = [node for node in _told(db, _name(to), "campaign:%") if node <= f"campaign:{last}"]
            for some in chunks(told):
                db.execute(delete(exported).where(mine, exported.c.node.in_(some)))
            upsert(db, exported, [{"receiver": _name(to), "node": _CAMPAIGNS, "position": last}])


def _sent(send: Callable[[Any], Any], events: Iterator[Any], to: str) -> int:
    number = 0
    for event in events:
        try:
            send(event)
        except Exception as error:  # whatever its transport raises
            raise Unavailable(
                f"the lineage could not be told to {public(to)}",
                f"{type(error).__name__}: {error}".replace(to, public(to))[:500],
                "nothing is lost: it is told what it lacks the next time",
            ) from error
        number += 1
    return number


@contextmanager
def _transport(to: str, token: str) -> Iterator[Callable[[Any], Any]]:
    """How events go to a receiver; the library's own ways.

    Raises:
        Invalid: it is neither a file nor a URL of HTTP.
    """
    if "://" not in to:
        from openlineage.client.transport.file import FileConfig, FileTransport

        try:
            Path(to).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Invalid(f"{to} cannot be written", str(error), "name another file") from error
        yield FileTransport(FileConfig(log_file_path=to, append=True)).emit
        return
    parts = urlsplit(to)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Invalid(
            f"the lineage cannot be told to {public(to)!r}", "it is neither a file nor a URL of HTTP",
            "give a path, or http://HOST:PORT",
        )  # fmt: skip
    from openlineage.client.transport.http import (
        ApiKeyTokenProvider,
        HttpConfig,
        HttpTransport,
        TokenProvider,
    )

    config = HttpConfig(
        url=urlunsplit((parts.scheme, parts.netloc, "", "", "")),
        endpoint=parts.path.lstrip("/") or "api/v1/lineage",
        timeout=_TIMEOUT,
        auth=ApiKeyTokenProvider({"apiKey": token}) if token else TokenProvider({}),
        retry={"total": 0},
    )
    transport = HttpTransport(config)
    try:
        yield transport.emit
    finally:
        transport.close(_LAST)


def public(to: str) -> str:
    """A receiver without a password."""
    parts = urlsplit(to)
    return to if parts.password is None else to.replace(f":{parts.password}@", ":***@")


def _name(to: str) -> str:
    """A receiver as the ledger knows it."""
    where = to if "://" in to else str(Path(to).resolve())
    return sha256(public(where).encode()).hexdigest()


class Telling:
    """Tells a receiver what is new beside the work, which never waits for it and never fails by it.

    Args:
        tell: Tells it, once; what it raises is said in the log.
    """

    def __init__(self, tell: Callable[[], int]) -> None:
        self._tell = tell
        self._news, self._over, self._lock = Event(), Event(), Lock()
        self._thread: Thread | None = None

    def news(self) -> None:
        """There is something new."""
        with self._lock:
            if self._thread is None:
                self._thread = Thread(target=self._work, name="lineage", daemon=True)
                self._thread.start()
        self._news.set()

    def close(self) -> None:
        """Wait a moment for what is being told."""
        self._over.set()
        self._news.set()
        if self._thread is not None:
            self._thread.join(_LAST)

    def _work(self) -> None:
        failing = False
        while not self._over.is_set():
            self._news.wait()
            self._news.clear()
            try:
                self._tell()
                failing = False
            except Exception as error:
                if not failing or isinstance(error, NotReady):
                    _log.warning("%s", error)
                failing = True
