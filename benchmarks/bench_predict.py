"""Batch scoring of a Parquet file, all in, beside a bare ONNX Runtime loop over the same file in memory.

The bare loop has the matrix ready, asks the same graph in batches of 25,000 rows on one thread, and keeps the
answers: no reading, no checks, no routing, no writing. Both are measured interleaved; medians and their ratio.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import onnxruntime as ort
import polars as pl

from modelworks.factory import Factory

AT_ONCE = 25_000
FACTORY = """
import modelworks as mw

data = mw.Dataset("data", source=mw.Files("data/*.parquet"), contract={{
    **{{f"x{{n}}": float for n in range(10)}}, "shop": str, "at": mw.Time(), "y": int}}, time="at")


@mw.model(dataset=data, target="y", features=[f"x{{n}}" for n in range(10)], per={per}, min_rows=50)
def model(X, y, params):
    {fit}
"""
FITS = {
    "logistic regression": "from sklearn.linear_model import LogisticRegression as M; return M().fit(X, y)",
    "boosting, 100 trees": "from sklearn.ensemble import HistGradientBoostingClassifier as M; return M().fit(X, y)",
}


def made(rows: int, shops: int) -> pl.DataFrame:
    """Rows of ten numbers, of some shops."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(rows, 10))
    y = (x.sum(axis=1) + rng.normal(size=rows) > 0).astype(int)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    return pl.DataFrame(
        {**{f"x{n}": x[:, n] for n in range(10)}, "shop": [f"s{n:03d}" for n in rng.integers(0, shops, rows)],
         "at": pl.datetime_range(start, start + timedelta(seconds=rows - 1), "1s", eager=True), "y": y}
    )  # fmt: skip


def timed(function: Callable[[], Any]) -> float:
    begun = perf_counter()
    function()
    return perf_counter() - begun


def measure(root: Path, name: str, rows: pl.DataFrame, per: bool, workers: int, rounds: int) -> None:
    """One line of the table."""
    (root / "data").mkdir(parents=True)
    rows.head(20_000).write_parquet(root / "data/part.parquet")
    (root / "factory.py").write_text(FACTORY.format(per=["shop"] if per else [], fit=FITS[name]))
    file = root / "rows.parquet"
    rows.write_parquet(file, row_group_size=100_000)
    with Factory(root) as factory:
        factory.ingest()
        factory.train()
        champions = factory.stations.registry.champions("model")
        package = champions[()].package
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = ort.InferenceSession(
            factory.stores.artifacts.get(package.compiled or ""), options, providers=["CPUExecutionProvider"]
        )
        matrix = rows.select(f"x{n}" for n in range(10)).to_numpy().astype(np.float32)
        ask = session.get_inputs()[0].name

        def bare() -> None:
            for start in range(0, len(matrix), AT_ONCE):
                session.run(None, {ask: matrix[start : start + AT_ONCE]})

        def whole() -> None:
            factory.score("model", root / "out.parquet", file=file, workers=workers)

        bare(), whole()
        times = [(timed(bare), timed(whole)) for _ in range(rounds)]
    loop, all_in = (median(column) for column in zip(*times, strict=True))
    what = f"{name}, {len(champions)} segments" if per else name
    print(
        f"{what:<36}{len(rows) / loop:>14,.0f}{len(rows) / all_in:>14,.0f}{loop / all_in:>8.2f}", flush=True
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    print(f"{'rows/s':<36}{'bare loop':>14}{'all in':>14}{'ratio':>8}")
    for name in FITS:
        for per in (False, True):
            with tempfile.TemporaryDirectory() as place:
                measure(Path(place), name, made(given.rows, 100), per, given.workers, given.rounds)


if __name__ == "__main__":
    main()
