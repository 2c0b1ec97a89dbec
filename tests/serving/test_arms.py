"""Who answers a row: holdouts, challengers with other inputs, tensors, segments; and what the log says of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
import rollout_world as world
import serve_world
from sqlalchemy import update

from modelworks.core.clock import system_clock
from modelworks.core.errors import ModelworksError
from modelworks.deploy.deployment import Promotion
from modelworks.deploy.holdout import Holdout
from modelworks.deploy.station import DeployStation
from modelworks.deploy.strategies.canary import Canary
from modelworks.deploy.strategies.port import Strategy
from modelworks.deploy.strategies.shadow import Shadow
from modelworks.serving.arms import Breaker
from modelworks.serving.station import ServeStation
from modelworks.stores import Stores, open_stores
from modelworks.stores.ledger.tables import models

HALF = Canary(steps=[50, 100], rows=10**6)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[ServeStation]:
    """One model `late` of distance and wind, with a key."""
    stores = open_stores(tmp_path)
    serve_world.declare(stores, "late", ["distance", "wind"], dataset="flights")
    serve_world.deploy(stores, "late", (), world.fit())
    station = ServeStation(stores)
    yield station
    station.close()


def begin(
    stores: Stores, name: str, segment: tuple[str, ...], fitted: Any, strategy: Strategy = HALF
) -> None:
    version = serve_world.register(stores, name, segment, fitted)
    promotion = Promotion(name, segment, version, "it passed", strategy.to_json())
    with stores.ledger.write() as db:
        DeployStation(stores.ledger, system_clock).bring_out(db, [promotion])


def hold_out(stores: Stores, holdout: Holdout) -> None:
    """Declare a holdout of `late`."""
    with stores.ledger.write() as db:
        values = {"definition": {"control": holdout.to_json()}, "updated": system_clock()}
        db.execute(update(models).where(models.c.name == "late").values(**values))


def log(station: ServeStation) -> pl.DataFrame:
    station.drain()
    return station.stores.tables.scan("predictions").collect()


@pytest.mark.parametrize(
    ("answer", "output", "version"), [("none", None, 0), (0.25, 0.25, 0), ("baseline", ..., 1)]
)
def test_a_holdout_is_always_the_same_keys_and_gets_something_else(
    served: ServeStation, answer: Any, output: Any, version: int
) -> None:
    serve_world.deploy(served.stores, "late", (), world.fit(seed=1))
    hold_out(served.stores, Holdout(share=20, answer=answer))
    sent, _ = world.rows(range(300))
    told = served.predict("late", sent)["predictions"]
    assert served.predict("late", sent)["predictions"][0]["output"] == told[0]["output"]
    held = {row["flight"] for row, one in zip(sent, told, strict=True) if one["version"] == version}
    assert 30 < len(held) < 90
    for row, one in zip(sent, told, strict=True):
        if output is not ... and row["flight"] in held:
            assert one["output"] == output
    logged = log(served)
    assert set(logged.filter(pl.col("arm") == "holdout")["key"]) == held
    assert set(logged.filter(pl.col("arm") == "champion")["key"]) == {row["flight"] for row in sent} - held
    assert logged["rollout"].is_null().all()


def test_under_v2_a_holdout_with_nothing_to_say_does_not_exist(served: ServeStation) -> None:
    hold_out(served.stores, Holdout(share=90, answer="none"))
    assert Counter(infer(served, columns(50))["versions"]) == {"1": 50}
    hold_out(served.stores, Holdout(share=90, answer=0.25))
    assert Counter(infer(served, columns(50))["versions"])["0"] > 30


def columns(count: int) -> list[dict[str, Any]]:
    sent, _ = world.rows(range(count))
    kinds = {"flight": "BYTES", "distance": "FP64", "wind": "FP64"}
    return [
        {"name": name, "datatype": kind, "shape": [count], "data": [row[name] for row in sent]}
        for name, kind in kinds.items()
    ]


def infer(station: ServeStation, inputs: list[dict[str, Any]]) -> dict[str, Any]:
    """Ask with tensors; with the version of each row from the log."""
    station.plane.refresh()
    body = orjson.dumps({"inputs": inputs})
    ((status, reply),) = station.plane.answer([(b"/v2/models/late/infer", body)])
    assert status == 200, reply
    answer: dict[str, Any] = orjson.loads(reply)
    ids = answer["parameters"]["prediction_ids"].split(",")
    logged = dict(log(station).select("id", "version").iter_rows())
    return {**answer, "versions": [str(logged[one]) for one in ids]}


def test_tensors_are_divided_as_rows_are(served: ServeStation) -> None:
    begin(served.stores, "late", (), world.fit(seed=1))
    sent, _ = world.rows(range(200))
    by_rows = [str(one["version"]) for one in served.predict("late", sent)["predictions"]]
    answer = infer(served, columns(200))
    assert answer["versions"] == by_rows
    assert set(by_rows) == {"1", "2"}
    matrix = {"name": "input", "datatype": "FP64", "shape": [60, 2], "data": [1.0, 0.5] * 60}
    assert set(infer(served, [matrix])["versions"]) == {"1", "2"}  # without keys: by chance
    for _ in range(20):
        one = infer(served, [{**matrix, "shape": [1, 2], "data": [1.0, 0.5]}])
        assert one["versions"] == [one["model_version"]]


def test_a_challenger_that_needs_more_than_callers_send_is_answered_for(served: ServeStation) -> None:
    """It was trained with a column more: nobody is refused, and the watch hears of it."""
    x, y = serve_world.frame()
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    more = x[["distance", "wind"]].assign(humidity=1.0)
    model = make_pipeline(SimpleImputer(), LogisticRegression()).fit(more, y)
    begin(served.stores, "late", (), (model, more, y))
    sent, _ = world.rows(range(100))
    told = served.predict("late", sent)["predictions"]
    assert {one["version"] for one in told} == {1}
    failed = log(served).filter(pl.col("failure").is_not_null())
    assert 25 < len(failed) < 75
    assert failed["failure"].str.starts_with("rejected: row ").all()
    assert failed["failure"].str.contains("column 'humidity'").all()
    full = [{**row, "humidity": 2.0} for row in sent]
    assert {one["version"] for one in served.predict("late", full)["predictions"]} == {1, 2}


def test_what_the_champion_refuses_is_refused_whoever_would_answer(served: ServeStation) -> None:
    begin(served.stores, "late", (), world.fit(seed=1), Canary(steps=[99], rows=10**6))
    with pytest.raises(ModelworksError, match="late@1 gives no finite number"):
        served.predict("late", [{"flight": "F1", "distance": 1.0}] * 3)


def test_only_the_segment_s_own_rows_meet_its_challenger(tmp_path: Path) -> None:
    stores = serve_world.make_world(tmp_path)
    station = ServeStation(stores)
    begin(stores, "delay", ("UA", "EWR"), serve_world.fit(9))
    rows = [
        {**serve_world.ROW, "flight": f"F{n}", "origin": origin}
        for n in range(60)
        for origin in ("EWR", "JFK")
    ]
    told = station.predict("delay", rows)["predictions"]
    versions = {(one["segment"], one["version"]) for one in told}
    assert versions == {("UA,EWR", 1), ("UA,EWR", 2), ("UA", 1)}
    direct = station.predict("delay[UA,EWR]", rows[::2])["predictions"]
    assert [one["version"] for one in direct] == [one["version"] for one in told[::2]]
    station.close()


def test_rows_stick_by_the_column_that_the_strategy_names(tmp_path: Path) -> None:
    stores = serve_world.make_world(tmp_path)
    station = ServeStation(stores)
    begin(stores, "delay", (), serve_world.fit(9), Canary(steps=[50], by="customer"))
    told = station.predict(
        "delay",
        [{**serve_world.ROW, "carrier": "XX", "flight": f"F{n}", "customer": n // 20} for n in range(400)],
    )["predictions"]
    of = [{one["version"] for one in told[n : n + 20]} for n in range(0, 400, 20)]
    assert all(len(versions) == 1 for versions in of)
    assert len(set.union(*of)) == 2
    station.close()


def test_silent_answers_survive_the_way_through_spool_and_table(served: ServeStation) -> None:
    begin(served.stores, "late", (), world.fit(seed=1), Shadow(share=50))
    sent, _ = world.rows(range(100))
    told = served.predict("late", sent)["predictions"]
    infer(served, columns(100))
    served.plane.shadows.close()  # what waits is answered
    logged = log(served)
    silent = logged.filter(pl.col("arm") == "shadow")
    assert {one["version"] for one in told} == {1}
    assert len(silent) % 2 == 0
    assert 50 < len(silent) < 150
    pairs = silent.join(logged, left_on="shadow_of", right_on="id")
    assert len(pairs) == len(silent)
    assert (pairs["key"] == pairs["key_right"]).all()
    assert served.find(silent["id"][0])["shadow_of"] == silent["shadow_of"][0]  # type: ignore[index]


def test_a_breaker_opens_after_failures_at_once_and_lets_one_through_later() -> None:
    now = [100.0]
    breaker = Breaker(clock=lambda: now[0])
    for failed in [True, True, *[False] * 30, True]:
        breaker.told(failed)
    assert not breaker.open()
    for _ in range(3):
        breaker.told(failed=True)
    assert breaker.open()
    now[0] += 6
    assert not breaker.open()
    breaker.told(failed=True)
    now[0] += 6  # the second pause is twice as long
    assert breaker.open()
    now[0] += 6
    assert not breaker.open()
