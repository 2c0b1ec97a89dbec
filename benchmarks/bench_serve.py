"""How fast the server answers one row a request, against a bare echo and against plain scikit-learn.

Run it with ``make bench-serve``; it needs ``wrk``. A logistic regression of 10 features, JSON, keep-alive:

- *echo*: an ASGI application that sends the body back, on the same uvicorn (uvloop, httptools).
- *predict*, *v2*, *v2 columns*: ours, the prediction log on; ``/v2`` with one matrix and with ten inputs.
- *fastapi*, *pydantic*: an ``async def`` route that calls ``predict_proba``; with raw JSON and with a model.

Every server is a process of its own and all live at once; the rounds take turns, the medians are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

NAMES = [f"x{number}" for number in range(10)]
VALUES = [round(0.1 * number - 0.4, 3) for number in range(10)]
ROWS = {"rows": [dict(zip(NAMES, VALUES, strict=True))]}
MATRIX = {"inputs": [{"name": "input", "shape": [1, 10], "datatype": "FP32", "data": VALUES}]}
COLUMNS = {
    "inputs": [
        {"name": name, "shape": [1], "datatype": "FP32", "data": [value]}
        for name, value in zip(NAMES, VALUES, strict=True)
    ]
}


@dataclass(frozen=True)
class Case:
    """One line of the table: which server, which path, which body."""

    name: str
    server: str
    path: str
    body: dict[str, Any]


CASES = [
    Case("echo", "echo", "/", ROWS),
    Case("predict", "ours", "/predict/score", ROWS),
    Case("v2", "ours", "/v2/models/score/infer", MATRIX),
    Case("v2 columns", "ours", "/v2/models/score/infer", COLUMNS),
    Case("fastapi", "fastapi", "/predict", ROWS),
    Case("pydantic", "fastapi", "/predict-pydantic", ROWS),
]


def fitted() -> tuple[Any, Any, Any]:
    """The model and its rows."""
    import pandas as pd
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    x = pd.DataFrame(rng.normal(size=(1000, 10)), columns=NAMES)
    y = (x.sum(axis=1) + rng.normal(size=1000) > 0).astype(int).to_numpy()
    return LogisticRegression().fit(x, y), x, y


# -- the servers, each in a process of its own ---------------------------------------------------------


def serve_echo(port: int, _state: Path) -> None:
    import uvicorn

    async def echo(scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    _run(uvicorn, echo, port)


def serve_fastapi(port: int, _state: Path) -> None:
    import uvicorn
    from fastapi import FastAPI, Request
    from pydantic import BaseModel, create_model
    from sklearn.linear_model import LogisticRegression

    _, x, y = fitted()
    model = LogisticRegression().fit(x.to_numpy(), y)  # without names: its checks cost time
    app = FastAPI()
    row_type = create_model("Row", **dict.fromkeys(NAMES, (float, ...)))  # type: ignore[call-overload]

    class Rows(BaseModel):
        rows: list[row_type]  # type: ignore[valid-type]

    async def predict(request: Request) -> dict[str, Any]:
        rows = (await request.json())["rows"]
        scores = model.predict_proba(np.array([[row[name] for name in NAMES] for row in rows]))
        return {"predictions": scores[:, 1].tolist()}

    async def predict_pydantic(rows: Rows) -> dict[str, Any]:
        values = np.array([[getattr(row, name) for name in NAMES] for row in rows.rows])
        return {"predictions": model.predict_proba(values)[:, 1].tolist()}

    # FastAPI looks annotations up in the module, where these local classes are not.
    predict.__annotations__["request"] = Request
    predict_pydantic.__annotations__["rows"] = Rows
    app.post("/predict")(predict)
    app.post("/predict-pydantic")(predict_pydantic)
    _run(uvicorn, app, port)


def serve_ours(port: int, state: Path) -> None:
    from modelworks.serving import server
    from modelworks.serving.station import ServeStation
    from modelworks.stores import open_stores

    server.run(None, ServeStation(open_stores(state)).plane, port=port)


def deploy(state: Path) -> None:
    """Pack the model and make it the champion."""
    from sqlalchemy import insert

    from modelworks.core.clock import new_id, system_clock
    from modelworks.deploy.deployment import Promotion
    from modelworks.deploy.station import DeployStation
    from modelworks.models.packaging import pack
    from modelworks.models.signature_of import signature
    from modelworks.stores import open_stores
    from modelworks.stores.ledger.tables import model_versions, models

    stores = open_stores(state)
    model, x, y = fitted()
    package = pack(
        model,
        signature(x, y, NAMES, model),
        x.head(50),
        stores.artifacts,
        code="",
        environment="",
        reference=None,
    )
    now = system_clock()
    with stores.ledger.write() as db:
        db.execute(
            insert(models).values(name="score", features=NAMES, per=[], definition={}, code="", updated=now)
        )
        db.execute(
            insert(model_versions).values(
                model="score",
                segment="",
                version=1,
                run=new_id(),
                package=package.to_json(),
                metrics={},
                rows_filter={},
                created=now,
            )
        )
        DeployStation(stores.ledger, system_clock).promote_many(db, [Promotion("score", (), 1, "benchmark")])
    stores.ledger.close()


def _run(uvicorn: Any, app: Any, port: int) -> None:
    uvicorn.run(app, port=port, loop="uvloop", http="httptools", log_level="warning", access_log=False)


SERVERS = {"echo": serve_echo, "ours": serve_ours, "fastapi": serve_fastapi}

# -- the measurement -----------------------------------------------------------------------------------


def start(
    stack: ExitStack, name: str, port: int, state: Path, script: str = __file__, more: Sequence[str] = ()
) -> subprocess.Popen[bytes]:
    """A server of this script, or of another's that takes the same options, until the stack closes."""
    env = {**os.environ, **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")}
    command = [sys.executable, script, "--serve", name, "--port", str(port), "--state", str(state), *more]
    process = subprocess.Popen(command, env=env)
    stack.callback(process.wait)
    stack.callback(process.terminate)
    return process


def call(port: int, case: Case) -> Any:
    """One request, when the server is there."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{case.path}",
        json.dumps(case.body).encode(),
        {"Content-Type": "application/json"},
    )
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return json.load(response)
        except urllib.error.HTTPError:
            raise
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def wrk(port: int, case: Case, connections: int, seconds: float, script: Path) -> tuple[float, float]:
    """Requests a second, and the 99th percentile of latency in milliseconds."""
    done = subprocess.run(
        [
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{seconds:g}s",
            "--latency",
            "-s",
            str(script),
            f"http://127.0.0.1:{port}{case.path}",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise RuntimeError(f"{case.name}: {done.stdout}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    late = re.search(r"99%\s+([\d.]+)(us|ms|s)", done.stdout)
    assert rate is not None
    assert late is not None
    return float(rate[1]), float(late[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[late[2]]


def resident(process: subprocess.Popen[bytes]) -> float:
    """Resident memory, MB."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+)", status)
    assert found is not None
    return int(found[1]) / 1024


def measure(rounds: int, seconds: float, connections: list[int]) -> dict[str, Any]:
    found: dict[str, dict[int, list[tuple[float, float]]]] = {
        case.name: {c: [] for c in connections} for case in CASES
    }
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        deploy(folder / "ours")
        ports = {name: 20_000 + os.getpid() % 20_000 + place for place, name in enumerate(SERVERS)}
        processes = {name: start(stack, name, ports[name], folder / name) for name in SERVERS}
        scripts = {}
        for number, case in enumerate(CASES):
            scripts[case.name] = folder / f"{number}.lua"
            body = json.dumps(case.body)
            scripts[case.name].write_text(
                f"wrk.method = 'POST'\nwrk.body = '{body}'\n"
                "wrk.headers['Content-Type'] = 'application/json'\n"
            )
            call(ports[case.server], case)
            wrk(ports[case.server], case, 4, 1, scripts[case.name])
        for _ in range(rounds):
            for number in connections:
                for case in CASES:
                    found[case.name][number].append(
                        wrk(ports[case.server], case, number, seconds, scripts[case.name])
                    )
        memory = {name: round(resident(process)) for name, process in processes.items()}
        logged = check_log(folder / "ours")
    rates = {
        name: {c: statistics.median(rate for rate, _ in runs) for c, runs in by.items()}
        for name, by in found.items()
    }
    late = {
        name: {c: statistics.median(ms for _, ms in runs) for c, runs in by.items()}
        for name, by in found.items()
    }
    return {"requests_per_second": rates, "p99_ms": late, "memory_mb": memory, "logged": logged}


def check_log(state: Path) -> int:
    """Predictions in the log: it really was on."""
    from modelworks.serving.spool import PREDICTIONS, SpoolFile, files

    total = 0
    for path in files(state / "spool", PREDICTIONS):
        with SpoolFile(path) as file:
            total += sum(len(block.entries) for block in file.blocks())
    return total


def report(result: dict[str, Any], connections: list[int]) -> None:
    rates = result["requests_per_second"]
    print("requests/s (p99 ms)   " + "".join(f"{c:>20}" for c in connections))
    for name, by in rates.items():
        late = result["p99_ms"][name]
        cells = [f"{by[c]:,.0f} ({late[c]:.2f})" for c in connections]
        print(f"{name:22}" + "".join(f"{cell:>20}" for cell in cells))
    for c in connections:
        plain = max(rates["fastapi"][c], rates["pydantic"][c])
        for name in ("predict", "v2"):
            print(
                f"{name} at {c}: {rates[name][c] / rates['echo'][c]:.2f} of the echo, "
                f"{rates[name][c] / plain:.1f} times plain scikit-learn"
            )
    print(f"memory MB: {result['memory_mb']}; predictions in the log: {result['logged']:,}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--serve", choices=SERVERS, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--state", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        SERVERS[args.serve](args.port, args.state)
        return
    if shutil.which("wrk") is None:
        parser.error("wrk is not installed: it is in the package of that name of Debian and Homebrew")
    result = measure(args.rounds, args.seconds, args.connections)
    if args.json:
        print(json.dumps(result))
    else:
        report(result, args.connections)


if __name__ == "__main__":
    main()
