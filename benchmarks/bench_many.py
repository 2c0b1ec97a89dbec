"""A thousand models in one server: what they cost beside one, and what a cold one costs.

Run it with ``make bench-many``; it needs ``wrk``. Gradient-boosted trees (100, of 20 features) and logistic regressions
of 10 features, one row a request, everything logged, by `wrk` with a script that chooses the segment at random:

- *one*: all requests go to one segment; *many*: to a thousand, each with a version of its own.
- *memory*: what the versions take by the server's own account, and what the process grows by.
- *cold*: more models than memory: every request is to one that is not loaded, one after the other.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from load import Case, call, resident, start, wrk

KINDS = {"trees": 20, "linear": 10}
DISTINCT = 20
"""Fits: more versions are made of each than there are fits, but each has its own session."""


def deploy(state: Path, kind: str, count: int) -> None:
    """A model `many` of `count` segments, champions all."""
    import pandas as pd
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    names = columns(kind)
    fitted = []
    for _ in range(DISTINCT):
        x = pd.DataFrame(rng.normal(size=(2000, len(names))), columns=names)
        y = (x.sum(axis=1) + rng.normal(size=2000) > 0).astype(int).to_numpy()
        model = HistGradientBoostingClassifier(max_iter=100) if kind == "trees" else LogisticRegression()
        fitted.append(model.fit(x, y))
    install(state, fitted, x, y, names, count)


def install(state: Path, fitted: Sequence[Any], x: Any, y: Any, names: list[str], count: int) -> None:
    """Make a model `many` of fitted estimators, which take turns, the champions of `count` segments."""
    from sqlalchemy import insert

    from modelworks.core.clock import new_id, system_clock
    from modelworks.deploy.deployment import Promotion
    from modelworks.deploy.station import DeployStation
    from modelworks.models.packaging import pack
    from modelworks.models.signature_of import signature
    from modelworks.stores import open_stores
    from modelworks.stores.ledger.portable import insert_many
    from modelworks.stores.ledger.tables import model_versions, models

    stores = open_stores(state)
    packages = [
        pack(model, signature(x, y, names, model), x.head(50), stores.artifacts, code="", environment="",
             reference=None).to_json()
        for model in fitted
    ]  # fmt: skip
    now = system_clock()
    with stores.ledger.write() as db:
        db.execute(
            insert(models).values(
                name="many", features=names, per=["at"], definition={}, code="", updated=now
            )
        )
        versions = [
            {"model": "many", "segment": f"s{number}", "version": 1, "run": new_id(),
             "package": packages[number % len(packages)], "metrics": {}, "rows_filter": {}, "created": now}
            for number in range(count)
        ]  # fmt: skip
        insert_many(db, model_versions, versions)
        DeployStation(stores.ledger, system_clock).promote_many(
            db, [Promotion("many", (f"s{number}",), 1, "benchmark") for number in range(count)]
        )
    stores.ledger.close()


def columns(kind: str) -> list[str]:
    """The features of a kind."""
    return [f"x{number}" for number in range(KINDS[kind])]


def row(kind: str, segment: int) -> dict[str, Any]:
    """A row of a segment."""
    return {
        "at": f"s{segment}",
        **{name: round(0.1 * place - 0.4, 3) for place, name in enumerate(columns(kind))},
    }


def serve(port: int, state: Path, memory: int) -> None:
    """The server, without the worker that would empty its log."""
    from modelworks.serving import server
    from modelworks.serving.station import ServeStation
    from modelworks.stores import open_stores

    plane = ServeStation(open_stores(state), memory=memory).plane

    async def figures(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": plane.metrics_text().encode()})

    server.run(figures, plane, port=port)


def script(folder: Path, kind: str, segments: int) -> Path:
    """For `wrk`: a request to one of the first segments, by chance."""
    path = folder / f"{kind}-{segments}.lua"
    before, after = json.dumps({"rows": [row(kind, 0)]}).split('"s0"')
    path.write_text(
        "wrk.method = 'POST'\nwrk.headers['Content-Type'] = 'application/json'\nmath.randomseed(7)\n"
        f"request = function() return wrk.format(nil, nil, nil, '{before}\"s' .. math.random(0, {segments - 1}) .. "
        f"'\"{after}') end\n"
    )
    return path


def gauge(port: int, name: str) -> float:
    """One of the server's figures."""
    lines = httpx.get(f"http://127.0.0.1:{port}/metrics").text.splitlines()
    return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])


def measure(kind: str, options: argparse.Namespace) -> dict[str, Any]:
    """One kind of model."""
    port = 20_000 + os.getpid() % 20_000
    case = Case("many", "many", "/predict/many", {"rows": [row(kind, 0)]})
    found: dict[str, Any] = {"kind": kind, "models": options.models, "ratios": {}}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        deploy(folder / "state", kind, options.models)
        begun = time.perf_counter()
        process = start(stack, kind, port, folder / "state", script=__file__)
        call(port, case)
        found["start_seconds"] = time.perf_counter() - begun
        found["loaded_bytes_each"] = gauge(port, "modelworks_loaded_bytes") / options.models
        found["load_ms_each"] = 1000 * gauge(port, "modelworks_load_seconds_total") / options.models
        found["memory_mb"] = resident(process)
        for connections in options.connections:
            rates: dict[int, list[float]] = {1: [], options.models: []}
            for _ in range(options.rounds + 1):
                for segments, said in rates.items():
                    where = script(folder, kind, segments)
                    said.append(wrk(port, case, connections, options.seconds, where)[0])
            one, many = (said[1:] for said in rates.values())
            found["ratios"][connections] = {
                "one": statistics.median(one),
                "many": statistics.median(many),
                "ratio": statistics.median(b / a for a, b in zip(one, many, strict=True)),
            }
    return found


def cold(kind: str, options: argparse.Namespace) -> dict[str, Any]:
    """A fleet that does not fit: every request is to a model that is not loaded."""
    port = 20_000 + os.getpid() % 20_000 + 1
    case = Case("many", "many", "/predict/many", {"rows": [row(kind, 0)]})
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        deploy(folder / "state", kind, options.fleet)
        process = start(
            stack, kind, port, folder / "state", script=__file__, more=["--memory", str(options.memory)]
        )
        call(port, case)
        took, wrong, at_most = [], 0, 0.0
        expected: dict[int, float] = {}
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            for turn in range(2):
                for segment in range(options.fleet):
                    loads = gauge(port, "modelworks_loads_total") if segment % 50 == 0 else None
                    begun = time.perf_counter()
                    answer = client.post("/predict/many", json={"rows": [row(kind, segment)]}).json()
                    seconds = time.perf_counter() - begun
                    (told,) = answer["predictions"]
                    # Those of one fit answer alike, whoever holds them.
                    wrong += told["segment"] != f"s{segment}"
                    wrong += expected.setdefault(segment % DISTINCT, told["output"]) != told["output"]
                    if turn:
                        took.append(seconds)
                    if loads is not None:
                        at_most = max(at_most, gauge(port, "modelworks_loaded_bytes"))
        took.sort()
        return {
            "kind": kind,
            "models": options.fleet,
            "budget_mb": options.memory / 1e6,
            "loaded_mb_at_most": at_most / 1e6,
            "process_mb": resident(process),
            "evictions": gauge(port, "modelworks_evictions_total"),
            "loads": gauge(port, "modelworks_loads_total"),
            "wrong": wrong,
            "cold_ms": {"median": 1000 * took[len(took) // 2], "p99": 1000 * took[len(took) * 99 // 100]},
        }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--fleet", type=int, default=5000, help="models that do not fit into --memory")
    parser.add_argument("--memory", type=int, default=0, help="bytes; by default 1 GB for the fleet")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--json", action="store_true", help="print only JSON")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--state", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.port, options.state, options.memory)
        return
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed: it is in the package of that name of Debian and Homebrew")
    options.memory = options.memory or 1_000_000_000
    result = {
        "spread": [measure(kind, options) for kind in options.kinds],
        "cold": cold("trees", options),
    }
    print(json.dumps(result) if options.json else told(result))


def told(result: dict[str, Any]) -> str:
    """The figures for a reader."""
    lines = []
    for one in result["spread"]:
        lines.append(
            f"{one['kind']}: {one['models']} models, started in {one['start_seconds']:.1f} s, each loaded in "
            f"{one['load_ms_each']:.1f} ms, {one['loaded_bytes_each'] / 1e6:.2f} MB; process {one['memory_mb']:,.0f} MB"
        )
        lines += [
            f"  at {connections:2} connections: one {by['one']:,.0f} requests/s, spread over all {by['many']:,.0f}: "
            f"{by['ratio']:.2f}"
            for connections, by in one["ratios"].items()
        ]
    far = result["cold"]
    lines.append(
        f"{far['models']} models of {far['kind']} with {far['budget_mb']:,.0f} MB: at most "
        f"{far['loaded_mb_at_most']:,.0f} MB loaded, process {far['process_mb']:,.0f} MB, {far['loads']:,.0f} loads, "
        f"{far['evictions']:,.0f} evictions, {far['wrong']} wrong; an answer by a cold one "
        f"{far['cold_ms']['median']:.1f} ms, p99 {far['cold_ms']['p99']:.1f} ms"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
