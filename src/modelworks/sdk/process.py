"""A server in a process of its own, started from Python."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import orjson

from modelworks.core.errors import Unavailable
from modelworks.track.html import server_html


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        url: Where it answers.
        port: The port in it.
        process: Its process.
    """

    url: str
    port: int
    process: subprocess.Popen[bytes]

    def stop(self) -> None:
        """End it; requests under way are answered first."""
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def _repr_html_(self) -> str:
        running = self.process.poll() is None
        return server_html(self.url, running)

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start(folder: Path, *, port: int = 0, worker: bool = False, workers: int | None = None) -> Server:
    """Start ``modelworks up`` for the project in `folder`, and wait until it answers.

    Args:
        folder: The project.
        port: 0 lets the system choose.
        worker: Whether the worker runs beside it.
        workers: Server processes; the setting by default.

    Raises:
        Unavailable: it ended before it answered; what it printed says why.
    """
    command = [
        sys.executable,
        "-m",
        "modelworks.cli",
        "--project",
        str(folder),
        "--json",
        "up",
        "--port",
        str(port),
        "--worker" if worker else "--no-worker",
    ]
    if workers is not None:
        command += ["--workers", str(workers)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    said, told = b"", None
    while told is None and (line := process.stdout.readline()):
        said += line
        with suppress(orjson.JSONDecodeError):  # not all of it has come
            told = orjson.loads(said)
    if told is None or "error" in told:
        process.stdout.close()
        status, error = process.wait(), (told or {}).get("error", {})
        raise Unavailable(
            "the server did not start",
            "; ".join(error[part] for part in ("what", "why") if error.get(part))
            or f"it ended with {status}",
            error.get("fix") or "what it printed above says why",
        )
    url = told["url"]
    return Server(url, int(url.rsplit(":", 1)[1]), process)
