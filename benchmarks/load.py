"""Servers as processes of their own, and load on them by `wrk`, which is not the limit: it is C and parses no JSON."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import psutil

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True)
class Case:
    """What is asked: which server, which path, which body."""

    name: str
    server: str
    path: str
    body: Any


class Load(NamedTuple):
    """What a second of load gave.

    Attributes:
        rate: Requests a second.
        p50: The median of latency, milliseconds.
        p99: The 99th percentile, milliseconds.
    """

    rate: float
    p50: float
    p99: float


def launch(
    stack: ExitStack, command: Sequence[str | Path], log: IO[bytes] | None = None
) -> subprocess.Popen[bytes]:
    """A server until the stack closes, with one thread a session; whatever it starts ends with it."""
    process = subprocess.Popen(
        command,
        env={**os.environ, **ONE_THREAD},
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    stack.callback(_end, process)
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for one in _session(process):  # those that outlive who started them
        one.send_signal(signal.SIGKILL)


def _session(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The processes of a server: those of the session that it began."""
    found = []
    for one in psutil.process_iter():
        try:
            if os.getsid(one.pid) == process.pid:
                found.append(one)
        except ProcessLookupError:
            continue
    return found


def start(
    stack: ExitStack, name: str, port: int, state: Path, script: str, more: Sequence[str] = ()
) -> subprocess.Popen[bytes]:
    """A server of a benchmark, by its options, until the stack closes."""
    command = [sys.executable, script, "--serve", name, "--port", str(port), "--state", str(state), *more]
    return launch(stack, command)


def call(
    port: int, case: Case, *, process: subprocess.Popen[bytes] | None = None, patience: float = 60
) -> Any:
    """One request, when the server is there.

    Args:
        port: Its port.
        case: What to ask.
        process: The server's; nobody waits for it once it has ended. With it a server may say 404 or 503 until it
            is ready.
        patience: Seconds to wait for it.
    """
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{case.path}",
        json.dumps(case.body).encode(),
        {"Content-Type": "application/json"},
    )
    deadline = time.monotonic() + patience
    while True:
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            told = RuntimeError(f"{case.name}: {error.code}, {error.read()[:300]!r}")
            if process is None or error.code not in (404, 503) or time.monotonic() > deadline:
                raise told from error
        except OSError as error:
            if time.monotonic() > deadline:
                raise
            if process is not None and process.poll() is not None:
                raise RuntimeError(f"it ended with {process.returncode}") from error
        time.sleep(0.1)


def wrk(port: int, case: Case, connections: int, seconds: float, script: Path) -> Load:
    """Load on a server.

    Raises:
        RuntimeError: an answer was an error, or none came.
    """
    done = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--timeout", "10s", "--latency", "-s", str(script),
         f"http://127.0.0.1:{port}{case.path}"],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    if done.returncode or rate is None or "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise RuntimeError(f"{case.name}: {done.stdout}{done.stderr}")
    return Load(float(rate[1]), _milliseconds(done.stdout, 50), _milliseconds(done.stdout, 99))


def _milliseconds(told: str, percentile: int) -> float:
    found = re.search(rf"{percentile}%\s+([\d.]+)(us|ms|s)", told)
    assert found is not None
    return float(found[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[found[2]]


def posting(folder: Path, name: str, body: Any) -> Path:
    """A script for `wrk` that sends the same body again and again."""
    path = folder / f"{name.replace(' ', '-')}.lua"
    path.write_text(
        f"wrk.method = 'POST'\nwrk.body = '{json.dumps(body)}'\nwrk.headers['Content-Type'] = 'application/json'\n"
    )
    return path


def resident(process: subprocess.Popen[bytes]) -> float:
    """Resident memory of a process alone, MB."""
    return psutil.Process(process.pid).memory_info().rss / 2**20


def memory(process: subprocess.Popen[bytes]) -> float:
    """Memory of a server with all its processes, MB; what they share is counted once."""
    return sum(one.memory_full_info().pss for one in _session(process)) / 2**20


def busy(process: subprocess.Popen[bytes]) -> float:
    """Seconds of processor that a server with all its processes has used."""
    return sum(sum(one.cpu_times()[:2]) for one in _session(process))
