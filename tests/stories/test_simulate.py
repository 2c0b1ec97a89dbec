"""What a simulation foretells is what the factory did: the same days lived, and then looked at again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import shop_world as world
from typer.testing import CliRunner

from modelworks.cli.app import app
from modelworks.console.card import page
from modelworks.core.clock import FrozenClock
from modelworks.core.errors import Invalid
from modelworks.core.plain import plain
from modelworks.core.ref import Ref
from modelworks.factory import Factory
from modelworks.models import packaging
from modelworks.models.layout import to_batch

FIRST, DAYS = 30, 18
BEGIN = world.START + timedelta(days=FIRST)


def rows_of(frame: Any) -> list[dict[str, Any]]:
    """Orders as they are asked about."""
    return [
        {**row, "ordered": row["ordered"].isoformat()} for row in frame.drop("returned").iter_rows(named=True)
    ]


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Factory, list[float]]]:
    """A factory that has lived some weeks in which the world changed, and the loss of each of its answers."""
    clock = FrozenClock(BEGIN)
    losses: list[float] = []
    root = world.make_project(tmp_path_factory.mktemp("shop"), FIRST)
    code = (root / "factory.py").read_text()
    assert "mw.OnRows(60), mw.OnDecay" in code
    (root / "factory.py").write_text(code.replace("mw.OnRows(60), ", "mw.OnDrift(psi=0.1), mw.OnRows(90), "))
    with Factory(root, clock=clock) as factory:
        factory.ingest()
        factory.train()
        for day in range(FIRST, FIRST + DAYS):
            orders = world.orders(day, flipped=day >= FIRST + 5)
            told = factory.predict("returns", rows_of(orders))["predictions"]
            truth = orders["returned"].to_list()
            given = [
                one["output"] if came else 1 - one["output"] for one, came in zip(told, truth, strict=True)
            ]
            losses += [-float(np.log(p)) for p in given]
            # Nobody hears of every fourth order.
            factory.outcomes(
                [
                    {"prediction_id": one["id"], "value": came}
                    for place, (one, came) in enumerate(zip(told, truth, strict=True))
                    if place % 4
                ]
            )
            world.write_day(root, day, orders)
            clock.advance(timedelta(days=1))
            if day < FIRST + DAYS - 1:
                factory.apply()
        factory.drain()
        yield factory, losses


def test_what_is_foretold_is_what_was_done(lived: tuple[Factory, list[float]]) -> None:
    factory, losses = lived
    told = plain(factory.simulate("returns", ["declared"], since=BEGIN.isoformat()))
    (course,) = told["courses"]
    mine = {
        (one["at"][:10], ",".join(one["segment"]), one["trigger"], one["action"])
        for one in course["events"]
        if one["trigger"] != "start"
    }
    decided = plain(factory.decisions("returns", limit=10_000))
    became = {
        (one["at"], one["segment"]): one["action"]
        for one in decided
        if one["action"] in ("promote", "refuse", "fail")
    }
    done = {
        (one["at"][:10], one["segment"], one["trigger"], became[one["at"], one["segment"]])
        for one in decided
        if one["action"] == "train"
    }
    assert mine == done
    assert {trigger for _, _, trigger, _ in done} >= {"on_rows", "on_decay"}
    assert {action for *_, action in done} == {"promote", "refuse"}
    kept = [loss for place, loss in enumerate(losses) if place % 40 % 4]
    assert course["spans"][-1]["rows"] == len(kept)
    assert course["spans"][-1]["metrics"]["log_loss"] == pytest.approx(np.mean(kept), abs=1e-6)


def test_policies_stand_side_by_side(lived: tuple[Factory, list[float]]) -> None:
    factory, _ = lived
    before = plain(factory.status())
    told = plain(factory.simulate("returns", ["never", "every=3d", "decay"], since=BEGIN.isoformat()))
    never, often, decay = told["courses"]
    assert never["spans"][-1]["trained"] == 0
    assert never["spans"][-1]["apart"] is None
    assert often["spans"][-1]["trained"] > decay["spans"][-1]["trained"] > 0
    # The world turned round: whoever learns again is better, beyond doubt.
    assert often["spans"][-1]["apart"]["high"] < 0
    assert often["spans"][-1]["metrics"]["log_loss"] < never["spans"][-1]["metrics"]["log_loss"]
    assert often["spans"][-1]["value"] > never["spans"][-1]["value"]
    assert never["efficient"]  # nobody trains less
    assert [span["name"] for span in never["spans"]] == ["2024-01", "2024-02", "all"]
    assert sum(span["trained"] for span in often["spans"][:-1]) == often["spans"][-1]["trained"]
    assert plain(factory.status()) == {**before, "now": plain(factory.status())["now"]}  # nothing was changed


def test_another_version_of_the_data_and_enough_outcomes_are_reasons(
    lived: tuple[Factory, list[float]],
) -> None:
    factory, _ = lived
    told = plain(factory.simulate("returns", ["data", "rows=1", "outcomes=40"], since=BEGIN.isoformat()))
    data, rows, outcomes = (course["spans"][-1] for course in told["courses"])
    assert data["trained"] == rows["trained"] > outcomes["trained"] > 0  # only new rows change this data


def test_what_several_policies_ask_for_is_trained_once(lived: tuple[Factory, list[float]]) -> None:
    factory, _ = lived
    told = plain(factory.simulate("returns", ["every=4d", "every=4d+rows=9999"], since=BEGIN.isoformat()))
    one, same = (course["spans"][-1] for course in told["courses"])
    assert one["trained"] > 0
    for name in ("seconds", "trained", "promoted", "metrics", "value"):
        assert one[name] == same[name]  # the very seconds that a training took
    assert [same[name]["mean"] for name in ("apart", "gain")] == [0, 0]
    assert told["courses"][0]["events"] == told["courses"][1]["events"]


WORTH = '''
def saved(rows):
    """A refund is spared where somebody calls: half the price of what comes back, less four for a call."""
    call = rows["output"] > 0.5
    assert {"ordered", "weight", "shop"} <= set(rows) and "returned" not in rows
    return call * (0.5 * rows["price"] * rows["truth"] - 4)
'''


@pytest.fixture
def by_function(lived: tuple[Factory, list[float]]) -> Iterator[Factory]:
    """The same factory, with a function that says what a row is worth."""
    factory, _ = lived
    path = factory.config.root / "factory.py"
    code = path.read_text()
    path.write_text(WORTH + code.replace("mw.Payoff(tp=10, fp=-4)", 'mw.Worth(saved, unit="EUR")'))
    with Factory(factory.config.root, clock=factory.clock) as other:
        yield other
    path.write_text(code)


def test_a_function_says_what_answers_of_the_past_are_worth(
    lived: tuple[Factory, list[float]], by_function: Factory
) -> None:
    told = plain(by_function.simulate("returns", ["declared", "never"], since=BEGIN.isoformat()))
    assert told["unit"] == "EUR"
    declared, never = told["courses"]
    assert declared["spans"][-1]["rows"] == DAYS * 30
    # What was lived: the value ledger counts the same answers by the same function.
    by_function.observe("returns")
    (one,) = plain(by_function.value("returns"))["models"]
    assert declared["spans"][-1]["value"] == pytest.approx(one["mean"] * one["rows"], rel=1e-5)
    assert sum(span["value"] for span in declared["spans"][:-1]) == pytest.approx(
        declared["spans"][-1]["value"]
    )
    gain = never["spans"][-1]["gain"]["mean"]
    less = never["spans"][-1]["value"] - declared["spans"][-1]["value"]
    assert gain * never["spans"][-1]["rows"] == pytest.approx(less)
    assert less


def test_of_rows_that_were_never_asked_a_function_sees_the_columns(tmp_path: Path) -> None:
    root = world.make_project(tmp_path, 24)
    code = (root / "factory.py").read_text()
    by_hand = """
def same(rows):
    assert {"ordered", "order_id", "weight"} <= set(rows) and rows["weight"].isna().any()
    assert rows["ordered"].str.startswith("2024-01").all() and "returned" not in rows
    return (rows["output"] >= 4 / 14) * (14 * rows["truth"] - 4)
"""
    told = {}
    for value in ("mw.Payoff(tp=10, fp=-4)", "mw.Worth(same)"):
        (root / "factory.py").write_text(by_hand + code.replace("mw.Payoff(tp=10, fp=-4)", value))
        with Factory(root, clock=FrozenClock(BEGIN)) as factory:
            factory.ingest()
            told[value] = plain(factory.simulate("returns", ["never", "every=3d"], delay="1d"))["courses"]
    for one, other in zip(*told.values(), strict=True):
        assert one["spans"][-1]["value"] == pytest.approx(other["spans"][-1]["value"])
        assert one["spans"][-1]["value"] > 0
        assert one["spans"][-1]["gain"] == pytest.approx(other["spans"][-1]["gain"])


def test_a_function_says_what_the_held_out_rows_of_a_card_are_worth(by_function: Factory) -> None:
    card = plain(by_function.card("returns[north,a]@1"))
    value = card["value"]
    assert (value["function"], value["unit"], value["never"]) == ("saved", "EUR", 0)
    held = pl.concat([world.orders(day) for day in range(FIRST)]).filter(region="north", shop="a")
    held = held.sort("ordered").tail(value["rows"])
    version = by_function.stations.registry.get(Ref.parse("returns[north,a]@1"))
    model = packaging.load(version.package, by_function.stores.artifacts)
    columns = {name: held[name].to_numpy() for name in ("price", "weight", "size")}
    output = model.predict(to_batch(columns, version.package.signature))[:, 1]
    by_hand = (output > 0.5) * (0.5 * held["price"].to_numpy() * held["returned"].to_numpy() - 4)
    assert value["model"] == pytest.approx(by_hand.sum(), rel=1e-5)
    assert by_hand.any()
    for form in ("md", "html"):
        assert "saved" in page(card, form)
        assert "no answers" in page(card, form)


def test_a_function_that_fails_is_said_before_the_work_and_on_the_card(by_function: Factory) -> None:
    path = by_function.config.root / "factory.py"
    path.write_text(path.read_text().replace('rows["price"]', 'rows["prize"]'))
    with Factory(by_function.config.root, clock=by_function.clock) as factory:
        said: list[int] = []
        with pytest.raises(Invalid, match="saved raised KeyError"):
            factory.simulate("returns", since=BEGIN.isoformat(), progress=lambda *_: said.append(1))
        assert not said
        card = plain(factory.card("returns[north,a]@1"))
        assert card["value"] is None
        assert "What its answers are worth cannot be told: saved raised KeyError: 'prize'." in card["limits"]


def test_it_ends_when_somebody_ends_it(lived: tuple[Factory, list[float]]) -> None:
    factory, _ = lived
    said: list[tuple[int, int]] = []

    def tell(what: str, done: int, total: int | None, left: float | None = None) -> None:
        if what.startswith("simulate"):
            said.append((done, total or 0))
            raise TimeoutError("enough")

    with pytest.raises(TimeoutError, match="enough"):
        factory.simulate("returns", ["never", "every=3d"], since=BEGIN.isoformat(), progress=tell)
    assert said == [(1, 2 * DAYS)]
    assert not [one for one in threading.enumerate() if one.name.startswith("policy")]


def test_the_truth_may_be_said_to_come_late(lived: tuple[Factory, list[float]]) -> None:
    factory, _ = lived
    soon, late = (
        plain(factory.simulate("returns", ["decay"], since=BEGIN.isoformat(), delay=delay))["courses"][0]
        for delay in ("1h", "4d")
    )
    first = [min(one["at"] for one in part["events"] if one["trigger"] != "start") for part in (soon, late)]
    assert first[0] < first[1]


def test_the_command_prints_and_draws(lived: tuple[Factory, list[float]], tmp_path: Path) -> None:
    factory, _ = lived
    page = tmp_path / "page.html"
    asked = ["--project", str(factory.config.root), "simulate", "returns", "--policy", "never", "--policy", "every=7d",
             "--since", BEGIN.isoformat(), "--out", str(page)]  # fmt: skip
    said = CliRunner().invoke(app, asked, env={"COLUMNS": "120"})
    assert said.exit_code == 0, said.output
    assert "every=7d" in said.output
    assert "log_loss by month" in said.output
    drawn = page.read_text()
    assert drawn.count("<polyline") == 3
    assert "every=7d" in drawn


def test_a_single_day_has_a_difference_and_no_interval(
    lived: tuple[Factory, list[float]], tmp_path: Path
) -> None:
    factory, _ = lived
    until = plain(factory.simulate("returns", ["never"]))["until"]
    since = datetime.fromisoformat(until) - timedelta(hours=20)  # all of one date
    page = tmp_path / "page.html"
    asked = ["--project", str(factory.config.root), "simulate", "returns", "--policy", "never", "--policy", "every=1d",
             "--since", since.isoformat(), "--months", "--out", str(page)]  # fmt: skip
    said = CliRunner().invoke(app, asked, env={"COLUMNS": "120"})
    assert said.exit_code == 0, said.output
    assert "+0.0000" in said.output
    assert "±" not in said.output
    assert "+0.0000" in page.read_text()


def test_it_begins_when_the_first_rows_came_not_before(lived: tuple[Factory, list[float]]) -> None:
    factory, _ = lived
    told = plain(factory.simulate("returns", ["never"]))
    assert told["since"] == BEGIN.isoformat()  # weeks of rows were taken in at once then


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({"policies": ["sometimes"]}, "'sometimes' is no policy"),
        ({"policies": ["rows=many"]}, "'rows=many' is no policy"),
        ({"every": "1s"}, "a turn each 1s would be more than 10,000"),
        ({"since": "2030-01-01"}, "there is no past between 2030-01-01"),
    ],
)
def test_what_cannot_be_simulated_is_said(
    lived: tuple[Factory, list[float]], arguments: dict[str, Any], what: str
) -> None:
    factory, _ = lived
    with pytest.raises(Invalid) as caught:
        factory.simulate("returns", **arguments)
    assert what in str(caught.value)
