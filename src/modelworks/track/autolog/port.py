"""The port: a library's trainings are seen, and told to a recorder."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from modelworks.core.errors import ModelworksError
from modelworks.track.run import Run, current

log = logging.getLogger("modelworks.track")

Undo = Callable[[], None]
_LONGEST = 500
_LARGEST = 256 * 1024 * 1024
"""Bytes above which a model is not kept unasked."""


class Autolog(Protocol):
    """A library."""

    def hook(self, recorder: Recorder) -> Undo:
        """Tell the recorder of every training from now on; the library is imported already.

        Returns:
            What puts the library back as it was.
        """
        ...


class Recorder:
    """Gives a training its run.

    Args:
        begin: Begins a run of a name.
        models: Whether fitted models are kept as artifacts.
    """

    def __init__(self, begin: Callable[[str], Run], models: bool) -> None:
        self._begin = begin
        self.models = models
        self._here = threading.local()

    @contextmanager
    def training(self, name: str) -> Iterator[tuple[Run, bool]]:
        """Around a training: its run, and whether it is the outermost one.

        The run is the one that is open here, or a new one, which ends with the training. A training inside
        another (a step of a pipeline, a booster inside a classifier) belongs to the outer one's run.
        """
        outer: Run | None = getattr(self._here, "run", None)
        if outer is not None:
            yield outer, False
            return
        around = current()
        run = around or self._begin(name)
        self._here.run = run
        try:
            if around is not None:
                yield run, True
            else:
                with run:
                    yield run, True
        finally:
            self._here.run = None

    def open(self, name: str) -> Run:
        """The run that is open here, or one that ends with the process."""
        run = current() or getattr(self._here, "open", None)
        if run is None or run.ended:
            run = self._here.open = self._begin(name)
        return run


def calmly(what: Callable[[], Any]) -> None:
    """Record something that was not asked for: where it cannot be, the training goes on."""
    try:
        what()
    except ModelworksError as error:
        log.warning("something of a training was not recorded: %s", error)
    except Exception:
        log.warning("something of a training was not recorded", exc_info=True)


def settings(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as they are worth recording: numbers and texts as they are, the rest by what it says of itself."""
    return {
        str(name): value if value is None or isinstance(value, (bool, int, float)) else str(value)[:_LONGEST]
        for name, value in params.items()
    }


def keep(run: Run, name: str, content: bytes) -> None:
    """Keep a model that is not too large."""
    if len(content) <= _LARGEST:
        run.log_artifact(content, name)
    else:
        log.warning("%s of run %s was not kept: it has %s bytes", name, run.name, len(content))


def put_in_place(places: Sequence[Any], name: str, own: Any) -> Undo:
    """Let places that have a function under a name have another one there; those that have their own keep it.

    Args:
        places: Modules; the first has the function that is meant.
        name: Its name.
        own: The other one.
    """
    original = getattr(places[0], name)
    changed = [place for place in places if getattr(place, name) is original]
    for place in changed:
        setattr(place, name, own)

    def undo() -> None:
        for place in changed:
            setattr(place, name, original)

    return undo
