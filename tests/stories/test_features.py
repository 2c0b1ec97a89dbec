"""Features from declaration to answer: what a training saw is what the server computes for the same moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl
import pytest

from modelworks.core.errors import Invalid
from modelworks.factory import Factory

PROJECT = """
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
import modelworks as mw

weather = mw.Dataset(
    "weather",
    source=mw.Files("data/weather*.parquet"),
    contract={"town": str, "at": mw.Time(), "temp": mw.Number(nullable=True)},
    time="at",
)
sales = mw.Dataset(
    "sales",
    source=mw.Files("data/sales*.parquet"),
    contract={"id": str, "shop": str, "town": str, "at": mw.Time(), "price": float, "sold": float},
    key="id",
    time="at",
    features={
        "cheap": "1.0 / price",
        "temp": mw.AsOf("weather", "temp", by="town", within="3h"),
        "warmth": "coalesce(temp, 0) * price",
        "lately": mw.Rolling("mean", "sold", by="shop", over="2d", lag="1h"),
        "rush": mw.Rolling("count", by="town", over="6h"),
    },
)
FEATURES = ["price", "cheap", "temp", "warmth", "lately", "rush"]

@mw.model(dataset=sales, target="sold", features=FEATURES, metrics=["rmse"])
def demand(X, y, params):
    return make_pipeline(SimpleImputer(keep_empty_features=True), LinearRegression()).fit(X, y)
"""
START = datetime(2024, 3, 1, tzinfo=UTC)
FEATURES = ["price", "cheap", "temp", "warmth", "lately", "rush"]


def weather() -> pl.DataFrame:
    hours = range(24 * 10)
    rows = [
        {"town": town, "at": START + timedelta(hours=hour), "temp": 10.0 + (hour * place) % 13}
        for hour in hours
        for place, town in enumerate(("Ulm", "Ohm"), 3)
        if hour % 24 < 20  # at night nobody measures
    ]
    return pl.DataFrame(rows)


def sales(count: int, first: int = 0) -> pl.DataFrame:
    random = np.random.default_rng(first)
    return pl.DataFrame(
        {
            "id": [f"s{n}" for n in range(first, first + count)],
            "shop": random.choice(["a", "b", "c"], count),
            "town": random.choice(["Ulm", "Ohm", "Elm"], count),
            "at": [
                START + timedelta(minutes=int(m)) for m in sorted(random.integers(0, 60 * 24 * 10, count))
            ],
            "price": random.integers(1, 9, count).astype(float),
            "sold": random.integers(0, 50, count).astype(float),
        }
    )


@pytest.fixture
def factory(tmp_path: Path) -> Any:
    (tmp_path / "factory.py").write_text(PROJECT)
    (tmp_path / "data").mkdir()
    weather().write_parquet(tmp_path / "data" / "weather.parquet")
    sales(600).write_parquet(tmp_path / "data" / "sales.parquet")
    with Factory(tmp_path) as opened:
        yield opened


def test_the_server_computes_what_the_training_saw(factory: Factory) -> None:
    factory.ingest()
    (report,) = factory.train()
    assert report.trained == 1, report
    columns = ["id", "shop", "town", "at", *FEATURES]
    seen = factory.stations.data.frame("sales", columns).sort("id").head(100)
    assert all(seen[name].null_count() < len(seen) for name in FEATURES)
    assert seen["temp"].null_count() > 0  # a night, and a town where nobody measures
    asked = seen.select("id", "shop", "town", "price", pl.col("at").dt.to_string("iso:strict")).to_dicts()
    for rows in (asked, asked[:1]):
        factory.predict("demand", rows)
        factory.drain()
        logged = factory.predictions("demand", limit=len(rows))
        told = {one["key"]: orjson.loads(one["inputs"]) for one in logged}
        for row in seen.head(len(rows)).iter_rows(named=True):
            assert {name: told[row["id"]][name] for name in FEATURES} == {
                name: row[name] for name in FEATURES
            }


def test_new_rows_are_seen_at_once_and_a_sent_feature_is_not_believed(factory: Factory) -> None:
    factory.ingest()
    factory.train()
    at = (START + timedelta(days=13)).isoformat()
    row = {"id": "x", "shop": "a", "town": "Ulm", "price": 2.0, "at": at, "lately": 1e6}

    def lately() -> Any:
        factory.predict("demand", [row])
        factory.drain()
        return orjson.loads(factory.predictions("demand", limit=1)[0]["inputs"])["lately"]

    assert lately() is None
    more = sales(3, 1000).with_columns(
        shop=pl.lit("a"), at=pl.lit(START + timedelta(days=11, hours=20)), sold=pl.Series([1.0, 2.0, 6.0])
    )
    more.write_parquet(factory.config.root / "data" / "sales-more.parquet")
    factory.ingest("sales")
    assert lately() == 3.0


def test_a_row_that_lacks_what_a_feature_needs_is_refused(factory: Factory) -> None:
    factory.ingest()
    factory.train()
    with pytest.raises(Invalid, match="a row has no 'town'"):
        factory.predict("demand", [{"shop": "a", "price": 2.0}])


def test_another_way_of_computing_is_another_model(factory: Factory) -> None:
    factory.ingest()
    factory.train()
    assert factory.train()[0].trained == 0
    path = factory.config.root / "factory.py"
    path.write_text(path.read_text().replace('over="2d"', 'over="3d"'))
    with Factory(factory.config.root) as changed:
        assert changed.train()[0].trained == 1
