"""A small factory on disk, with a world whose habits change: the ground of the stories."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

START = datetime(2024, 1, 1, tzinfo=UTC)
SHOPS = (("north", "a"), ("north", "b"), ("south", "a"), ("south", "c"))

FACTORY = '''
"""Will this order be returned? A model for each region and shop."""
import modelworks as mw
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

orders = mw.Dataset(
    "orders",
    source=mw.Files("data/*.parquet"),
    key="order_id",
    time="ordered",
    contract={
        "order_id": str,
        "ordered": mw.Time(),
        "region": str,
        "shop": str,
        "price": mw.Number(min=0),
        "weight": mw.Number(nullable=True),
        "size": mw.Text(allowed=["S", "M", "L"]),
        "returned": mw.Number(min=0, max=1, integer=True),
    },
)


@mw.model(
    dataset=orders,
    target="returned",
    features=["price", "weight", "size"],
    per=["region", "shop"],
    min_rows=100,
    metrics=["log_loss", "roc_auc"],
    gate=[mw.BeatsChampion("log_loss")],
    retrain=[mw.OnRows(60), mw.OnDecay("log_loss", by=0.1)],
    cooldown="3d",
    window="20d",
    value=mw.Payoff(tp=10, fp=-4),
)
def returns(X, y, params):
    from sklearn.impute import SimpleImputer

    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), ["price", "weight"]),
        (OneHotEncoder(handle_unknown="ignore"), ["size"]),
    )
    return make_pipeline(columns, LogisticRegression(C=1.0)).fit(X, y)
'''


def orders(day: int, per_shop: int = 10, flipped: bool = False) -> pl.DataFrame:
    """One day of orders; when `flipped`, dear orders are kept and cheap ones come back."""
    rng = np.random.default_rng(day)
    frames = []
    for region, shop in SHOPS:
        price = rng.gamma(2.0, 20.0, per_shop)
        sign = -1.0 if flipped else 1.0
        odds = sign * (price - 40.0) / 12.0 + (0.8 if region == "north" else -0.8)
        frames.append(
            pl.DataFrame(
                {
                    "order_id": [f"{day:03d}-{region}-{shop}-{n}" for n in range(per_shop)],
                    "ordered": [
                        START + timedelta(days=day, minutes=int(m))
                        for m in np.sort(rng.integers(0, 1440, per_shop))
                    ],
                    "region": region,
                    "shop": shop,
                    "price": price,
                    "weight": np.where(rng.random(per_shop) < 0.1, None, rng.normal(2, 0.5, per_shop)).astype(
                        float
                    ),
                    "size": rng.choice(["S", "M", "L"], per_shop),
                    "returned": (rng.random(per_shop) < 1 / (1 + np.exp(-odds))).astype(np.int64),
                }
            ).with_columns(pl.col("weight").fill_nan(None))
        )
    return pl.concat(frames)


def make_project(root: Path, days: int = 30) -> Path:
    """A project with `days` days of orders, one file a day."""
    (root / "data").mkdir(parents=True)
    (root / "factory.py").write_text(FACTORY)
    for day in range(days):
        write_day(root, day, orders(day))
    return root


def write_day(root: Path, day: int, frame: pl.DataFrame) -> None:
    """Put one day's file where the factory finds it."""
    frame.write_parquet(root / "data" / f"{day:03d}.parquet")
