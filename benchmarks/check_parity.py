"""Whether what is answered over HTTP is what training would have said: every model of the flight demo, a thousand rows.

Run it with ``make check-parity``. The demo's definition is trained on its year of flights; each champion is asked real
flights of any route, over `/v2` by its version, and its original, the fitted scikit-learn pipeline, the same rows.
"""

from __future__ import annotations

import argparse
import json
import pickle
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl

from modelworks.core.ref import Ref
from modelworks.demos.flights import feed, prepare
from modelworks.demos.folder import make
from modelworks.factory import Factory
from modelworks.sdk.process import start
from modelworks.serving.paths import path_of

TOLERANCE = 1e-5
"""Most by which float32, in which a graph calculates, may differ from scikit-learn's float64 as a probability."""


def inputs(rows: pl.DataFrame) -> list[dict[str, Any]]:
    """Rows as tensors, a column each."""
    return [
        {
            "name": column.name,
            "shape": [len(column)],
            "datatype": "BYTES" if column.dtype == pl.String else "FP64",
            "data": column.to_list(),
        }
        for column in rows.get_columns()
    ]


def compared(
    factory: Factory, url: str, flights: pl.DataFrame, models: int | None, count: int
) -> dict[str, Any]:
    """Ask every champion over HTTP and in Python.

    Args:
        factory: The demo's.
        url: Of its server.
        flights: To choose rows from.
        models: How many; ``None`` for all.
        count: Rows a model.
    """
    champions = sorted(factory.stations.registry.champions("delay").items())[:models]
    worst, rows, classes, compiled = 0.0, 0, 0, 0
    with httpx.Client(base_url=url, timeout=60) as client:
        for number, (segment, version) in enumerate(champions):
            package = version.package
            compiled += package.compiled is not None
            original = pickle.loads(factory.stores.artifacts.get(package.native))
            asked = flights.sample(count, seed=number)
            wanted = [field.name for field in package.signature.inputs]
            path = path_of(str(Ref("delay", segment)), str(version.version), "infer").decode()
            answer = client.post(path, json={"inputs": inputs(asked.select(wanted))})
            answer.raise_for_status()
            outputs = {one["name"]: one["data"] for one in answer.json()["outputs"]}
            frame = asked.select(wanted).to_pandas()
            expected = original.predict_proba(frame)
            told = np.array(outputs["probabilities"]).reshape(count, -1)
            worst = max(worst, float(np.abs(told - expected).max()))
            # A class may differ only where the two scores are as good as equal.
            sure = np.abs(expected[:, 1] - 0.5) > TOLERANCE
            labels = np.array(outputs["label"]).astype(float)
            classes += int((labels != original.predict(frame).astype(float))[sure].sum())
            rows += count
    return {
        "models": len(champions),
        "compiled": compiled,
        "rows": rows,
        "worst": worst,
        "wrong_classes": classes,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, help="how many; all by default")
    parser.add_argument("--rows", type=int, default=1000, help="of each model")
    parser.add_argument("--months", type=int, choices=range(1, 13), default=12, help="of flights to train on")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "flights")
        make(folder, "modelworks.demos.flights.project")
        flights = prepare.prepared(prepare.load())
        end = date(2014, 1, 1) if options.months == 12 else date(2013, options.months + 1, 1)
        with feed.files(folder) as send:
            send(prepare.of(flights, date(2013, 1, 1), end), "2013")
        with Factory(folder) as factory:
            factory.ingest()
            factory.train()
            with start(folder) as server:
                told = compared(factory, server.url, flights, options.models, options.rows)
    print(
        json.dumps(told) if options.json else
        f"{told['models']} models ({told['compiled']} compiled), {told['rows']:,} rows over HTTP: the probability "
        f"differs by at most {told['worst']:.2g}, {told['wrong_classes']} classes differ where it is not a tie"
    )  # fmt: skip
    sys.exit(0 if told["worst"] <= TOLERANCE and not told["wrong_classes"] else 1)


if __name__ == "__main__":
    main()
