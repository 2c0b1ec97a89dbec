"""Registering versions: milliseconds each, all in, beside MLflow's client and server.

Run it with ``make bench-register``. What is registered is a fitted scikit-learn pipeline with ten numeric columns; the
fits are not measured.

- *log and register*: from the fitted object to a version that can be deployed. Ours is packaged, compiled, proven on
  the example and registered by `run.log_model`; MLflow's is `mlflow.sklearn.log_model(registered_model_name=...)`,
  with the requirements given (without, it takes ten times as long to find them out) and the same example.
- *register*: a version of what is packaged, or logged, already: `registry.register_many`, a transaction each;
  `mlflow.register_model`.
- *together*: the same, all of them in one transaction, as the training of a fleet does; MLflow has no such call.
- *MLflow at our door*: MLflow's client with our server behind it.

One after the other in each round; MLflow gets fewer versions, for it takes a second for each.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench_track import MLFLOW, client, install, mlflow_server
from modelworks.sdk.process import start

MODELS = """
import json, sys, time
import numpy as np, pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
chance = np.random.default_rng(7)
X = pd.DataFrame(chance.normal(size=(500, 10)), columns=[f"c{i}" for i in range(10)])
example = X.head(100)
def fitted():
    y = (X["c0"] + chance.normal(size=500) > 0).astype(int)
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
count, server = int(sys.argv[1]), sys.argv[3]
"""
OURS = (
    MODELS
    + """
import modelworks as mw
from modelworks.core.clock import new_id, system_clock
from modelworks.registry.model_version import Draft
from modelworks.registry.station import RegistryStation
from modelworks.stores import open_stores
from pathlib import Path
def log(model):
    begun = time.perf_counter()
    with mw.run("bench") as run:
        version = run.log_model(model, "logged", example)
    return time.perf_counter() - begun, version
_, version = log(fitted())
assert version.package.compiled
logged = sum(log(model)[0] for model in [fitted() for _ in range(count)])
stores = open_stores(Path(".modelworks"))
registry = RegistryStation(stores.ledger, system_clock)
begun = time.perf_counter()
for _ in range(count):
    with stores.ledger.write() as db:
        registry.register_many(db, [Draft("registered", (), new_id(), version.package, {"auc": 0.8})])
registered = time.perf_counter() - begun
assert registry.versions("registered", limit=1)[0].version == count
begun = time.perf_counter()
with stores.ledger.write() as db:
    registry.register_many(db, [Draft("fleet", (), new_id(), version.package, {"auc": 0.8}) for _ in range(count)])
together = time.perf_counter() - begun
print(json.dumps({"log": logged / count * 1000, "register": registered / count * 1000,
                  "together": together / count * 1000}))
"""
)
THEIRS = (
    MODELS
    + """
import mlflow
mlflow.set_tracking_uri(server)
mlflow.set_experiment("bench")
def log(model):
    begun = time.perf_counter()
    with mlflow.start_run():
        info = mlflow.sklearn.log_model(model, name="model", input_example=example, registered_model_name="logged",
                                        pip_requirements=["scikit-learn"])
    return time.perf_counter() - begun, info.model_uri
_, uri = log(fitted())
mlflow.register_model(uri, "registered")
logged = sum(log(model)[0] for model in [fitted() for _ in range(count)])
begun = time.perf_counter()
for _ in range(count):
    mlflow.register_model(uri, "registered")
registered = time.perf_counter() - begun
each = registered / count * 1000
print(json.dumps({"log": logged / count * 1000, "register": each, "together": each}))
"""
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--versions", type=int, default=1000, help="versions of ours in a round")
    parser.add_argument("--their-versions", type=int, default=5, help="versions of MLflow in a round")
    parser.add_argument("--json", action="store_true", help="print only JSON")
    chosen = parser.parse_args()
    version = install()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "server" / ".modelworks").mkdir(parents=True)
        with start(folder / "server") as ours, mlflow_server(folder) as theirs:
            python, few = MLFLOW / "bin" / "python", chosen.their_versions
            rounds = [
                {
                    "modelworks": client(
                        sys.executable, OURS, chosen.versions, 0, "", folder / f"ours{turn}"
                    ),
                    "MLflow": client(python, THEIRS, few, 0, theirs, folder / f"theirs{turn}"),
                    "MLflow at our door": client(
                        python, THEIRS, few, 0, f"{ours.url}/mlflow", folder / f"door{turn}"
                    ),
                }
                for turn in range(chosen.repeats)
            ]
    middle = {
        who: {name: statistics.median(one[who][name] for one in rounds) for name in rounds[0][who]}
        for who in rounds[0]
    }
    ratios = {
        who: {
            name: statistics.median(one["MLflow"][name] / one[who][name] for one in rounds)
            for name in middle[who]
        }
        for who in middle
    }
    if chosen.json:
        print(
            json.dumps(
                {"mlflow": version, "medians_ms": middle, "times_faster": ratios, "rounds": rounds}, indent=2
            )
        )
        return
    table = Table(box=None, title=f"Registering, ms a version, beside MLflow {version}", title_justify="left")
    for name in ("", "log and register", "register", "together", "times faster:", "", ""):
        table.add_column(name, justify="right" if name else "left")
    for who, one in middle.items():
        table.add_row(
            who, *(f"{value:,.2f}" for value in one.values()), *(f"{ratios[who][name]:,.1f}" for name in one),
        )  # fmt: skip
    Console().print(table)


if __name__ == "__main__":
    main()
