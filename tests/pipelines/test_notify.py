"""Every alert reaches every channel once, whatever happens to who tells it or to the channel."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, update
from typer.testing import CliRunner

from modelworks.cli.app import app
from modelworks.cli.template import make
from modelworks.core.clock import FrozenClock
from modelworks.core.errors import Conflict, Invalid, NotFound, Unavailable
from modelworks.factory import Factory
from modelworks.monitor.channels.port import Notice
from modelworks.pipelines.notify import notify
from modelworks.stores.ledger.tables import alerts, notices

START = datetime(2024, 6, 1, tzinfo=UTC)


class Listener:
    """A channel that keeps what it is told, or does not take it."""

    def __init__(self) -> None:
        self.notices: list[Notice] = []
        self.refuses = False
        self.dies = False

    def send(self, notice: Notice) -> None:
        if self.refuses:
            raise Unavailable("it does not take alerts", "", "")
        self.notices.append(notice)
        if self.dies:
            raise KeyboardInterrupt

    @property
    def heard(self) -> list[tuple[int, str]]:
        return [(one.id, one.event) for notice in self.notices for one in notice.alerts]


@pytest.fixture
def factory(tmp_path: Path) -> Iterator[Factory]:
    make(tmp_path)
    with Factory(tmp_path, clock=FrozenClock(START), who="ann") as opened:
        yield opened


def opened(factory: Factory, severity: str = "warning", **more: Any) -> int:
    """Open an alert; its number."""
    values = {
        "model": "returns", "segment": "", "kind": "drift", "severity": severity, "message": "prices have shifted",
        "evidence": {}, "opened": factory.now(), **more,
    }  # fmt: skip
    with factory.stores.ledger.write() as db:
        return int(db.execute(insert(alerts).values(**values)).inserted_primary_key[0])


def tell(factory: Factory, channel: Listener, least: str = "warning") -> dict[str, Any]:
    return notify(factory.stations, {"listener": channel}, least)


def later(factory: Factory, **by: float) -> None:
    assert isinstance(factory.clock, FrozenClock)
    factory.clock.advance(timedelta(**by))


def test_each_is_told_once_and_once_that_it_is_over(factory: Factory) -> None:
    channel = Listener()
    first, second = opened(factory), opened(factory)
    assert tell(factory, channel) == {"listener": 2}
    assert tell(factory, channel) == {}
    third = opened(factory)
    factory.resolve(first)
    tell(factory, channel)
    tell(factory, channel)
    assert channel.heard == [(first, "opened"), (second, "opened"), (third, "opened"), (first, "closed")]
    assert len(channel.notices) == 2


def test_a_channel_that_does_not_take_it_is_tried_again_later_and_later(factory: Factory) -> None:
    channel, other = Listener(), Listener()
    number = opened(factory)
    channel.refuses = True
    told = notify(factory.stations, {"broken": channel, "sound": other})
    assert told["sound"] == 1
    assert "does not take" in told["broken"]
    assert tell(factory, other) == {"listener": 1}  # a channel by another name
    assert notify(factory.stations, {"broken": channel}) == {}  # not before its time
    later(factory, seconds=11)
    assert notify(factory.stations, {"broken": channel})
    later(factory, seconds=11)
    assert notify(factory.stations, {"broken": channel}) == {}
    later(factory, seconds=11)
    channel.refuses = False
    assert notify(factory.stations, {"broken": channel}) == {"broken": 1}
    assert channel.heard == [(number, "opened")]


def test_who_dies_after_telling_tells_the_same_again(factory: Factory) -> None:
    channel = Listener()
    channel.dies = True
    opened(factory)
    with pytest.raises(KeyboardInterrupt):
        tell(factory, channel)
    channel.dies = False
    tell(factory, channel)
    tell(factory, channel)
    assert len(channel.notices) == 2
    assert channel.notices[0].id == channel.notices[1].id


def test_only_what_is_severe_enough_is_told(factory: Factory) -> None:
    channel = Listener()
    opened(factory)
    critical = opened(factory, "critical")
    tell(factory, channel, least="critical")
    assert channel.heard == [(critical, "opened")]


def test_a_new_channel_is_not_told_of_the_past(factory: Factory) -> None:
    channel = Listener()
    opened(factory, opened=START - timedelta(days=3))
    new = opened(factory)
    tell(factory, channel)
    assert channel.heard == [(new, "opened")]


def test_nobody_is_told_of_what_sleeps_until_it_wakes(factory: Factory) -> None:
    channel = Listener()
    number = opened(factory)
    factory.snooze(number, "2d")
    tell(factory, channel)
    later(factory, days=1)
    tell(factory, channel)
    assert channel.heard == []
    later(factory, days=1, seconds=1)
    tell(factory, channel)
    assert channel.heard == [(number, "opened")]


def test_what_was_closed_before_anybody_was_told_is_not_told(factory: Factory) -> None:
    channel = Listener()
    factory.resolve(opened(factory))
    tell(factory, channel)
    assert channel.heard == []


def test_a_person_acknowledges_and_it_stands_in_the_list_and_the_trail(factory: Factory) -> None:
    number = opened(factory)
    factory.acknowledge(number)
    (row,) = factory.alerts()
    assert row["acknowledged_by"] == "ann"
    assert row["acknowledged"] == START
    assert factory.audit(limit=1)[0]["verb"] == "acknowledge"
    factory.resolve(number)
    assert factory.alerts() == []
    with pytest.raises(Conflict):
        factory.acknowledge(number)
    with pytest.raises(NotFound):
        factory.snooze(number + 1)


def test_thousands_are_told_in_a_few_messages(factory: Factory) -> None:
    channel = Listener()
    row = {
        "model": "returns",
        "kind": "drift",
        "severity": "warning",
        "message": "m",
        "evidence": {},
        "opened": START,
    }
    with factory.stores.ledger.write() as db:
        db.execute(insert(alerts), [{**row, "segment": f"s{number}"} for number in range(1200)])
    for _ in range(5):
        tell(factory, channel)
    assert [len(one.alerts) for one in channel.notices] == [500, 500, 200]
    with factory.stores.ledger.write() as db:
        db.execute(update(alerts).values(closed=START))
    for _ in range(5):
        tell(factory, channel)
    assert len(channel.heard) == len(set(channel.heard)) == 2400


def test_the_commands(factory: Factory) -> None:
    number = opened(factory)
    root = str(factory.config.root)

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(app, ["--project", root, *arguments], env={"USER": "bob", "COLUMNS": "120"})

    assert "bob looks after it" in run("acknowledge", str(number)).output
    assert "bob" in run("alerts").output
    assert "nobody is told until" in run("snooze", str(number), "4h").output
    assert "closed" in run("resolve", str(number)).output
    told = run("notify")
    assert told.exit_code == 0
    assert "nobody" in told.output
    (factory.config.root / "modelworks.toml").write_text('[alerts]\nslack = "http://127.0.0.1:9/x"\n')
    told = run("notify")
    assert told.exit_code == 1
    assert "127.0.0.1 does not take alerts" in told.output


def test_settings_that_cannot_be_are_said(factory: Factory) -> None:
    (factory.config.root / "modelworks.toml").write_text('[alerts]\nleast = "dire"\n')
    with Factory(factory.config.root) as other, pytest.raises(Invalid) as caught:
        other.notify()
    assert "alerts.least" in str(caught.value)


def test_nothing_is_kept_of_what_everybody_knows_to_be_over(factory: Factory) -> None:
    """Else each look, one a second, would go through all alerts that ever were."""
    channel = Listener()
    first, second = opened(factory), opened(factory)
    tell(factory, channel)
    factory.resolve(first)
    tell(factory, channel)
    with factory.stores.ledger.read() as db:
        assert db.execute(select(notices.c.alert, notices.c.event)).all() == [(second, "opened")]
    tell(factory, channel)
    assert channel.heard == [(first, "opened"), (second, "opened"), (first, "closed")]


def test_who_has_nothing_to_tell_waits_for_nobody_s_write(factory: Factory) -> None:
    channel = Listener()
    opened(factory)
    tell(factory, channel)
    factory.stores.ledger.engine.dispose()
    with factory.stores.ledger.write():
        assert tell(factory, channel) == {}
