"""Arrivals: versions that were made elsewhere, the files they came as, and whether they can be served yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Row, insert, select, update

from modelworks.core.errors import NotFound
from modelworks.core.plain import plain
from modelworks.core.ref import Ref, parse_segment, segment_text
from modelworks.models.package import Package
from modelworks.registry.rows import at, near
from modelworks.stores.ledger.portable import chunks
from modelworks.stores.ledger.tables import arrivals, model_versions

State = Literal["waiting", "reading", "read", "kept"]


@dataclass(frozen=True)
class Arrival:
    """How a version came.

    Attributes:
        ref: The version.
        source: Where its files were, as its maker says it.
        run: Id of the run that made it; ``None`` where that is not known.
        logged: Id of the logged model that it was.
        files: Name to digest.
        state: ``"waiting"`` to be read, being read, ``"read"`` and packaged, or ``"kept"`` as it came.
    """

    ref: Ref
    source: str
    run: str | None
    logged: str | None
    files: Mapping[str, str]
    state: State


def add(db: Connection, arrival: Arrival) -> None:
    """Note how a version came, with the version itself."""
    row = {"model": arrival.ref.name, "segment": segment_text(arrival.ref.segment), "version": arrival.ref.at}
    rest = {**vars(arrival), "files": dict(arrival.files)}
    del rest["ref"]
    db.execute(insert(arrivals).values(**row, **rest))


def get(db: Connection, ref: Ref) -> Arrival:
    """How a version came.

    Raises:
        NotFound: it was made here, or there is none.
    """
    found = db.execute(select(arrivals).where(at(arrivals, ref), arrivals.c.version == ref.at)).one_or_none()
    if found is None:
        raise NotFound(
            f"{ref} came with no files", "it was made by this factory, or there is no such version", ""
        )
    return _arrival(found)


def of_many(db: Connection, refs: Iterable[Ref]) -> dict[Ref, Arrival]:
    """How versions came, those that were made elsewhere."""
    wanted = set(refs)
    found: dict[Ref, Arrival] = {}
    for some in chunks(wanted):
        close = near(arrivals, [(ref.name, segment_text(ref.segment)) for ref in some])
        numbers = arrivals.c.version.in_({ref.at for ref in some})
        for row in db.execute(select(arrivals).where(close, numbers)):
            one = _arrival(row)
            if one.ref in wanted:
                found[one.ref] = one
    return found


def in_state(db: Connection, state: State, limit: int = 100) -> list[Arrival]:
    """Arrivals in a state."""
    query = select(arrivals).where(arrivals.c.state == state).limit(limit)
    return [_arrival(row) for row in db.execute(query)]


def mark(db: Connection, ref: Ref, state: State) -> None:
    """Note what became of an arrival."""
    here = update(arrivals).where(at(arrivals, ref), arrivals.c.version == ref.at)
    db.execute(here.values(state=state))


def unpacked(db: Connection, ref: Ref, package: Package) -> None:
    """Give a version that was kept as it came its package: the one change that a version ever sees."""
    here = update(model_versions).where(at(model_versions, ref), model_versions.c.version == ref.at)
    db.execute(here.values(package=plain(package.to_json())))


def _arrival(row: Row[Any]) -> Arrival:
    ref = Ref(row.model, parse_segment(row.segment), row.version)
    return Arrival(ref, row.source, row.run, row.logged, row.files, row.state)
