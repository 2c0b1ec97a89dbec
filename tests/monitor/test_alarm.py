"""A project's own rules: opened by what they say, closed when they say nothing, and never in the way of the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import monitor_world as world
import pytest

from modelworks.core.clock import FrozenClock
from modelworks.core.errors import Invalid
from modelworks.monitor.alarm import Alarm
from modelworks.monitor.station import MonitorStation
from modelworks.monitor.watch import Watch


def busy(seen: Watch) -> str | None:
    return f"{seen.rows} answers" if seen.rows > 60 else None


def told(station: MonitorStation, open_only: bool = True) -> list[tuple[Any, ...]]:
    rows = station.alerts(world.MODEL, open_only, 100)
    return sorted((row["segment"], row["kind"], row["severity"], row["message"]) for row in rows)


def test_an_alarm_opens_says_what_is_new_and_closes(tmp_path: Path) -> None:
    made = world.World(tmp_path)
    station, alarms = MonitorStation(made.stores, FrozenClock(world.START)), [Alarm("busy", busy, "critical")]
    made.day(0)
    made.day(0, n=10, segment="AA")
    assert station.observe(world.MODEL, world.START + world.DAY, alarms=alarms).alerts_opened == 0
    made.day(1)
    assert station.observe(world.MODEL, world.START + 2 * world.DAY, alarms=alarms).alerts_opened == 1
    assert told(station) == [("UA", "rule:busy", "critical", "delay[UA]: 80 answers")]
    made.day(2)
    assert station.observe(world.MODEL, world.START + 3 * world.DAY, alarms=alarms).alerts_opened == 0
    assert told(station) == [("UA", "rule:busy", "critical", "delay[UA]: 120 answers")]
    station.observe(world.MODEL, world.START + 3 * world.DAY)  # it was taken out of the definition
    assert told(station) == []
    assert len(told(station, open_only=False)) == 1
    made.stores.ledger.close()


def test_what_many_segments_say_is_one_alert(tmp_path: Path) -> None:
    made = world.World(tmp_path, ["UA", "AA", "B6", "DL"])
    station = MonitorStation(made.stores, FrozenClock(world.START))
    for segment in ("UA", "AA", "B6"):
        made.day(0, n=70, segment=segment)
    made.day(0, n=10, segment="DL")
    station.observe(world.MODEL, world.START + world.DAY, alarms=[Alarm("busy", busy)])
    ((segment, kind, severity, message),) = told(station)
    assert (segment, kind, severity) == ("", "rule:busy", "warning")
    assert message == "3 of 4 segments of delay: busy; for instance delay[AA]: 70 answers"
    made.stores.ledger.close()


def test_a_rule_that_raises_is_told_and_keeps_no_other_from_being_judged(tmp_path: Path) -> None:
    made = world.World(tmp_path)
    station = MonitorStation(made.stores, FrozenClock(world.START))
    made.day(0, n=70)
    alarms = [Alarm("wrong", lambda seen: str(1 / (seen.version - 1))), Alarm("busy", busy)]
    assert station.observe(world.MODEL, world.START + world.DAY, alarms=alarms).alerts_opened == 2
    assert told(station) == [
        (
            "",
            "rule:wrong",
            "warning",
            "the alarm wrong of delay cannot be judged: ZeroDivisionError: division by zero",
        ),
        ("UA", "rule:busy", "warning", "delay[UA]: 70 answers"),
    ]
    made.stores.ledger.close()


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("a/b", busy), "not a valid name of an alarm"),
        (("b" * 31, busy), "is too long"),
        (("busy", "rows > 60"), "is no function"),
        (("busy", busy, "urgent"), "has the severity"),
    ],
)
def test_an_alarm_that_cannot_be_is_refused(arguments: tuple[Any, ...], what: str) -> None:
    with pytest.raises(Invalid, match=what):
        Alarm(*arguments)
