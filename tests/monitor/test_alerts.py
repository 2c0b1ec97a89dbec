"""Alerts in a ledger of each kind: one for one cause, however often and by however many they are settled."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from modelworks.core.ref import Segment
from modelworks.monitor.alerting import Finding
from modelworks.monitor.alerts import listed, settle
from modelworks.stores.ledger import Ledger

NOW = datetime(2024, 6, 1, tzinfo=UTC)
SEGMENTS: tuple[Segment, ...] = (("UA",), ("AA",), ("B6",))


@pytest.fixture
def ledger(tmp_path: Path, ledger_url: str) -> Iterator[Ledger]:
    yield (made := Ledger(ledger_url or f"sqlite:///{tmp_path / 'ledger.db'}"))
    made.close()


def worse(*segments: Segment) -> list[Finding]:
    """Findings of segments, of many in one."""
    if len(segments) == len(SEGMENTS):
        return [Finding((), "performance", "critical", "3 segments are worse", {"segments": 3})]
    return [Finding(one, "performance", "critical", f"{one[0]} is worse") for one in segments]


def still_open(ledger: Ledger) -> list[str]:
    with ledger.read() as db:
        return sorted(one["segment"] for one in listed(db, "delay", True, 100))


def test_what_many_segments_have_stands_for_each_while_it_lasts(ledger: Ledger) -> None:
    """One of three is at the border: neither the alert nor those of the other two come and go with it."""
    opened = []
    for day, strict in enumerate([3, 2, 3, 2, 2]):
        staying = {(one.segment, one.kind) for one in worse(*SEGMENTS)}
        with ledger.write() as db:
            found = worse(*SEGMENTS[:strict])
            opened.append(settle(db, "delay", found, staying, NOW + timedelta(days=day)))
    assert opened == [1, 0, 0, 0, 0]
    assert still_open(ledger) == [""]
    with ledger.write() as db:  # it is over for the third: the others speak for themselves
        kept = {(one.segment, one.kind) for one in worse(*SEGMENTS[:2])}
        assert settle(db, "delay", worse(*SEGMENTS[:2]), kept, NOW + timedelta(days=9)) == 2
    assert still_open(ledger) == ["AA", "UA"]


def test_what_the_global_one_has_stands_for_no_other(ledger: Ledger) -> None:
    whole = Finding((), "performance", "critical", "the global one is worse", {"loss": 0.7})
    with ledger.write() as db:
        assert settle(db, "delay", [whole], set(), NOW) == 1
    with ledger.write() as db:
        assert settle(db, "delay", worse(("UA",)), {((), "performance")}, NOW + timedelta(days=1)) == 1
    assert still_open(ledger) == ["", "UA"]


def test_two_that_find_the_same_open_one_alert(ledger: Ledger) -> None:
    def other() -> None:
        with ledger.write() as db:
            settle(db, "delay", worse(("UA",)), set(), NOW)

    thread = threading.Thread(target=other)
    with ledger.write() as db:
        settle(db, "delay", worse(("UA",)), set(), NOW)
        thread.start()
        thread.join(0.5)  # it has to wait
    thread.join(30)
    assert still_open(ledger) == ["UA"]
