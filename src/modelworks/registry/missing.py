"""What to say of a reference that names nothing, or nothing that can be used: what there is, and the closest names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from sqlalchemy import Connection, select

from modelworks.core.errors import Conflict, NotFound
from modelworks.core.ref import Ref
from modelworks.stores.ledger.tables import model_versions, models

_MOST = 10_000
"""Names that are compared: an error must not cost seconds."""


def no_model(db: Connection, name: str) -> NotFound:
    """There is no model of that name."""
    names = db.scalars(select(models.c.name).order_by(models.c.name).limit(_MOST)).all()
    return NotFound(
        f"there is no model {name!r}",
        f"the registry has {_some(name, names)}" if names else "the registry is empty",
        "use one of these, or train it first" if names else "train a model first",
    )


def no_segment(db: Connection, ref: Ref) -> NotFound:
    """The model has no version in that segment."""
    query = select(model_versions.c.segment).where(model_versions.c.model == ref.name).distinct().limit(_MOST)
    found = sorted(db.scalars(query))
    if not found:
        return NotFound(
            f"model {ref.name!r} has no version yet", "", f"train it: modelworks train {ref.name}"
        )
    asked = Ref(ref.name, ref.segment)
    there = _some(str(asked), [f"{ref.name}[{text}]" if text else ref.name for text in found])
    return NotFound(f"{asked} has no version of its own", f"there is {there}", "use one of these")


def no_version(ref: Ref, first: int, last: int) -> NotFound:
    """The segment has versions, but not that one."""
    there = f"version {last}" if first == last else f"versions {first} to {last}"
    return NotFound(f"there is no {ref}", f"{Ref(ref.name, ref.segment)} has {there}", "use one of these")


def no_alias(ref: Ref, last: int, names: Sequence[str]) -> NotFound:
    """The segment has versions, but none of that name."""
    here = Ref(ref.name, ref.segment)
    return NotFound(
        f"no version of {here} is called {ref.at!r}",
        f"the names there are: {', '.join(['latest', *names])}",
        f"use one of these, or a version number up to {last}",
    )


def archived(ref: Ref, done: str) -> Conflict:
    """The version is put away: it cannot be deployed, nor get a name."""
    return Conflict(
        f"{ref} cannot be {done}", "it is archived", f"bring it back: modelworks models restore '{ref}'"
    )


def _some(asked: str, names: Iterable[str], number: int = 5) -> str:
    """The names closest to what was asked for, and how many more there are."""
    every = list(names)
    close = get_close_matches(asked, every, number, cutoff=0.4) or every[:number]
    more = len(every) - len(close)
    return ", ".join(close) + (f" and {more} more" if more else "")
