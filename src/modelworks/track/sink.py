"""Where a run says what it has to say: a port, for a project's folder (`local`) and for a server (`sdk`)."""

from __future__ import annotations

from typing import Any, Protocol

from modelworks.core.clock import Clock
from modelworks.registry.model_version import ModelVersion
from modelworks.track.entry import Entry
from modelworks.track.found import Found
from modelworks.track.model import Logged


class Sink(Protocol):
    """Takes entries of runs; one a process and place."""

    @property
    def session(self) -> str:
        """The id of this process, as runs that live in it name it."""
        ...

    @property
    def clock(self) -> Clock:
        """Gives the time."""
        ...

    def say(self, entry: Entry) -> None:
        """Take an entry; when this returns it survives the death of the process."""
        ...

    def put(self, content: bytes) -> str:
        """Keep the content of an artifact; returns its digest."""
        ...

    @property
    def source(self) -> Found:
        """Where this process comes from."""
        ...

    def register(self, logged: Logged) -> ModelVersion:
        """Make a version of a model; what its run has said stands where it can be read by then.

        Raises:
            Invalid: the model cannot be packaged.
            Conflict: the run has made one already.
            Denied: a server does not take such a model.
        """
        ...

    def look(self, run: str) -> dict[str, Any]:
        """What is known of a run, its metrics with their steps.

        Raises:
            NotFound: there is none of that id.
        """
        ...

    def settle(self) -> None:
        """Return when all that was said is where it can be read."""
        ...
