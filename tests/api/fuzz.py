"""The API held against its own OpenAPI document by schemathesis, which lives in `.venv-clients`; what memory it takes.

Run it for long with ``make fuzz``: it makes a project, asks a real server of it what the document allows and what it
does not, sends the decoder of tensors good requests with bytes changed, and prints the server's memory on the way.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

HERE = Path(__file__).parent
PYTHON = HERE.parents[1] / ".venv-clients" / "bin" / "python"


def held(
    url: str, *, seconds: int, cases: int, seed: int = 7, more: list[str] | None = None
) -> tuple[bool, str]:
    """Hold a server against its document.

    Args:
        url: Of the server.
        seconds: When it ends.
        cases: At most so many an operation, in a round.
        seed: The same seed, the same cases.
        more: Further options of schemathesis.

    Returns:
        Whether nothing was found, and what schemathesis printed.
    """
    command = [PYTHON, "-m", "schemathesis.cli", "--config-file", HERE / "schemathesis.toml", "run",
               f"{url}/openapi.json", "--max-time", str(seconds), "-n", str(cases), "--seed", str(seed),
               "--generation-database", "none", "--warnings", "off", "--no-color", *(more or [])]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:  # where it would leave its own files
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode == 0, done.stdout + done.stderr


def memory(process: int) -> float:
    """Resident memory, MB."""
    return float(psutil.Process(process).memory_info().rss / 2**20)


def api(folder: Path, seconds: int, seed: int) -> bool:
    """Hold a server against its document, four times as long as it takes to warm up."""
    from modelworks.cli.template import make
    from modelworks.factory import Factory
    from modelworks.sdk.process import start

    folder.mkdir()
    make(folder)
    with Factory(folder) as factory:
        factory.ingest()
        factory.train()
    good = True
    with start(folder) as server:
        for part in range(5):
            fine, said = held(server.url, seconds=max(seconds // 5, 1), cases=100, seed=seed + part)
            good = good and fine
            print(said if not fine else said[said.rfind("Test cases:") :].split("\n\n")[0])
            print(f"memory of the server: {memory(server.process.pid):.0f} MB", flush=True)
    return good


def decoder(folder: Path, times: int, seed: int) -> bool:
    """Send good tensors with bytes changed, in this process."""
    sys.path[:0] = [str(HERE.parent / "serving"), str(HERE.parents[1])]
    import serve_world as world
    from test_fuzz import mutated, rest, seeds

    from modelworks.serving.station import ServeStation

    station = ServeStation(world.make_world(folder), max_body=200_000)
    station.refresh()
    chance = random.Random(seed)
    statuses: dict[int, int] = {}
    for part in range(5):
        for _ in range(times // 5):
            model, body, head = chance.choice(seeds())
            status = rest(station, model, mutated(body, chance), head, chance.choice([b"", b"", b"gzip"]))
            statuses[status] = statuses.get(status, 0) + 1
        print(
            f"tensors {times // 5 * (part + 1):,}: {statuses}; memory {memory(psutil.Process().pid):.0f} MB",
            flush=True,
        )
    station.close()
    return True  # `rest` raises at whatever is not an answer or a refusal


def main() -> None:
    """Everything, for as long as is wanted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--tensors", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fine = decoder(Path(folder, "decoder"), options.tensors, options.seed)
        fine = api(Path(folder, "api"), options.seconds, options.seed) and fine
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
