"""Champions change, are rolled back, and processes are killed, while callers ask: what do they see of it?

Run it with ``make bench-changes``. A project with a compiled model and one that is not (a Python function), three
versions of each; a real `modelworks up` with its workers; callers that ask without a pause. Meanwhile 200 changes of
champions, 50 rollbacks, and every five seconds all child processes of the server are killed. Then the log is read:

- *refused*: requests that were answered with anything but 200, by status.
- *late*: answers by a version that was not champion any more when they were asked, and for how long it had not been.
- *lost*, *twice*: answers that are not in the log, or more than once.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

PROJECT = """
import modelworks as mw

rows = mw.Dataset("rows", source=mw.Files("data/*.csv"), key="id", time="at",
                  contract={"id": str, "at": mw.Time(), "x": mw.Number(), "y": mw.Number(min=0, max=1, integer=True)})


@mw.model(dataset=rows, target="y", features=["x"], metrics=["log_loss"])
def score(X, y, params):
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression().fit(X, y)


@mw.model(dataset=rows, target="y", features=["x"], metrics=["log_loss"])
def native(X, y, params):
    return lambda frame: (frame["x"] > 0).astype(float).to_numpy()
"""


@dataclass
class Caller:
    """Asks one model without a pause, from a thread of its own.

    Attributes:
        answers: Of each: asked when, version, id.
        refused: How many had which other status; 0 for a connection that broke.
    """

    url: str
    model: str
    over: threading.Event
    answers: list[tuple[float, int, str]] = field(default_factory=list)
    refused: Counter[int] = field(default_factory=Counter)

    def run(self) -> None:
        """Ask until it is over."""
        with httpx.Client(base_url=self.url, timeout=60) as client:
            while not self.over.is_set():
                asked = time.monotonic()
                try:
                    reply = client.post(f"/predict/{self.model}", json={"rows": [{"x": 1.0}]})
                except httpx.HTTPError:
                    self.refused[0] += 1
                    continue
                if reply.status_code == 200:
                    (one,) = reply.json()["predictions"]
                    self.answers.append((asked, one["version"], one["id"]))
                else:
                    self.refused[reply.status_code] += 1


def made(folder: Path) -> Any:
    """The project, with three versions of both models."""
    import numpy as np

    from modelworks.factory import Factory

    (folder / "data").mkdir()
    (folder / "factory.py").write_text(PROJECT)
    rng = np.random.default_rng(0)
    x = rng.normal(size=500)
    lines = [
        f"r{n},2024-01-{1 + n // 24 % 28:02d}T{n % 24:02d}:00:00Z,{value:.4f},{int(value + rng.normal() > 0)}"
        for n, value in enumerate(x)
    ]
    (folder / "data" / "rows.csv").write_text("id,at,x,y\n" + "\n".join(lines) + "\n")
    factory = Factory(folder)
    factory.ingest()
    for _ in range(3):
        factory.train(force=True)
    return factory


def doomed(parent: int, workers: int) -> list[psutil.Process]:
    """What is killed: all child processes; of several server processes one, with its own children."""
    children = psutil.Process(parent).children()
    servers = [one for one in children if "server" in one.cmdline()]
    spared = servers[1:] if workers > 1 else []
    return [two for one in children if one not in spared for two in (one, *one.children(recursive=True))]


def lateness(answers: list[tuple[float, int, str]], changes: list[tuple[float, int]]) -> list[float]:
    """For each answer, the seconds for which its version had not been champion when it was asked; 0 if it was."""
    found = []
    for asked, version, _ in answers:
        ends = [
            changes[n + 1][0] if n + 1 < len(changes) else float("inf")
            for n, (begun, which) in enumerate(changes)
            if which == version and begun <= asked + 60
        ]
        found.append(max(asked - max(ends), 0.0) if ends else float("inf"))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--changes", type=int, default=200)
    parser.add_argument("--rollbacks", type=int, default=50)
    parser.add_argument("--pause", type=float, default=0.15, help="seconds between two changes")
    parser.add_argument("--kill-every", type=float, default=5.0, help="seconds")
    parser.add_argument("--callers", type=int, default=4)
    parser.add_argument(
        "--workers", type=int, default=1, help="server processes; then one of them is killed as well"
    )
    parser.add_argument("--json", action="store_true", help="print only JSON")
    options = parser.parse_args()
    from modelworks.sdk.process import start

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        print("two models, three versions of each ...", file=sys.stderr)
        factory = made(folder)
        champions = {row["model"]: row["version"] for row in factory.deployments()}
        changes = {model: [(time.monotonic(), version)] for model, version in champions.items()}
        over = threading.Event()
        with start(folder, worker=True, workers=options.workers) as server:
            models = list(champions)
            callers = [Caller(server.url, models[n % len(models)], over) for n in range(options.callers)]
            threads = [threading.Thread(target=caller.run) for caller in callers]
            for thread in threads:
                thread.start()
            begun = killed_at = time.monotonic()
            killed = rolled = 0
            print(f"{options.changes} changes, {options.rollbacks} rollbacks ...", file=sys.stderr)
            for number in range(options.changes + options.rollbacks):
                model = models[number % len(models)]
                if (
                    number % (options.changes // options.rollbacks + 1)
                    == options.changes // options.rollbacks
                ):
                    factory.rollback(model)
                    rolled += 1
                else:
                    factory.deploy(f"{model}@{(changes[model][-1][1] % 3) + 1}")
                (now,) = [row["version"] for row in factory.deployments(model)]
                changes[model].append((time.monotonic(), now))
                time.sleep(options.pause)
                if time.monotonic() - killed_at > options.kill_every:
                    killed_at = time.monotonic()
                    for child in doomed(server.process.pid, options.workers):
                        child.kill()
                        killed += 1
            time.sleep(2)  # the last change has to be seen as well
            over.set()
            for thread in threads:
                thread.join(90)
            seconds = time.monotonic() - begun
        factory.drain()
        logged = factory.stores.tables.scan("predictions").select("id").collect()["id"].to_list()
        factory.close()
    late = {
        model: sorted(
            one
            for caller in callers
            if caller.model == model
            for one in lateness(caller.answers, changes[model])
        )
        for model in models
    }
    ids = [id for caller in callers for *_, id in caller.answers]
    figures = {
        "changes": options.changes,
        "rollbacks": rolled,
        "killed": killed,
        "seconds": round(seconds, 1),
        "answers": len(ids),
        "refused": {str(status): n for status, n in sum((one.refused for one in callers), Counter()).items()},
        "late_seconds": {model: round(one[-1], 3) for model, one in late.items()},
        "late_share": {
            model: round(sum(seconds > 0 for seconds in one) / len(one), 4) for model, one in late.items()
        },
        "lost": len(set(ids) - set(logged)),
        "twice": len(logged) - len(set(logged)) + len(ids) - len(set(ids)),
    }
    if options.json:
        print(json.dumps(figures))
        return
    print(
        f"{figures['changes']} changes, {rolled} rollbacks, {killed} processes killed in {seconds:.0f} s; "
        f"{len(ids):,} answers, refused {figures['refused'] or 'none'}"
    )
    for model, one in late.items():
        print(
            f"  {model}: {100 * figures['late_share'][model]:.1f} % by a version that was no longer champion, "
            f"at most {one[-1]:.2f} s late (asked: 2)"
        )
    print(f"  of the answers {figures['lost']} are not in the log, {figures['twice']} more than once")


if __name__ == "__main__":
    main()
