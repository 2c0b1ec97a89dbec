"""Candidates put to every gate on the belt, what their cards say, and two versions side by side."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import shop_world as world
from scipy import stats
from sklearn.metrics import log_loss

from modelworks.console.card import page
from modelworks.core.clock import FrozenClock
from modelworks.core.errors import Invalid
from modelworks.core.plain import plain
from modelworks.factory import Factory

FIRST = 30
GATES = """gate=[
        mw.AtLeast("roc_auc", 0.5),
        mw.BeatsChampion("log_loss", by=-1.0),
        mw.Slices(by=["size", "channel"], metric="log_loss", worse_by=0.5, min_rows=20),
        mw.Calibrated(within=0.5),
        mw.Fair(by="channel", measure="demographic_parity", within=1.0, min_rows=5),
        mw.Robust("log_loss", fall=20.0),
        mw.Fast(p99_ms=10_000),
        mw.Small(mb=5),
        mw.FreshData("3d"),
        mw.Compatible(),
    ],"""
SIMPLE = 'gate=[mw.BeatsChampion("log_loss")],'


def factory_code(**changes: str) -> str:
    """The shop's definitions, with a column that no model sees and with every gate."""
    code = world.FACTORY.replace(SIMPLE, GATES).replace(
        '"returned": mw.Number(',
        '"channel": mw.Text(allowed=["web", "phone"]),\n        "returned": mw.Number(',
    )
    for old, new in changes.values():  # type: ignore[misc]
        assert old in code
        code = code.replace(old, new)
    return code


def channelled(day: int) -> pl.DataFrame:
    frame = world.orders(day)
    return frame.with_columns(
        pl.when(pl.int_range(frame.height) % 3 == 0)
        .then(pl.lit("phone"))
        .otherwise(pl.lit("web"))
        .alias("channel")
    )


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FrozenClock]:
    """A factory that has trained on thirty days, and again on forty."""
    root = tmp_path_factory.mktemp("shop")
    (root / "data").mkdir()
    (root / "factory.py").write_text(factory_code())
    clock = FrozenClock(world.START + timedelta(days=FIRST))
    with Factory(root, clock=clock) as factory:
        for first, after in ((0, FIRST), (FIRST, FIRST + 10)):
            for day in range(first, after):
                world.write_day(root, day, channelled(day))
            clock.at = world.START + timedelta(days=after)
            factory.ingest()
            factory.train()
    return root, clock


@pytest.fixture
def factory(shop: tuple[Path, FrozenClock]) -> Iterator[Factory]:
    with Factory(shop[0], clock=shop[1]) as opened:
        yield opened


def verdicts(factory: Factory, ref: str) -> dict[str, Any]:
    return {one["gate"].split("(")[0]: one for one in plain(factory.model(ref))["verdicts"]}


def test_every_gate_is_shown_what_it_needs_of_every_segment(factory: Factory) -> None:
    refs = [one["ref"] for one in plain(factory.versions("returns"))]
    assert len(refs) == 14
    for ref in refs:
        said = verdicts(factory, ref)
        assert len(said) == 10
        for one in said.values():
            assert "nobody" not in one["reason"], one
            assert "could not be had" not in one["reason"], one
    first, second = verdicts(factory, "returns@1"), verdicts(factory, "returns@2")
    assert first["Compatible"]["reason"] == "there is no champion whose callers could notice"
    assert "takes the champion's" in second["Compatible"]["reason"]
    assert set(second["Slices"]["evidence"]["slices"]) == {
        "size S", "size M", "size L", "channel web", "channel phone",
    }  # fmt: skip
    assert set(second["Fair"]["evidence"]["groups"]) == {"web", "phone"}
    assert second["FreshData"]["passed"]
    assert "with 95 % confidence" not in second["BeatsChampion"]["reason"]
    assert "(95 % sure: " in second["BeatsChampion"]["reason"]


def test_a_promotions_reason_is_short(factory: Factory) -> None:
    (live,) = (one for one in plain(factory.deployments("returns")) if one["segment"] == "")
    assert live["reason"].endswith("; 8 more gates let it pass")


def test_the_interval_is_scipys_on_the_very_rows(factory: Factory) -> None:
    told = plain(factory.compare_models("returns@1", "returns@2"))
    seen = told["same_rows"]["metrics"]["log_loss"]
    recorded = verdicts(factory, "returns@2")["BeatsChampion"]["evidence"]
    assert told["same_rows"]["rows"] == recorded["rows"]
    assert seen["value"] == pytest.approx(recorded["value"], abs=1e-5)
    assert seen["beside"] == pytest.approx(recorded["champion"], abs=1e-5)
    low, high = recorded["interval"]
    assert sorted((-low, -high)) == pytest.approx(seen["difference_interval"], abs=1e-5)
    # Once more by hand: the newest fifth of the last twenty days, answered by both.
    rows = pl.concat([channelled(day) for day in range(FIRST + 10)]).sort("ordered")
    rows = rows.filter(pl.col("ordered") >= rows["ordered"].max() - timedelta(days=20))
    held = rows.tail(recorded["rows"])
    losses = []
    for version in (2, 1):
        factory.deploy(f"returns@{version}")
        asked = held.drop("returned", "ordered", "order_id", "channel").with_columns(region=pl.lit("nowhere"))
        p = [one["output"] for one in factory.predict("returns", asked.to_dicts())["predictions"]]
        p = [one["1"] if isinstance(one, dict) else one for one in p]
        losses.append([log_loss([y], [q], labels=[0, 1]) for y, q in zip(held["returned"], p, strict=True)])
    factory.deploy("returns@2")
    by_hand = stats.ttest_rel(*losses).confidence_interval(0.95)
    assert (by_hand.low, by_hand.high) == pytest.approx(seen["difference_interval"], abs=1e-4)


def test_two_versions_differ_in_what_they_differ(factory: Factory) -> None:
    told = plain(factory.compare_models("returns@1", "returns@2"))
    assert told["params"] == told["inputs"] == told["environment"] == {}
    assert told["code"] == {"same": True, "diff": ""}
    assert told["data"]["between"] == {"versions": 1, "added": 400, "replaced": 0, "quarantined": 0}
    assert len(told["verdicts"]["after"]) == 10


def test_a_card_of_a_segment(factory: Factory) -> None:
    card = plain(factory.card("returns[north,a]@2"))
    assert card["looked"] == ""
    assert card["beside"] == "returns[north,a]@1"
    assert {part["column"] for part in card["slices"]} == {"size", "channel"}
    weight = next(one for one in card["inputs"] if one["name"] == "weight")
    assert weight["seen"]["missing"] > 0
    value = card["value"]
    assert value["threshold"] == pytest.approx(4 / 14)
    assert value["model"] == 10 * value["counts"]["tp"] - 4 * value["counts"]["fp"]
    assert sum(value["counts"].values()) == value["rows"] == card["data"]["held_out"]
    assert any("wide" in sentence for sentence in card["limits"])
    html = page(card)
    assert "champion" in html
    assert "Will this order" not in html  # the fit has no docstring, the module's is not its own


def test_a_new_definition_that_its_callers_would_notice_is_refused(
    shop: tuple[Path, FrozenClock], factory: Factory
) -> None:
    root, clock = shop
    del factory
    code = factory_code(
        features=('features=["price", "weight", "size"]', 'features=["price", "channel"]'),
        columns=('["price", "weight"]', '["price"]'),
        texts=('["size"])', '["channel"])'),
    )
    before = (root / "factory.py").read_text()
    (root / "factory.py").write_text(code)
    try:
        with Factory(root, clock=clock) as other:
            other.train(segments=[""], force=True)
            said = verdicts(other, "returns@latest")["Compatible"]
            assert not said["passed"]
            assert "channel would have to be sent" in said["reason"]
            assert "size is no longer taken" in said["reason"]
            told = plain(other.compare_models("returns@2", "returns@latest"))
            assert set(told["inputs"]) == {"weight", "size", "channel"}
            assert "channel" in told["code"]["diff"]
            assert told["same_rows"]["rows"] > 0
    finally:
        (root / "factory.py").write_text(before)


def test_a_gate_that_looks_at_a_column_which_is_not_there_is_found_where_it_is_written(
    tmp_path: Path,
) -> None:
    (tmp_path / "factory.py").write_text(factory_code(by=('by="channel"', 'by="sex"')))
    with pytest.raises(Invalid, match="looks at the column 'sex'"), Factory(tmp_path) as factory:
        _ = factory.project


def test_of_rows_that_are_gone_a_card_says_so(shop: tuple[Path, FrozenClock]) -> None:
    root, _ = shop
    later = FrozenClock(world.START + timedelta(days=61))
    with Factory(root, clock=later) as factory:
        for day in range(FIRST + 10, 61):
            world.write_day(root, day, channelled(day))
        factory.ingest()
        factory.train()
        for one in plain(
            factory.deployments("returns")
        ):  # so that nothing live was made of the first version
            ref = f"returns[{one['segment']}]" if one["segment"] else "returns"
            factory.deploy(f"{ref}@latest")
        later.advance(timedelta(days=400))
        factory.vacuum("orders", "1d")
        gone = plain(factory.card("returns@1"))
        told = plain(factory.compare_models("returns@2", "returns@1"))
    assert "not kept any more" in gone["looked"]
    assert gone["metrics"]["log_loss"]["recorded"] is not None
    assert "not kept any more" in page(gone)
    assert "only what was recorded" in page(gone)
    assert (told["same_rows"]["rows"], "not kept" in told["same_rows"]["why"]) == (0, True)
