"""Inputs that go together otherwise than they did: no single one has shifted, and yet it is found."""

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
from modelworks.core.errors import NotFound, NotReady
from modelworks.core.plain import plain
from modelworks.factory import Factory

FIRST, DAYS = 30, 12


def heavy_if_dear(frame: pl.DataFrame) -> pl.DataFrame:
    """In the north the same prices and the same weights, but the dear things are now the heavy ones."""
    north = frame.filter(pl.col("region") == "north").sort("shop", "price", maintain_order=True)
    weight = north.select(pl.col("weight").sort(nulls_last=True).over("shop")).to_series()
    return pl.concat([north.with_columns(weight=weight), frame.filter(pl.col("region") == "south")])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose models were asked for some days."""
    root = world.make_project(tmp_path_factory.mktemp("shop"), FIRST)
    clock = FrozenClock(world.START + timedelta(days=FIRST))
    with Factory(root, clock=clock) as factory:
        factory.ingest()
        factory.train()
        for day in range(FIRST, FIRST + DAYS):
            orders = heavy_if_dear(world.orders(day)).drop("returned")
            factory.predict(
                "returns",
                [
                    {**row, "ordered": row["ordered"].isoformat()}
                    for row in orders.sort("ordered").iter_rows(named=True)
                ],
            )
            clock.advance(timedelta(days=1))
        factory.drain()
        factory.observe("returns")
    return root


def test_what_goes_together_otherwise_is_found(root: Path) -> None:
    with Factory(root, clock=FrozenClock(world.START + timedelta(days=FIRST + DAYS))) as factory:
        north: dict[str, Any] = plain(factory.joint_drift("returns", "north,a"))
        south: dict[str, Any] = plain(factory.joint_drift("returns", "south,a"))
        assert plain(factory.joint_drift("returns", "north,a")) == north
        with pytest.raises(NotReady, match="was asked nothing in the last 28 days"):
            factory.joint_drift("returns", "west,a")
        with pytest.raises(NotReady, match="rows of 3 days that it was asked about"):
            factory.joint_drift("returns", "north,a", 3)
        with pytest.raises(NotFound):
            factory.joint_drift("nothing")
    assert (north["rows_before"], north["rows_now"], north["days"]) == (200, 120, 28)
    assert north["differs"] is True
    assert north["auc"] > 0.65
    assert {one["name"] for one in north["features"][:2]} == {"price", "weight"}
    assert north["shifted"] == []
    assert south["differs"] is False
    assert south["chance"] > 0.01


def test_the_command_says_so(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    said = CliRunner().invoke(
        app, ["monitor", "returns", "--joint", "--segment", "north,a", "--days", "3660"]
    )
    assert said.exit_code == 0, said.output
    assert "they can be told apart" in said.output
    assert "none has shifted by itself: they go together otherwise than before" in said.output
    said = CliRunner().invoke(app, ["--json", "monitor", "returns", "--joint", "--segment", "south,a"])
    assert json.loads(said.output)["differs"] is False
