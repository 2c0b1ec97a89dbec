"""Experiment tracking: runs and metric points a second, over HTTP beside MLflow, and in process; search.

Run it with ``make bench-track``. MLflow is installed once into ``.venv-mlflow``, with its own dependencies.

- *MLflow at our door*: MLflow's client with our server behind it.

- *http*: a client process and a server process, each product its own, on SQLite, one after the other in each round.
  A run has 5 parameters and 5 metrics and is written as a user writes it: open, parameters, metrics, end. Ours is
  measured until the server has acknowledged all of it. Points are logged one a call, and 1,000 a call (which is the
  most that MLflow takes).
- *in process*: the same without a server, measured until all of it is in the ledger.
- *search*: queries over 100,000 runs in one ledger, as `mw.runs` asks them, without the making of the frame.

Medians of the rounds; the ratios are those of each round.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from modelworks.core.clock import new_id, system_clock
from modelworks.sdk.process import start
from modelworks.stores import Stores, open_stores
from modelworks.track import book, look
from modelworks.track.entry import Entry

ROOT = Path(__file__).parents[1]
MLFLOW = ROOT / ".venv-mlflow"

OURS = """
import json, sys, time
import modelworks as mw
runs, points, server = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] or None
with mw.run("warm", server=server) as run:
    run.log_metrics(a=1.0)
run._sink.source.wait()
run.settle()
def log(n):
    begun = time.perf_counter()
    for i in range(n):
        with mw.run(f"run{i}", server=server) as run:
            run.log_params(lr=0.1, depth=i, kind="tree", seed=7, rows=1000)
            run.log_metrics(auc=0.8, loss=0.1, f1=0.7, recall=0.6, seconds=float(i))
    said = time.perf_counter() - begun
    run.settle()
    return said, time.perf_counter() - begun
log(20)
said, settled = log(runs)
with mw.run("points", server=server) as run:
    begun = time.perf_counter()
    for step in range(points):
        run.log_metrics({"loss": 1 / (step + 1)}, step=step)
    points_said = time.perf_counter() - begun
    run.settle()
    points_settled = time.perf_counter() - begun
with mw.run("courses", server=server) as run:
    begun = time.perf_counter()
    for first in range(0, 4 * points, 1000):
        steps = range(first, first + 1000)
        run.log_course("loss", [1 / (step + 1) for step in steps], steps)
    run.settle()
    batches_settled = time.perf_counter() - begun
print(json.dumps({
    "runs": runs / settled, "runs_said": runs / said, "points": points / points_settled,
    "batched": 4 * points / batches_settled, "call_us": points_said / points * 1e6,
}))
"""

THEIRS = """
import json, sys, time
import mlflow
from mlflow.entities import Metric
runs, points, server = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
mlflow.set_tracking_uri(server)
mlflow.set_experiment("bench")
def log(n):
    begun = time.perf_counter()
    for i in range(n):
        with mlflow.start_run(run_name=f"run{i}"):
            mlflow.log_params({"lr": 0.1, "depth": i, "kind": "tree", "seed": 7, "rows": 1000})
            mlflow.log_metrics({"auc": 0.8, "loss": 0.1, "f1": 0.7, "recall": 0.6, "seconds": float(i)})
    return time.perf_counter() - begun
log(2)
took = log(runs)
with mlflow.start_run(run_name="points") as run:
    client = mlflow.MlflowClient()
    begun = time.perf_counter()
    now = int(time.time() * 1000)
    for first in range(0, points, 1000):
        batch = [Metric("loss", 1 / (step + 1), now, step) for step in range(first, first + 1000)]
        client.log_batch(run.info.run_id, metrics=batch)
    points_took = time.perf_counter() - begun
    begun = time.perf_counter()
    for step in range(20):
        mlflow.log_metric("single", 1.0, step=step)
    single = time.perf_counter() - begun
print(json.dumps({"runs": runs / took, "points": 20 / single, "batched": points / points_took,
                  "call_us": single / 20 * 1e6}))
"""


def install() -> str:
    """MLflow in an environment of its own, see the Makefile; returns its version."""
    subprocess.run(["make", "-s", "mlflow"], cwd=ROOT, check=True)
    asked = [MLFLOW / "bin" / "python", "-c", "import importlib.metadata as m; print(m.version('mlflow'))"]
    return subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """MLflow's server, as it starts by default, on SQLite."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [MLFLOW / "bin" / "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
               "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}",
               "--artifacts-destination", str(folder / "mlflow-artifacts")]  # fmt: skip
    with (folder / "mlflow.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
        try:
            for _ in range(600):
                try:
                    if httpx.get(f"{url}/health").is_success:
                        break
                except httpx.HTTPError:
                    time.sleep(0.2)
            else:
                raise RuntimeError((folder / "mlflow.log").read_text()[-2000:])
            yield url
        finally:
            process.terminate()
            process.wait()


def client(
    python: Path | str, code: str, runs: int, points: int, server: str, folder: Path
) -> dict[str, float]:
    """A client process; what it measured."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".modelworks").mkdir(exist_ok=True)
    command = [str(python), "-W", "ignore", "-c", code, str(runs), str(points), server]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


QUERIES = [
    "metrics.auc > 0.9 and params.depth = 6 order by metrics.auc desc limit 50",
    "metrics.auc > 0.5 order by metrics.auc desc limit 50",
    "metrics.loss < 0.01 or params.kind = 'tree' limit 50",
    "not metrics.auc > 0.1 and tags.team = 'b' limit 50",
    "params.kind like 'tr%' and duration > 10m order by started limit 50",
    "name = 'run77' and status = 'done'",
    "metrics.auc > 0.2 and metrics.loss < 0.8 and params.depth in (3, 4, 5) order by params.depth, metrics.loss",
    "limit 100",
]


def fill(stores: Stores, count: int) -> float:
    """So many runs with 5 parameters, 5 metrics and a tag; the seconds that it took."""
    chance = random.Random(7)
    begun = time.perf_counter()
    now = time.time_ns() // 1000
    for first in range(0, count, 5000):
        entries = []
        for i in range(first, min(first + 5000, count)):
            run, at = new_id(), now - (count - i) * 60_000_000
            entries.append(Entry(
                run, at, name=f"run{i % 1000}", tags={"team": chance.choice("abc")},
                params={"lr": chance.random(), "depth": chance.randint(2, 12), "kind": chance.choice(["tree", "line"]),
                        "seed": i, "rows": 1000},
                metrics={"auc": chance.random(), "loss": chance.random(), "f1": chance.random(),
                         "recall": chance.random(), "seconds": chance.random()},
            ))  # fmt: skip
            entries.append(Entry(run, at + chance.randint(1, 3_600_000_000), status="done"))
        with stores.ledger.write() as db:
            book.enter(db, entries)
    return time.perf_counter() - begun


def search(folder: Path, count: int, repeats: int) -> dict[str, Any]:
    """Milliseconds of each query, medians."""
    stores = open_stores(folder)
    filled = fill(stores, count)
    measured = {}
    for query in QUERIES:
        look.find(stores, query, system_clock(), limit=100)
        times = []
        for _ in range(repeats):
            begun = time.perf_counter()
            found = len(look.find(stores, query, system_clock(), limit=100))
            times.append((time.perf_counter() - begun) * 1000)
        measured[query] = {"ms": statistics.median(times), "found": found}
    stores.ledger.close()
    return {"runs": count, "fill_runs_per_s": count / filled, "queries": measured}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--runs", type=int, default=2000, help="runs of ours in a round")
    parser.add_argument("--their-runs", type=int, default=20, help="runs of MLflow in a round")
    parser.add_argument("--points", type=int, default=50_000)
    parser.add_argument("--their-points", type=int, default=5_000)
    parser.add_argument("--search", type=int, default=100_000, help="runs to search among")
    parser.add_argument("--json", action="store_true", help="print only JSON")
    chosen = parser.parse_args()
    version = install()
    rounds = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "server" / ".modelworks").mkdir(parents=True)
        with start(folder / "server") as ours, mlflow_server(folder) as theirs:
            theirs_python = MLFLOW / "bin" / "python"
            for turn in range(chosen.repeats):
                place_of = {who: folder / f"{who}{turn}" for who in ("http", "mlflow", "door", "in process")}
                one = {
                    "http": client(
                        sys.executable, OURS, chosen.runs, chosen.points, ours.url, place_of["http"]
                    )
                }
                one["mlflow"] = client(
                    theirs_python, THEIRS, chosen.their_runs, chosen.their_points, theirs, place_of["mlflow"]
                )
                one["MLflow at our door"] = client(
                    theirs_python, THEIRS, chosen.their_runs, chosen.their_points, f"{ours.url}/mlflow",
                    place_of["door"],
                )  # fmt: skip
                one["in process"] = client(
                    sys.executable, OURS, chosen.runs, chosen.points, "", place_of["in process"]
                )
                rounds.append(one)
        found = search(folder / "search", chosen.search, max(chosen.repeats, 5))
    middle = {
        who: {name: statistics.median(one[who][name] for one in rounds) for name in rounds[0][who]}
        for who in rounds[0]
    }
    ratios = {
        who: {
            name: statistics.median(one[who][name] / one["mlflow"][name] for one in rounds)
            for name in ("runs", "points", "batched")
        }
        for who in ("http", "MLflow at our door")
    }
    told = {
        "mlflow": version,
        "medians": middle,
        "over_mlflow": ratios,
        "search": found,
        "rounds": rounds,
    }
    if chosen.json:
        print(json.dumps(told, indent=2))
        return
    out = Console()
    table = Table(box=None, title=f"Tracking, beside MLflow {version}", title_justify="left")
    for name in ("", "runs/s", "points/s, one a call", "points/s, 1,000 a call", "one call, µs"):
        table.add_column(name, justify="right" if name else "left")
    shown = {"runs": ",.1f", "points": ",.0f", "batched": ",.0f", "call_us": ",.1f"}
    for who, one in middle.items():
        table.add_row(who, *(format(one[name], how) for name, how in shown.items()))
    for who, one in ratios.items():
        table.add_row(f"{who} over mlflow", *(f"{value:,.1f} x" for value in one.values()), "")
    out.print(table)
    slow = Table(box=None, title=f"Search among {found['runs']:,} runs", title_justify="left")
    for name in ("query", "ms", "found"):
        slow.add_column(name, justify="left" if name == "query" else "right", overflow="fold")
    for query, one in found["queries"].items():
        slow.add_row(query, f"{one['ms']:.1f}", str(one["found"]))
    out.print(slow)


if __name__ == "__main__":
    main()
