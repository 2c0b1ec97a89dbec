"""What a model earns: asked over HTTP with a holdout, told by command and API, and what computing cost."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import shop_world as world
from typer.testing import CliRunner

from modelworks.cli.app import app
from modelworks.core.clock import FrozenClock
from modelworks.core.plain import plain
from modelworks.factory import Factory
from modelworks.sdk.process import start

FIRST, DAYS = 30, 6


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A factory that has answered some days of orders, a quarter of them held out."""
    root = world.make_project(tmp_path_factory.mktemp("shop"), FIRST)
    code = (
        (root / "factory.py")
        .read_text()
        .replace("value=mw.Pay", "control=mw.Holdout(share=25), value=mw.Pay")
    )
    (root / "factory.py").write_text(code)
    clock = FrozenClock(world.START + timedelta(days=FIRST))
    with Factory(root, clock=clock) as factory:
        factory.ingest()
        factory.train()
        with start(root) as server, httpx.Client(base_url=server.url) as client:
            for day in range(FIRST, FIRST + DAYS):
                frame = world.orders(day, per_shop=50)
                rows = plain(frame.drop("returned").to_dicts())
                told = (
                    client.post("/predict/returns", json={"rows": rows})
                    .raise_for_status()
                    .json()["predictions"]
                )
                truth = zip(told, frame["returned"].to_list(), strict=True)
                outcomes = [{"prediction_id": one["id"], "value": came} for one, came in truth]
                client.post("/outcomes", json={"outcomes": outcomes}).raise_for_status()
                clock.advance(timedelta(days=1))
                factory.observe()
    return root


def test_what_it_earns_is_what_its_answers_earned_beside_the_holdout(lived: Path) -> None:
    with Factory(lived) as factory:
        told = plain(factory.value("returns"))
        log = factory.stores.tables.scan("predictions").collect()
    (one,) = told["models"]
    assert one["basis"] == "holdout"
    held = log["arm"] == "holdout"
    assert (one["rows"], one["held"]) == (len(log) - held.sum(), held.sum())
    assert one["low"] < one["each"] < one["high"]
    truth = {
        row["order_id"]: row["returned"]
        for day in range(FIRST, FIRST + DAYS)
        for row in world.orders(day, 50).to_dicts()
    }
    # Payoff(tp=10, fp=-4): who acts from 4/14 on; of the held out nobody acts.
    worth = [
        (10 if truth[row["key"]] else -4) if (row["output"] or 0) >= 4 / 14 else 0
        for row in log.filter(~held).iter_rows(named=True)
    ]
    assert one["earned"] == pytest.approx(sum(worth))
    assert one["verdict"] == "pays"
    assert set(one["seconds"]) == {"train", "serve", "watch"}
    assert min(one["seconds"].values()) > 0
    assert one["net"] == pytest.approx(one["earned"] - one["cost"])
    assert sum(span["rows"] for span in told["spans"]) == one["rows"]
    assert {part["segment"] for part in told["segments"]} == {"north,a", "north,b", "south,a", "south,c"}
    assert sum(part["rows"] for part in told["segments"]) == one["rows"]
    # What parents cost is nobody's.
    assert 0 < sum(part["cost"] for part in told["segments"]) < one["cost"]


def test_the_command_says_it_in_words(lived: Path) -> None:
    def said(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["--project", str(lived), "value", *arguments], env={"COLUMNS": "120"})
        assert done.exit_code == 0, done.output
        return done.output

    assert "pays" in said()
    assert "together" in said()
    shown = said("returns", "--by", "day")
    assert "2024-01-31" in shown
    assert "left to the holdout" in shown
    assert "computing: training" in shown
    empty = said("returns", "--since", "2030-01-01")
    assert "no outcomes yet" in empty


@pytest.mark.browser
def test_the_console_draws_it(lived: Path, page: Any) -> None:
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    with start(lived) as server:
        page.goto(f"{server.url}/#returns")
        page.get_by_text("beside its holdout").wait_for()
        section = page.locator("section", has=page.get_by_role("heading", name="What it brings"))
        assert section.locator("svg rect").count() == 2  # two months
        assert section.get_by_role("row").filter(has_text="north,a").count() == 1
        assert section.get_by_text("pays", exact=True).first.is_visible()
    assert problems == []


def test_without_a_holdout_it_is_counted_and_that_is_said(tmp_path: Path) -> None:
    root = world.make_project(tmp_path / "shop", FIRST)
    clock = FrozenClock(world.START + timedelta(days=FIRST))
    with Factory(root, clock=clock) as factory:
        factory.ingest()
        factory.train()
        frame = world.orders(FIRST, per_shop=50)
        rows: list[dict[str, Any]] = plain(frame.drop("returned").to_dicts())
        told = factory.predict("returns", rows)["predictions"]
        factory.outcomes(
            [
                {"prediction_id": one["id"], "value": came}
                for one, came in zip(told, frame["returned"].to_list(), strict=True)
            ]
        )
        clock.advance(timedelta(days=1))
        factory.observe()
        (one,) = plain(factory.value())["models"]
    assert one["basis"] == "counted"
    assert "if answers change nothing" in one["verdict"]
    assert one["held"] == 0
