"""The list of MLflow's calls: how each is reached, who may, how its arguments are read, how it fails."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, get_origin

import msgspec

from modelworks.access import audit
from modelworks.access.tokens import Role
from modelworks.core.errors import Conflict, Invalid, ModelworksError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from modelworks.factory import Factory
    from modelworks.stores import Stores

Method = Literal["GET", "POST", "PATCH", "PUT", "DELETE"]
Json = dict[str, Any]

ERRORS = {
    "invalid": ("INVALID_PARAMETER_VALUE", 400),
    "too_large": ("INVALID_PARAMETER_VALUE", 413),
    "not_found": ("RESOURCE_DOES_NOT_EXIST", 404),
    "exists": ("RESOURCE_ALREADY_EXISTS", 400),
    "conflict": ("RESOURCE_CONFLICT", 409),
    "denied": ("PERMISSION_DENIED", 403),
    "not_ready": ("RESOURCE_CONFLICT", 409),
    "unavailable": ("TEMPORARILY_UNAVAILABLE", 503),
}
"""Kinds of error as MLflow names them. Its INVALID_STATE is not used: clients take its status, 500, for a reason to
try again, for minutes."""


class Exists(Conflict):
    """What is to be made is there already."""

    code = "exists"


@contextmanager
def making() -> Iterator[None]:
    """Say of a conflict that the thing is there already: clients go on then."""
    try:
        yield
    except Conflict as error:
        raise Exists(error.what, error.why, error.fix) from None


class Tag(msgspec.Struct, frozen=True):
    """A key and a text: tags and parameters."""

    key: str
    value: str = ""


@dataclass(frozen=True)
class Door:
    """What a call works on.

    Attributes:
        factory: The project.
        who: The caller, by its token.
    """

    factory: Factory
    who: str

    @property
    def stores(self) -> Stores:
        """The project's stores."""
        return self.factory.stores

    def now(self) -> datetime:
        """The project's time."""
        return self.factory.clock()

    def audited(self, db: Connection, verb: str, what: str, detail: Mapping[str, Any] | None = None) -> None:
        """Note in the audit trail what is done, in the transaction that does it."""
        audit.record(db, self.now(), self.who, f"mlflow {verb}", what, detail or {})


@dataclass(frozen=True)
class Call:
    """One call of the protocol.

    Attributes:
        method: Of HTTP.
        path: After ``/api/2.0/``; a part in braces is an argument.
        role: Who may.
        answer: Answers it.
        takes: What its arguments are.
        lists: Those of them that are lists.
    """

    method: Method
    path: str
    role: Role
    answer: Callable[..., Json]
    takes: type[msgspec.Struct]
    lists: frozenset[str]

    def __call__(self, door: Door, given: Mapping[str, Any]) -> Json:
        """Read the arguments, and answer.

        Raises:
            Invalid: they are not as they should be.
        """
        asked = {name: value for name, value in given.items() if value is not None}
        try:
            read = msgspec.convert(asked, self.takes, strict=False)
        except msgspec.ValidationError as error:
            raise Invalid(f"the arguments of {self.path} are not valid", str(error), "") from None
        return self.answer(door, **{name: getattr(read, name) for name in self.takes.__struct_fields__})


CALLS: list[Call] = []


def call(
    method: Method, path: str, role: Role | None = None
) -> Callable[[Callable[..., Json]], Callable[..., Json]]:
    """Enter a function into the list of calls; its first argument is the door, the others the call's own."""

    def enter(function: Callable[..., Json]) -> Callable[..., Json]:
        parameters = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        fields: list[Any] = [
            (p.name, p.annotation) if p.default is p.empty else (p.name, p.annotation, p.default)
            for p in parameters
        ]
        takes = msgspec.defstruct(function.__name__, fields, kw_only=True)
        lists = frozenset(p.name for p in parameters if get_origin(p.annotation) is tuple)
        least: Role = role or ("reader" if method == "GET" else "builder")
        CALLS.append(Call(method, path, least, function, takes, lists))
        return function

    return enter


def failed(error: ModelworksError) -> tuple[int, Json]:
    """An error as MLflow says it: the status, and the body."""
    code, status = ERRORS.get(error.code, ("INTERNAL_ERROR", 500))
    return status, {"error_code": code, "message": str(error)}


def page(token: str) -> int:
    """How many a page token skips.

    Raises:
        Invalid: it is none.
    """
    if not token:
        return 0
    if not token.isdigit() or len(token) > 9:
        raise Invalid(f"{token[:40]!r} is not a page token", "", "send the one that the last page gave")
    return int(token)


def paged(found: list[Any], name: str, skip: int, most: int) -> Json:
    """A page of what was found, of which one more was asked for than the page holds, with the token of the next."""
    return {name: found[:most], **({"next_page_token": str(skip + most)} if len(found) > most else {})}


def within(asked: int, most: int) -> int:
    """The size of a page.

    Raises:
        Invalid: none, or too many.
    """
    if not 0 < asked <= most:
        raise Invalid(f"max_results cannot be {asked}", f"it is 1 to {most}", "ask for pages")
    return asked
