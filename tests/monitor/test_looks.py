"""What has to be looked at again, and what has not."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import monitor_world as world
import polars as pl
import pytest

from modelworks.monitor.looks import Looks
from modelworks.stores.ledger.portable import upsert
from modelworks.stores.ledger.tables import deployments

NOON = world.START + timedelta(days=2, hours=12)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[world.World]:
    yield (there := world.World(tmp_path))
    there.stores.ledger.close()


@pytest.fixture
def looks(made: world.World) -> Looks:
    """Two models of which all was looked at at noon."""
    made.day(0)
    found = Looks(made.stores)
    found.refresh(NOON)
    for model in (world.MODEL, "other"):
        assert found.known(model, NOON) is None
        found.looked(model, NOON, ())
    return found


def due(looks: Looks, hours: float = 1.0) -> list[str]:
    now = NOON + timedelta(hours=hours)
    looks.refresh(now)
    return [model for model in (world.MODEL, "other") if looks.known(model, now) is None]


def test_without_anything_new_nothing_is_due_until_midnight(looks: Looks) -> None:
    assert due(looks) == []
    assert due(looks, 11.9) == []
    assert due(looks, 12) == [world.MODEL, "other"]


def test_a_prediction_is_news_of_its_model_until_that_was_looked_at(looks: Looks, made: world.World) -> None:
    made.predict(world.rows(made.rng, 3), [NOON] * 3)
    assert due(looks) == [world.MODEL]
    assert due(looks, 2) == [world.MODEL]
    looks.looked(world.MODEL, NOON + timedelta(hours=2), ())
    assert due(looks, 3) == []


def test_an_outcome_is_news_of_the_model_that_it_names_or_that_was_asked(
    looks: Looks, made: world.World
) -> None:
    told = {"value": 1.0, "time": NOON, "received": NOON}
    made.tell([{**told, "key": "nobody's"}])
    assert due(looks) == []
    made.tell([{**told, "key": "nobody's", "model": "other"}])
    assert due(looks) == ["other"]
    looks.looked("other", NOON + timedelta(hours=1), ())
    (asked,) = made.predict(world.rows(made.rng, 1), [NOON], keys=["k"])
    for hour, named in enumerate(({"key": "k"}, {"prediction_id": asked}), 2):
        assert due(looks, hour) == ([world.MODEL] if hour == 2 else [])
        looks.looked(world.MODEL, NOON + timedelta(hours=hour), ())
        made.tell([{**told, **named}])
        assert due(looks, hour) == [world.MODEL]
        looks.looked(world.MODEL, NOON + timedelta(hours=hour), ())


def test_an_event_that_was_answered_ahead_is_news_once_it_comes(looks: Looks, made: world.World) -> None:
    made.predict(world.rows(made.rng, 1), [NOON + timedelta(hours=4)], answered=NOON)
    assert due(looks) == [world.MODEL]
    looks.looked(world.MODEL, NOON + timedelta(hours=1), ())
    later = Looks(made.stores)  # another process, that begins between
    later.refresh(NOON + timedelta(hours=1))
    later.looked(world.MODEL, NOON + timedelta(hours=1), ())
    for one in (looks, later):
        now = NOON + timedelta(hours=5)
        one.refresh(now)
        assert one.known(world.MODEL, now) is None
        one.looked(world.MODEL, now, ())
        assert one.known(world.MODEL, now + timedelta(hours=1)) == ()


def test_another_champion_is_news(looks: Looks, made: world.World) -> None:
    row = {"model": world.MODEL, "segment": "UA", "champion": 2, "previous": 1, "strategy": {}, "reason": ""}
    with made.stores.ledger.write() as db:
        upsert(db, deployments, [{**row, "revision": 99, "updated": NOON}])
    assert due(looks) == [world.MODEL]


def test_what_was_looked_at_before_the_first_refresh_is_looked_at_again(made: world.World) -> None:
    looks = Looks(made.stores)
    looks.looked(world.MODEL, NOON, ())
    made.day(2, n=3)
    assert due(looks) == [world.MODEL, "other"]


def test_files_that_are_there_are_not_added_and_packed_ones_are(made: world.World) -> None:
    tables = made.stores.tables
    assert tables.added("predictions", frozenset()) == (None, frozenset())
    made.day(0, n=5)
    rows, there = tables.added("predictions", frozenset())
    assert rows is not None
    assert rows.select(pl.len()).collect().item() == 5
    assert tables.added("predictions", there) == (None, there)
    # A column that only later files have.
    made.predict(world.rows(made.rng, 2), [NOON] * 2, arms=["champion"] * 2)
    rows, now = tables.added("predictions", there)
    assert rows is not None
    assert rows.select("arm", "model").collect().rows() == [("champion", world.MODEL)] * 2
    rows, _ = tables.added("predictions", now - there)
    assert rows is not None
    assert rows.select("arm").collect()["arm"].to_list() == [None] * 5
