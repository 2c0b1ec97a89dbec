"""What it costs to watch a fleet: 1,000 models of 20 features, a million logged predictions of four weeks.

Run it with ``make bench-monitor``; Evidently and NannyML beside it need ``make peers``.

- *sketch*: the whole log is read from its table, joined with its outcomes, counted in the bins of each version, and
  the sketches of every model and day are written into the ledger, acknowledged.
- *judge*: what a later look at it costs: four weeks of sketches are read from the ledger, merged, and tested, all
  features and answers of all models.
- *all tests*: every drift test of the catalog on every feature and answer of every model.
- *peers*: the same predictions of some of the models, each judged against its reference by Evidently's data drift
  preset and by NannyML's univariate drift, by their defaults, without reading and parsing a log; times the models.

``--linear`` does ours once more with ten times the models, the same number of predictions each.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from sqlalchemy import insert

import drift_peers
from modelworks.core.batch import Batch
from modelworks.core.main_effects import main_effects
from modelworks.core.measure import Reference
from modelworks.core.schema import Field, Kind
from modelworks.models.package import Package, Proof
from modelworks.models.signature import Signature
from modelworks.monitor.drift import DRIFT_TESTS
from modelworks.monitor.fleet import benjamini_hochberg
from modelworks.monitor.station import MonitorStation
from modelworks.stores import Stores, open_stores
from modelworks.stores.ledger.tables import deployments, model_versions

NUMBERS, TEXTS, DAYS = 16, 4, 28
MODEL = "fleet"
BEGIN = datetime(2024, 3, 1, tzinfo=UTC)
END = BEGIN + timedelta(days=DAYS)
_UTC = pl.Datetime("us", "UTC")
_NAMES = [f"n{n}" for n in range(NUMBERS)], [f"t{n}" for n in range(TEXTS)]
_SIGNATURE = Signature(
    tuple(Field(n, Kind.NUMBER, True) for n in _NAMES[0])
    + tuple(Field(n, Kind.TEXT, True) for n in _NAMES[1]),
    "binary",
    (0, 1),
)


def features(rng: np.random.Generator, rows: int) -> pl.DataFrame:
    """Rows of all features."""
    numbers = rng.normal(size=(NUMBERS, rows)).astype(np.float32)
    words = rng.integers(0, 12, (TEXTS, rows))
    return pl.DataFrame(
        dict(zip(_NAMES[0], numbers, strict=True))
        | {
            name: pl.Series([f"word {n}" for n in range(12)])[column]
            for name, column in zip(_NAMES[1], words, strict=True)
        }
    )


def references(stores: Stores, rng: np.random.Generator, models: int, rows: int) -> list[pl.DataFrame]:
    """Register champions, each with a reference of its own; returns the rows of the first ones."""
    kept, versions, champions = [], [], []
    for model in range(models):
        frame = features(rng, rows)
        batch = Batch(frame.select(_NAMES[0]).to_numpy(), frame.select(_NAMES[1]).to_numpy().astype(object))
        scores = rng.random(rows)
        made = Reference.build(batch, scores)
        made = replace(made, main_effects=main_effects(made.bins(batch), scores))
        digest = stores.artifacts.put(made.to_bytes())
        package = Package(_SIGNATURE, "sklearn", "0" * 64, None, Proof(0, None, 1e-4), digest, "env", "code")
        place = {"model": MODEL, "segment": f"m{model}"}
        metrics = {"log_loss": 0.69}
        versions.append(
            {**place, "version": 1, "package": package.to_json(), "run": f"m{model}-1", "metrics": metrics}
            | {"rows_filter": {}, "created": BEGIN}
        )
        champions.append(
            {**place, "champion": 1, "previous": None, "strategy": {}, "reason": "", "revision": 1}
            | {"updated": BEGIN}
        )
        if len(kept) < 10:
            kept.append(frame)
    with stores.ledger.write() as db:
        db.execute(insert(model_versions), versions)
        db.execute(insert(deployments), champions)
    return kept


def predictions(stores: Stores, rng: np.random.Generator, models: int, rows: int) -> None:
    """Log `rows` predictions of each model, and an outcome of each, spread over the days."""
    each = max(models * rows // DAYS, 1)
    for day in range(DAYS):
        frame = features(rng, each)
        ids = [f"{day:04x}{n:022x}-0" for n in range(each)]
        moment = BEGIN + timedelta(days=day)
        times = pl.Series(np.sort(rng.integers(0, 86_400_000_000, each))).cast(pl.Duration("us")) + moment
        score = pl.Series(rng.random(each))
        log = pl.DataFrame(
            {
                "id": ids,
                "time": times.cast(_UTC),
                "event_time": times.cast(_UTC),
                "model": [MODEL] * each,
                "segment": pl.Series([f"m{n}" for n in range(models)])[rng.permutation(each) % models],
                "version": np.ones(each, np.int64),
                "key": pl.Series([None] * each, dtype=pl.String),
                "inputs": frame.select(pl.struct(pl.all()).struct.json_encode()).to_series(),
                "output": score,
                "outputs": [""] * each,
            }
        )
        stores.tables.append("predictions", log)
        told = log.select(pl.col("id").alias("prediction_id"), "time", "model").with_columns(
            key=pl.lit(None, pl.String), received=pl.col("time"), label=pl.lit(None, pl.String),
            value=pl.Series((rng.random(each) < score.to_numpy()).astype(np.float64)),
        )  # fmt: skip
        stores.tables.append("outcomes", told)


def ours(folder: Path, models: int, rows: int) -> tuple[dict[str, float], list[pl.DataFrame]]:
    """Seconds of each part, and the references of the first models."""
    rng = np.random.default_rng(0)
    stores = open_stores(folder)
    kept = references(stores, rng, models, 500)
    predictions(stores, rng, models, rows)
    station = MonitorStation(stores, lambda: END)
    begun = time.perf_counter()
    seen = station.observe(MODEL)
    observed = time.perf_counter() - begun
    assert seen.rows == DAYS * max(models * rows // DAYS, 1), seen.rows
    assert len(seen.watches) == models
    again = []
    for _ in range(3):
        fresh = MonitorStation(stores, lambda: END)
        # What never changes is read once in the life of a process.
        fresh._versions = station._versions
        begun = time.perf_counter()
        fresh.summary(MODEL, end=END)
        again.append(time.perf_counter() - begun)
    known = station._versions.of(MODEL, [(f"m{n}", 1) for n in range(models)])
    reference = np.stack([one.reference.features for one in known.values()])
    live = rng.multinomial(rows, np.full(reference.shape[-1], 1 / reference.shape[-1]), reference.shape[:-1])
    begun = time.perf_counter()
    for name in DRIFT_TESTS:
        found = DRIFT_TESTS[name].compute(reference, live)
        if DRIFT_TESTS[name].gives == "p":
            benjamini_hochberg(found)
    tests = time.perf_counter() - begun
    judged = sorted(again)[1]
    # The first look judges as well.
    return {
        "sketch": observed - judged,
        "judge": judged,
        "all tests": tests,
        "in all": observed + tests,
    }, kept


def peers(folder: Path, kept: list[pl.DataFrame], models: int, rows: int, names: list[str]) -> dict[str, Any]:
    """Seconds of each peer for all models, by what it takes for some; or why there are none."""
    rng = np.random.default_rng(1)
    for case, reference in enumerate(kept):
        (folder / f"m{case}").mkdir(parents=True)
        reference.write_parquet(folder / f"m{case}" / "reference.parquet")
        current = features(rng, rows).with_columns(day=pl.lit(0))
        current.write_parquet(folder / f"m{case}" / "current.parquet")
    found: dict[str, Any] = {}
    for name in names:
        if why := drift_peers.missing(name):
            found[name] = why
            continue
        try:
            seconds = [one.seconds for one in drift_peers.ask(name, folder).values()]
        except RuntimeError as error:
            found[name] = str(error)
            continue
        # The first call warms up what is done once.
        found[name] = float(np.median(seconds[1:])) * models
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--models", type=int, default=1_000)
    parser.add_argument("--rows", type=int, default=1_000, help="predictions of each model")
    parser.add_argument("--peers", nargs="*", choices=drift_peers.NAMES, default=list(drift_peers.NAMES))
    parser.add_argument("--linear", action="store_true", help="ours with ten times the models as well")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    told: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        told["ours"], kept = ours(Path(folder) / "ours", options.models, options.rows)
        told |= peers(Path(folder) / "peers", kept, options.models, options.rows, options.peers)
    if options.linear:
        with tempfile.TemporaryDirectory() as folder:
            told["ten times"] = ours(Path(folder) / "ours", 10 * options.models, options.rows)[0]
    if options.json:
        print(json.dumps(told))
        return
    total = told["ours"]["in all"]
    count = NUMBERS + TEXTS
    print(
        f"{options.models:,} models x {count} features, {options.models * options.rows:,} predictions with outcomes"
    )
    for way in ("ours", *(["ten times"] if options.linear else [])):
        for part, seconds in told[way].items():
            print(f"{way:10} {part:10} {seconds:10.2f} s")
    for name in options.peers:
        value = told[name]
        said = (
            value if isinstance(value, str) else f"{value:10.0f} s   {value / total:,.0f} times ours in all"
        )
        print(f"{name:21} {said}")


if __name__ == "__main__":
    main()
