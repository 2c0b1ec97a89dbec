"""A turn of the loop over models of any split; what goes wrong with one keeps the others from nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert, select

from modelworks.core.clock import FrozenClock
from modelworks.core.errors import Invalid, NotFound
from modelworks.factory import Factory
from modelworks.stores.ledger.tables import alerts, model_versions

FACTORY = """
import modelworks as mw

orders = mw.Dataset(
    "orders", source=mw.Files("data/*.csv"), time="ordered", key="id",
    contract={"id": str, "ordered": mw.Time(), "shop": mw.Text(nullable=True), "size": int, "returned": int},
)

def fitted(X, y):
    from sklearn.linear_model import LogisticRegression
    return LogisticRegression().fit(X, y)

@mw.model(dataset=orders, target="returned", features=["size"], per=["shop"], min_rows=20, retrain=[mw.OnRows(5)])
def by_shop(X, y, params):
    return fitted(X, y)

@mw.model(dataset=orders, target="returned", features=["size"], per=["size"], min_rows=10, retrain=[mw.OnRows(5)])
def by_size(X, y, params):
    return fitted(X, y)
"""


def orders(root: Path, part: int, first: int, last: int) -> None:
    """Rows of a shop, and of none; each size has both answers."""
    rows = [
        f"{shop}-{n},2024-0{1 + part}-{1 + n % 28:02d}T{n % 24:02d}:00,{'a shop' if shop else ''},"
        f"{(n + shop) % 3},{n // 3 % 2}"
        for shop in range(2)
        for n in range(first, last)
    ]
    (root / "data" / f"{part}.csv").write_text("id,ordered,shop,size,returned\n" + "\n".join(rows))


@pytest.fixture
def factory(tmp_path: Path) -> Iterator[Factory]:
    (tmp_path / "data").mkdir()
    (tmp_path / "factory.py").write_text(FACTORY)
    (tmp_path / "modelworks.toml").write_text("[train]\nworkers = 1\n")
    orders(tmp_path, 0, 0, 60)
    with Factory(tmp_path, clock=FrozenClock(datetime.now(UTC))) as made:
        made.ingest()
        made.train()
        yield made


def later(factory: Factory) -> None:
    assert isinstance(factory.clock, FrozenClock)
    factory.clock.advance(timedelta(days=2))


def test_segments_without_a_value_and_of_numbers_are_decided_upon_and_trained(factory: Factory) -> None:
    orders(factory.config.root, 1, 60, 90)
    later(factory)
    told = factory.apply()
    decided = {one.segment for one in told.decisions if one.action == "train"}
    assert decided == {(), ("",), ("a shop",), ("0",), ("1",), ("2",)}
    assert [(one.model, one.trained, one.failures) for one in told.trained] == [
        ("by_shop", 3, {}),
        ("by_size", 4, {}),
    ]


@pytest.mark.parametrize(("model", "segment"), [("by_shop", "%"), ("by_size", "1")])
def test_one_of_them_is_trained_alone(factory: Factory, model: str, segment: str) -> None:
    (told,) = factory.train(model, segments=[segment], force=True)
    assert (told.trained, told.failures) == (1, {})


def test_who_learned_from_a_row_without_a_value_is_told_when_it_is_forgotten(factory: Factory) -> None:
    told = factory.forget("orders", "0-4")
    assert told.models == ["by_shop@1", "by_shop[%]@1", "by_size@1", "by_size[1]@1"]


def test_a_model_whose_turn_fails_keeps_the_others_from_nothing(factory: Factory) -> None:
    factory.predict("by_shop", [{"size": 1, "shop": "a shop"}])
    with factory.stores.ledger.read() as db:
        packages = db.scalars(select(model_versions.c.package).where(model_versions.c.model == "by_shop"))
        references = {package["reference"] for package in packages}
    for digest in references:
        (factory.config.state / "artifacts" / digest[:2] / digest[2:]).unlink()
    later(factory)
    told = factory.apply()
    assert list(told.failed) == ["by_shop"]
    assert "is not in" in told.failed["by_shop"]
    assert factory.stations.monitor.seen_until("by_size") == factory.now()
    with pytest.raises(NotFound):
        factory.apply("by_shop")


def test_alerts_of_what_is_not_defined_any_more_are_over(factory: Factory) -> None:
    row = {"segment": "", "severity": "warning", "message": "m", "evidence": {}, "opened": factory.now()}
    told = [
        ("by_size", "feedback_loop"), ("old", "feature_drift"), ("old", "training"), ("from elsewhere", "rollout"),
        ("dataset:orders", "lost"), ("dataset:old", "source"),
    ]  # fmt: skip
    with factory.stores.ledger.write() as db:
        db.execute(insert(alerts), [{**row, "model": model, "kind": kind} for model, kind in told])
    factory.apply()
    left = {(one["model"], one["kind"]) for one in factory.alerts()}
    assert left == {("from elsewhere", "rollout"), ("dataset:orders", "lost")}


def test_what_could_not_be_done_to_an_alert_is_not_on_record(factory: Factory) -> None:
    before = len(factory.audit())
    for what in (factory.acknowledge, factory.snooze, factory.resolve):
        with pytest.raises(NotFound):
            what(99)
    with pytest.raises(Invalid):
        factory.snooze(99, "9000000d")
    assert len(factory.audit()) == before


def test_days_that_cannot_be_looked_at_are_refused(factory: Factory) -> None:
    for days in (-1, 0, 4000):
        with pytest.raises(Invalid, match="days cannot be looked at"):
            factory.joint_drift("by_shop", days=days)
