"""One shop's answers have become wrong: the slices of the live performance say which."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import shop_world as world
from typer.testing import CliRunner

from modelworks.cli.app import app
from modelworks.core.clock import FrozenClock
from modelworks.core.errors import Invalid
from modelworks.core.plain import plain
from modelworks.factory import Factory

FIRST, DAYS = 30, 12


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that has answered for some days; since then what is large comes back without a reason."""
    root = world.make_project(tmp_path_factory.mktemp("shop"), FIRST)
    code = (root / "factory.py").read_text()
    code = code.replace('"region": str,', '"region": str, "buyer": mw.Text(sensitive="drop", nullable=True),')
    rule = 'lambda seen: f"{seen.rows} rows" if seen.rows > 300 else None'
    code = code.replace('window="20d",', f'window="20d", alarms=[mw.Alarm("asked", {rule})],')
    (root / "factory.py").write_text(code)
    for day in range(FIRST):
        world.write_day(root, day, world.orders(day).with_columns(buyer=pl.lit("x")))
    clock = FrozenClock(world.START + timedelta(days=FIRST))
    with Factory(root, clock=clock) as factory:
        factory.ingest()
        factory.train()
        for day in range(FIRST, FIRST + DAYS):
            orders = world.orders(day, 30).sort("ordered")
            truth = orders.select("order_id", "size", "returned").rows()
            factory.predict(
                "returns",
                [
                    {**row, "ordered": row["ordered"].isoformat()}
                    for row in orders.drop("returned").iter_rows(named=True)
                ],
            )
            clock.advance(timedelta(days=1))
            factory.outcomes(
                [
                    {
                        "key": key,
                        "value": 1 - returned if size == "L" else returned,
                        "time": clock().isoformat(),
                    }
                    for key, size, returned in truth
                ]
            )
        factory.drain()
        factory.observe("returns")
    return root


def test_the_slice_that_is_worse_is_named(root: Path) -> None:
    with Factory(root, clock=FrozenClock(world.START + timedelta(days=FIRST + DAYS))) as factory:
        told: dict[str, Any] = plain(factory.slices("returns", "size"))
        assert (told["rows"], told["labelled"]) == (DAYS * 30 * len(world.SHOPS),) * 2
        assert next(one["name"] for one in told["slices"]) == "L"
        assert {one["name"]: one["worse"] for one in told["slices"]} == {"S": False, "M": False, "L": True}
        assert sum(one["rows"] for one in told["slices"]) == told["rows"]
        prices = plain(factory.slices("returns", "price", days=5))
        assert len(prices["slices"]) == 4  # quarters
        assert prices["rows"] == 5 * 30 * len(world.SHOPS)
        assert [one["apart"] for one in prices["slices"]] == [None] * 4  # five days say too little
        north = plain(factory.slices("returns", "shop", "north,a"))
        assert [(one["name"], one["rows"]) for one in north["slices"]] == [("a", 30 * DAYS)]
        for column, what in (
            ("colour", "has no column"),
            ("buyer", "is sensitive"),
            ("ordered", "is a time"),
        ):
            with pytest.raises(Invalid, match=what):
                factory.slices("returns", column)


def test_the_command_says_so(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    said = CliRunner().invoke(app, ["monitor", "returns", "--slice", "size", "--days", "3660"])
    assert said.exit_code == 0, said.output
    assert "worse than all others, and not by chance: L" in said.output
    said = CliRunner().invoke(app, ["--json", "monitor", "returns", "--slice", "shop", "--days", "3660"])
    assert not any(one["worse"] for one in json.loads(said.output)["slices"])


def test_rules_of_the_project_are_asked(root: Path) -> None:
    with Factory(root, clock=FrozenClock(world.START + timedelta(days=FIRST + DAYS))) as factory:
        (told,) = [one for one in plain(factory.alerts("returns")) if one["kind"] == "rule:asked"]
    assert (told["segment"], told["message"]) == (
        "",
        f"{len(world.SHOPS)} of {len(world.SHOPS)} segments of returns: "
        "asked; for instance returns[north,a]: 360 rows",
    )
