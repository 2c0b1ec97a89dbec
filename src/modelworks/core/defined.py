"""What a project's code defines while it is run, whether it keeps it in a variable or not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_NOTED: ContextVar[list[tuple[str, Any]] | None] = ContextVar("noted", default=None)


def note(made: object) -> None:
    """Tell whoever runs the code of a project that its caller's caller has defined something."""
    noted = _NOTED.get()
    if noted is not None:
        noted.append((str(sys._getframe(2).f_globals.get("__name__")), made))


@contextmanager
def noting() -> Iterator[list[tuple[str, Any]]]:
    """Collect what is noted meanwhile, each with the name of the module that defined it."""
    noted: list[tuple[str, Any]] = []
    token = _NOTED.set(noted)
    try:
        yield noted
    finally:
        _NOTED.reset(token)
