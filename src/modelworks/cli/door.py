"""The one door of every command: a verb, on the project in a folder or on a server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelworks.core.errors import Invalid

if TYPE_CHECKING:
    from modelworks.factory import Factory
    from modelworks.pipelines.context import Progress


@dataclass(frozen=True)
class Door:
    """Where a command works, and how it prints.

    Attributes:
        project: Folder of the project.
        server: URL of a server; empty for the folder.
        token: Token for it.
        json: Whether to print only JSON.
    """

    project: Path
    server: str
    token: str
    json: bool

    def call(self, verb: str, **arguments: Any) -> Any:
        """Call a verb; the result is plain data either way."""
        if self.server:
            from modelworks.sdk.client import Client

            with Client(self.server, self.token or None) as client:
                return (
                    client.call(verb, **arguments)
                    if verb not in _DATA_PLANE
                    else getattr(client, verb)(**arguments)
                )
        from modelworks.core.plain import plain

        with self.factory() as factory:
            return plain(getattr(factory, verb)(**arguments))

    def streamed(self, model: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
        """Answers piece by piece: see `modelworks.factory.Factory.stream`."""
        if self.server:
            from modelworks.sdk.client import Client

            with Client(self.server, self.token or None) as client:
                yield from client.stream(model, rows)
            return
        with self.factory() as factory:
            yield from factory.stream(model, rows)

    def artifact(self, run: str, name: str) -> bytes:
        """The content of an artifact of a run."""
        if self.server:
            from modelworks.sdk.client import Client

            with Client(self.server, self.token or None) as client:
                return client.artifact(run, name)
        with self.factory() as factory:
            return factory.tracking.artifact(run, name)

    def send_runs(self) -> int:
        """Send what runs of the folder have left for the server; returns the number of entries.

        Raises:
            Invalid: no server was named.
        """
        if not self.server:
            raise Invalid("usage: no server is named", "", "modelworks --server URL runs send")
        from modelworks.config import STATE, find_root
        from modelworks.sdk.client import Client
        from modelworks.sdk.outbox import Outbox

        with Client(self.server, self.token or None) as client:
            return Outbox(find_root(self.project) / STATE, client).send_left()

    def watched(self, verb: str, **arguments: Any) -> Any:
        """Call a verb that takes a while, with a progress bar where somebody looks."""
        if self.server:
            from modelworks.console.terminal import busy

            with busy(f"{verb} on {self.server}"):
                return self.call(verb, **arguments)
        with self._progress() as progress:
            return self.call(verb, progress=progress, **arguments)

    @contextmanager
    def _progress(self) -> Iterator[Progress]:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            TextColumn,
            TimeElapsedColumn,
        )
        from rich.progress import Progress as Bars

        from modelworks.console.terminal import ERR, seconds

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
        )
        with Bars(*columns, console=ERR, transient=True, disable=self.json or not ERR.is_terminal) as bars:
            tasks: dict[str, Any] = {}

            def report(what: str, done: int, total: int, left: float | None = None, /) -> None:
                if what not in tasks:
                    tasks[what] = bars.add_task(what, total=total, left="")
                told = "" if left is None else f"about {seconds(left)} left"
                bars.update(tasks[what], completed=done, total=total, left=told)

            yield report

    def factory(self) -> Factory:
        """The project in the folder.

        Raises:
            Invalid: a server was named, and this command works only on a folder.
        """
        if self.server:
            raise Invalid(
                "usage: this command works on a project folder", "--server was given", "leave --server out"
            )
        from modelworks.factory import Factory

        return Factory(self.project)


_DATA_PLANE = ("predict", "outcomes")
