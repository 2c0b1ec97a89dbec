"""How fast the server answers one row a request: beside the other products, a bare echo, and plain scikit-learn.

Run it with ``make bench-serve``; it needs ``wrk``. JSON, keep-alive, two models: *linear*, a logistic regression of 10
features, and *trees*, gradient-boosted, 100 of 20 features.

- *echo*: an ASGI application that sends the body back, on the same uvicorn (uvloop, httptools).
- *predict*, *v2*, *v2 columns*: ours, the prediction log on; ``/v2`` with one matrix and with an input a feature.
- *fastapi*, *pydantic*: an ``async def`` route that calls ``predict_proba``; with raw JSON and with a model.
- the products of `serve_peers`, each in an environment of its own, asked as they want to be asked.

The same fitted model is behind all of them, and each must answer as scikit-learn does before it is timed; who cannot be
started, answers something else or fails under load is named and left out. Every server is a process of its own and all
live at once; the rounds take turns, the medians are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from load import Case, Load, busy, call, launch, memory, posting, start, wrk
from serve_ours import KINDS, SERVERS, deploy, fitted, names_of
from serve_peers import PEERS, Way, matrix

TOLERANCE = 1e-6
"""Most by which an answer may differ from scikit-learn's."""


def record(names: Any, values: Any) -> Any:
    return {"rows": [dict(zip(names, values, strict=True))]}


def columns(names: Any, values: Any) -> Any:
    inputs = [
        {"name": name, "shape": [1], "datatype": "FP32", "data": [value]}
        for name, value in zip(names, values, strict=True)
    ]
    return {"inputs": inputs}


def _v2(answer: Any) -> float:
    (told,) = (one for one in answer["outputs"] if one["name"] == "probabilities")
    return float(told["data"][1])


OURS = (
    Way("echo", "echo", "/", record, None),
    Way("predict", "ours", "/predict/score", record, lambda answer: answer["predictions"][0]["output"]),
    Way("v2", "ours", "/v2/models/score/infer", matrix, _v2, "v2"),
    Way("v2 columns", "ours", "/v2/models/score/infer", columns, _v2, "v2"),
    Way("fastapi", "fastapi", "/predict", record, lambda answer: answer["predictions"][0]),
    Way("pydantic", "fastapi", "/predict-pydantic", record, lambda answer: answer["predictions"][0]),
)


class Stand:
    """All servers of one kind of model, up at once; who fails is named and left out.

    Attributes:
        ways: Those that are still measured.
        left_out: Why others are not.
    """

    def __init__(self, stack: ExitStack, kind: str, folder: Path, peers: list[str]) -> None:
        self.kind, self.folder = kind, folder
        self.left_out: dict[str, str] = {}
        self._stack = stack
        self._ports: dict[str, int] = {}
        self._logs: dict[str, Path] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._scripts: dict[str, Path] = {}
        deploy(folder / "ours", kind)
        self.model, x, _ = fitted(kind, named=False)
        self._rows = np.random.default_rng(1).normal(size=(20, x.shape[1])).round(3)
        self.values = [round(0.1 * number - 0.4, 3) for number in range(x.shape[1])]
        joblib.dump(self.model, folder / "model.joblib")
        first = 20_000 + os.getpid() % 2_000 * 5
        for place, name in enumerate(SERVERS):
            self._ports[name] = first + place
            self.processes[name] = start(
                stack, name, first + place, folder / name, OURS_SCRIPT, ["--kind", kind]
            )
        wanted = [peer for peer in PEERS if peer.name in peers]
        for place, peer in enumerate(wanted, 1):
            missing = peer.missing()
            if missing:
                self.left_out |= {way.name: missing for way in peer.ways}
                continue
            self._ports[peer.name] = first + 10 * place
            mine = folder / peer.name
            mine.mkdir()
            self._logs[peer.name] = folder / f"{peer.name}.log"
            log = stack.enter_context(self._logs[peer.name].open("wb"))
            command = peer.command(folder / "model.joblib", self._ports[peer.name], mine)
            self.processes[peer.name] = launch(stack, command, log)
        self.ways = [*OURS, *(way for peer in wanted if peer.name in self._ports for way in peer.ways)]

    def case(self, way: Way, values: list[float] | None = None) -> Case:
        body = way.put(names_of(self.kind), self.values if values is None else values)
        return Case(way.name, way.server, way.path, body)

    def check(self, way: Way) -> None:
        """Its answers are scikit-learn's; wait until there are any."""
        process = self.processes[way.server]
        case = self.case(way)
        call(self._ports[way.server], case, process=process, patience=180)
        if way.score is None:
            return
        expected = self.model.predict_proba(self._rows)[:, 1]
        told = [
            way.score(call(self._ports[way.server], self.case(way, row.tolist()), process=process))
            for row in self._rows
        ]
        far = float(np.abs(np.array(told) - expected).max())
        if not far <= TOLERANCE:
            raise RuntimeError(f"its answers differ from scikit-learn's by {far:.2g}")

    def measure(self, way: Way, connections: int, seconds: float) -> Load:
        case = self.case(way)
        script = self._scripts.setdefault(way.name, posting(self.folder, way.name, case.body))
        return wrk(self._ports[way.server], case, connections, seconds, script)

    def attempt(self, way: Way, what: Any, *args: Any) -> Any:
        """Do something with a way; what fails of others is left out, what fails of ours ends the run."""
        try:
            return what(way, *args)
        except Exception as error:
            if way in OURS:
                raise
            log = self._logs[way.server]
            said = log.read_text(errors="replace")[-300:].strip() if log.exists() else ""
            self.left_out[way.name] = f"{error}"[:500] + (f"; it said: {said}" if said else "")
            self.ways.remove(way)
            return None


OURS_SCRIPT = str(Path(__file__).with_name("serve_ours.py"))


def measure(kind: str, options: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, dict[int, list[Load]]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stand = Stand(stack, kind, folder, options.peers)
        for way in list(stand.ways):
            stand.attempt(way, stand.check)
        for way in list(stand.ways):
            stand.attempt(way, stand.measure, 4, 1)
        begun = {name: busy(process) for name, process in stand.processes.items()}
        time.sleep(2)
        idle = {
            name: round((busy(process) - begun[name]) / 2, 3) for name, process in stand.processes.items()
        }
        for _ in range(options.rounds):
            for number in options.connections:
                for way in list(stand.ways):
                    told = stand.attempt(way, stand.measure, number, options.seconds)
                    if told is not None:
                        found.setdefault(way.name, {}).setdefault(number, []).append(told)
        used = {name: round(memory(process)) for name, process in stand.processes.items()}
        logged = check_log(folder / "ours")
        ways = list(stand.ways)
    figures = {
        way.name: {
            c: Load(*(statistics.median(values) for values in zip(*loads, strict=True)))._asdict()
            for c, loads in found[way.name].items()
        }
        for way in ways
    }
    return {
        "figures": figures,
        "ratios": {c: ratios(figures, ways, c) for c in options.connections},
        "memory_mb": used,
        "idle_cpu": idle,
        "logged": logged,
        "left_out": stand.left_out,
    }


def ratios(figures: dict[str, Any], ways: list[Way], connections: int) -> dict[str, Any]:
    """Ours against the best of the others: of each figure the best, whoever has it."""

    def of(name: str, figure: str) -> float:
        return float(figures[name][connections][figure])

    peers = [way for way in ways if way not in OURS]
    said: dict[str, Any] = {
        "of the echo": of("predict", "rate") / of("echo", "rate"),
        "v2 of the echo": of("v2", "rate") / of("echo", "rate"),
        "times plain scikit-learn": of("predict", "rate")
        / max(of("fastapi", "rate"), of("pydantic", "rate")),
    }
    for ours, beside in (("predict", peers), ("v2", [way for way in peers if way.protocol == "v2"])):
        if beside:
            fastest = max(beside, key=lambda way: of(way.name, "rate"))
            soonest = min(beside, key=lambda way: of(way.name, "p99"))
            said[f"{ours}: times the best product"] = of(ours, "rate") / of(fastest.name, "rate")
            said[f"{ours}: best product"] = fastest.name
            said[f"{ours}: p99 of the best product's"] = of(ours, "p99") / of(soonest.name, "p99")
            said[f"{ours}: best p99"] = soonest.name
    return said


def check_log(state: Path) -> int:
    """Predictions in the log: it really was on."""
    from modelworks.serving.spool import PREDICTIONS, SpoolFile, files

    total = 0
    for path in files(state / "spool", PREDICTIONS):
        with SpoolFile(path) as file:
            total += sum(len(block.entries) for block in file.blocks())
    return total


def report(kind: str, result: dict[str, Any], connections: list[int]) -> None:
    print(f"\n{kind}: requests/s (p50, p99 ms)")
    print(f"{'connections':22}" + "".join(f"{c:>26}" for c in connections))
    for name, by in result["figures"].items():
        cells = [
            f"{one['rate']:,.0f} ({one['p50']:.2f}, {one['p99']:.2f})" for one in map(by.get, connections)
        ]
        print(f"{name:22}" + "".join(f"{cell:>26}" for cell in cells))
    for c, said in result["ratios"].items():
        told = [f"{name} {one if isinstance(one, str) else format(one, '.2f')}" for name, one in said.items()]
        print(f"at {c}: " + "; ".join(told))
    print(f"memory MB: {result['memory_mb']}")
    print(
        f"processors busy without a request: {result['idle_cpu']}; predictions in the log: {result['logged']:,}"
    )
    for name, why in result["left_out"].items():
        print(f"left out: {name}: {why}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=1)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, help="of model; all by default")
    names = [peer.name for peer in PEERS]
    parser.add_argument(
        "--peers", nargs="*", choices=names, default=names, help="other products; all by default"
    )
    parser.add_argument(
        "--quick", action="store_true", help="one kind, one round, at 16 connections: under two minutes"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    kinds = options.kinds or list(KINDS)[: 1 if options.quick else None]
    if options.quick:
        options.rounds, options.connections = 1, [16]
    if shutil.which("wrk") is None:
        parser.error("wrk is not installed: it is in the package of that name of Debian and Homebrew")
    results = {}
    for kind in kinds:
        results[kind] = measure(kind, options)
        if not options.json:
            report(kind, results[kind], options.connections)
    if options.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
