"""Edges that nobody writes: what stands in the ledger's other tables says them already.

A training of a thousand segments writes an edge for each of its inputs, not for each of its runs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, Table, select

from modelworks.core.errors import Invalid
from modelworks.core.ref import Ref, parse_segment, segment_text
from modelworks.lineage.edge import Edge
from modelworks.stores.ledger.portable import chunks
from modelworks.stores.ledger.tables import (
    dataset_versions,
    deployment_history,
    model_versions,
    runs,
    verdicts,
)


def derived(db: Connection, nodes: Sequence[str], limit: int, *, upward: bool) -> Iterator[Edge]:
    """The edges into some nodes, or out of them; up to `limit` of each kind."""
    by_kind: defaultdict[str, list[str]] = defaultdict(list)
    for node in nodes:
        kind, _, rest = node.partition(":")
        by_kind[kind].append(rest)
    for kind, names in by_kind.items():
        for step in (_UP if upward else _DOWN).get(kind, ()):
            yield from step(db, names, limit)


def _rows(
    db: Connection, query: Select[Any], column: Any, names: Iterable[Any], limit: int
) -> Iterator[Row[Any]]:
    for some in chunks(names):
        yield from db.execute(query.where(column.in_(some)).limit(limit))


# -- datasets ------------------------------------------------------------------------------------------------


def _grew(db: Connection, names: Sequence[str], limit: int, by: int) -> Iterator[Edge]:
    """Each version of a dataset has the rows of the one before it, and its own."""
    v = dataset_versions.c
    for ref in _refs(names):
        if not isinstance(ref.at, int):
            continue
        other = ref.at + by
        if db.scalar(select(v.version).where(v.dataset == ref.name, v.version == other)) is not None:
            first, last = sorted((ref.at, other))
            yield Edge(f"dataset:{ref.name}@{first}", "grew into", f"dataset:{ref.name}@{last}")


# -- runs ----------------------------------------------------------------------------------------------------


def _runs_of(db: Connection, names: Sequence[str], limit: int) -> Iterator[Edge]:
    query = select(runs.c.campaign, runs.c.id).order_by(runs.c.campaign, runs.c.segment)
    for row in _rows(db, query, runs.c.campaign, names, limit):
        yield Edge(f"campaign:{row.campaign}", "began", f"run:{row.id}")


def _campaign_of(db: Connection, names: Sequence[str], limit: int) -> Iterator[Edge]:
    query = select(runs.c.campaign, runs.c.id).where(runs.c.campaign.is_not(None))
    for row in _rows(db, query, runs.c.id, names, limit):
        yield Edge(f"campaign:{row.campaign}", "began", f"run:{row.id}")


def _made_by(db: Connection, names: Sequence[str], limit: int) -> Iterator[Edge]:
    query = select(model_versions.c.run, *_of(model_versions), model_versions.c.version)
    for row in _rows(db, query, model_versions.c.run, names, limit):
        yield Edge(f"run:{row.run}", "made", f"model:{_ref(row.model, row.segment, row.version)}")


# -- model versions ------------------------------------------------------------------------------------------


def _maker_of(db: Connection, names: Sequence[str], limit: int) -> Iterator[Edge]:
    for row in _versions(db, model_versions, model_versions.c.version, names, limit, model_versions.c.run):
        yield Edge(f"run:{row.run}", "made", f"model:{_ref(row.model, row.segment, row.version)}")


def _judged(db: Connection, names: Sequence[str], limit: int) -> Iterator[Edge]:
    for row in _versions(db, verdicts, verdicts.c.version, names, limit, verdicts.c.id):
        ref = _ref(row.model, row.segment, row.version)
        yield Edge(f"model:{ref}", "judged", f"verdict:{ref}#{row.id}")


def _deployed(db: Connection, names: Sequence[str], limit: int) -> Iterator[Edge]:
    h = deployment_history
    for row in _versions(db, h, h.c.champion.label("version"), names, limit, h.c.revision):
        yield _deployment(row.model, row.segment, row.version, row.revision)


def _judged_one(db: Connection, names: Sequence[str], limit: int) -> Iterator[Edge]:
    for name in names:
        yield Edge(f"model:{name.rpartition('#')[0]}", "judged", f"verdict:{name}")


def _deployed_by(db: Connection, names: Sequence[str], limit: int) -> Iterator[Edge]:
    h = deployment_history.c
    query = select(h.model, h.segment, h.champion, h.revision)
    revisions = [int(end) for end in (name.rpartition("#")[2] for name in names) if end.isdecimal()]
    for row in _rows(db, query, h.revision, revisions, limit):
        yield _deployment(row.model, row.segment, row.champion, row.revision)


def _versions(
    db: Connection, table: Table, number: Any, names: Sequence[str], limit: int, *more: Any
) -> Iterator[Row[Any]]:
    """The lines of a table about some model versions.

    Pairs in a query would be exact, but SQLite then reads the whole table: a few lines of others are let go here.
    """
    wanted = {
        (ref.name, segment_text(ref.segment), ref.at): None for ref in _refs(names) if isinstance(ref.at, int)
    }
    for some in chunks(wanted):
        query = select(*_of(table), number, *more).where(
            table.c.model.in_({one[0] for one in some}), table.c.segment.in_({one[1] for one in some})
        )
        left = limit
        for row in db.execute(query.where(_plain(number).in_({one[2] for one in some})).order_by(*more)):
            if (row.model, row.segment, row.version) in wanted and left > 0:
                left -= 1
                yield row


def _plain(number: Any) -> Any:
    return getattr(number, "element", number)


def _of(table: Table) -> tuple[Any, Any]:
    return table.c.model, table.c.segment


def _refs(names: Iterable[str]) -> Iterator[Ref]:
    for name in names:
        try:
            yield Ref.parse(name)
        except Invalid:  # nodes of other makers
            continue


def _ref(model: str, segment: str, version: int) -> Ref:
    return Ref(model, parse_segment(segment), version)


def _deployment(model: str, segment: str, version: int, revision: int) -> Edge:
    at = Ref(model, parse_segment(segment))
    return Edge(f"model:{_ref(model, segment, version)}", "deployed", f"deployment:{at}#{revision}")


_Step = Callable[[Connection, Sequence[str], int], Iterator[Edge]]
_DOWN: dict[str, tuple[_Step, ...]] = {
    "dataset": (lambda db, names, limit: _grew(db, names, limit, 1),),
    "campaign": (_runs_of,),
    "run": (_made_by,),
    "model": (_judged, _deployed),
}
_UP: dict[str, tuple[_Step, ...]] = {
    "dataset": (lambda db, names, limit: _grew(db, names, limit, -1),),
    "run": (_campaign_of,),
    "model": (_maker_of,),
    "verdict": (_judged_one,),
    "deployment": (_deployed_by,),
}
