"""The list of verbs: what can be asked of a factory, and how it is reached over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

Role = Literal["reader", "builder", "admin"]
Verb = TypeVar("Verb", bound=Callable[..., Any])


@dataclass(frozen=True)
class Route:
    """How a verb is reached over HTTP, and who may."""

    method: Literal["GET", "POST"]
    path: str
    role: Role


VERBS: dict[str, Route] = {}


def verb(method: Literal["GET", "POST"], path: str, role: Role | None = None) -> Callable[[Verb], Verb]:
    """Enter a method into the list of verbs; reading asks for the role reader, changing for builder."""

    def enter(function: Verb) -> Verb:
        VERBS[function.__name__] = Route(method, path, role or ("reader" if method == "GET" else "builder"))
        return function

    return enter
