"""Looking runs up: by a query, by an id, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, true

from modelworks.core.errors import Invalid, NotFound
from modelworks.stores import Stores
from modelworks.stores.ledger.portable import chunks
from modelworks.stores.ledger.tables import run_values, runs
from modelworks.track.query import sql
from modelworks.track.query.grammar import parse
from modelworks.track.query.words import Both, Compare, Condition, Order, Query

MOST = 10_000
"""Runs that one search returns at most."""
_COMPARED = 50
_SHOWN = (
    "id", "name", "experiment", "segment", "kind", "status", "params", "metrics", "tags", "dataset",
    "dataset_version", "parent", "note", "error", "started", "ended", "deleted",
)  # fmt: skip


def find(
    stores: Stores, text: str, now: datetime, *, limit: int = 100, deleted: bool = False
) -> list[dict[str, Any]]:
    """The runs that a query asks for; the newest first where it does not say in which order.

    Args:
        stores: The project's stores.
        text: The query, see `query.grammar`.
        now: What ``now`` means in it.
        limit: Most runs to return where the query does not say.
        deleted: Whether to look among the deleted ones instead.

    Raises:
        Invalid: the query cannot be read.
    """
    query = parse(text, now)
    most = min(limit if query.limit is None else query.limit, MOST)
    with stores.ledger.read() as db:
        found = rows(db, ids(db, query, most, deleted=deleted), _SHOWN)
    return [_told(row) for row in found]


def rows(db: Connection, wanted: Sequence[str], columns: Sequence[str]) -> list[dict[str, Any]]:
    """Runs of some ids, in their order."""
    found: dict[str, dict[str, Any]] = {}
    for some in chunks(wanted):
        chosen = select(*(runs.c[name] for name in columns)).where(runs.c.id.in_(some))
        found |= {row["id"]: dict(row) for row in db.execute(chosen).mappings()}
    return [found[identifier] for identifier in wanted if identifier in found]


def ids(db: Connection, query: Query, most: int, *, deleted: bool | None = False) -> list[str]:
    """The ids of up to so many runs, in order; those that lack what the first key names come last.

    The index on the values of the first key is gone through in its order, up to the limit, and only over those
    values that the query's own conditions on that field leave. Those that lack it are asked for last.

    Args:
        db: A connection.
        query: What is asked for.
        most: The most to return.
        deleted: Whether to look among the deleted ones instead; ``None`` for all.
    """
    first = query.order[0] if query.order and query.order[0].field.kind else None
    kept, own = list[Condition](), list[Compare]()
    for part in _parts(query.where):
        mine = (
            first is not None
            and isinstance(part, Compare)
            and part.field == first.field
            and part.by != "null"
        )
        (own if mine else kept).append(part)  # type: ignore[arg-type]
    seen = [] if deleted is None else [runs.c.deleted.is_not(None) if deleted else runs.c.deleted.is_(None)]
    holds = and_(true(), *seen, *(sql.condition(part, sql.of_runs(db)) for part in kept))
    keys = [key for order in query.order[first is not None :] for key in _keys(order)]
    every = select(runs.c.id).where(holds)
    if first is None:
        return list(db.scalars(every.order_by(*keys, runs.c.id.desc()).limit(most)))
    v = run_values.c
    here = v.field == f"{first.field.kind}.{first.field.name}"
    stages: list[ColumnElement[bool]] = [v.number.is_not(None)]
    if first.field.kind != "metrics":
        stages.append(and_(v.number.is_(None), v.text.is_not(None)))
    found: list[str] = []
    for stage, value in zip(stages, (v.number, v.text), strict=False):
        some = every.join(run_values, v.run == runs.c.id)
        some = some.where(here, stage, *(sql.having(part.by, part.values) for part in own))
        some = some.order_by(value.desc() if first.descending else value.asc(), *keys, runs.c.id.desc())
        found += db.scalars(some.limit(most - len(found)))
    if len(found) < most and not own:
        having = select(v.run).where(here, or_(*stages))
        rest = every.where(runs.c.id.not_in(having)).order_by(runs.c.id.desc())
        found += db.scalars(rest.limit(most - len(found)))
    return found


def _parts(where: Condition | None) -> list[Condition]:
    """What must hold, each part of it."""
    if isinstance(where, Both) and where.by == "and":
        return [*_parts(where.left), *_parts(where.right)]
    return [] if where is None else [where]


def _keys(order: Order) -> list[ColumnElement[Any]]:
    """What a key orders by: numbers first, then texts, what is missing last."""
    if not order.field.kind:
        values = [sql.column(order.field)]
    else:
        v = run_values.c
        here = and_(v.run == runs.c.id, v.field == f"{order.field.kind}.{order.field.name}")
        each = (v.number,) if order.field.kind == "metrics" else (v.number, v.text)
        values = [select(one).where(here).correlate(runs).scalar_subquery() for one in each]
    return [(value.desc() if order.descending else value.asc()).nulls_last() for value in values]


def _told(row: Any) -> dict[str, Any]:
    """A run as it is shown: with its duration."""
    return {**row, "duration": (row["ended"] - row["started"]).total_seconds() if row["ended"] else None}


def one(stores: Stores, identifier: str) -> dict[str, Any]:
    """A run with all that it has, the step of each metric, and the runs that are part of it.

    Args:
        stores: The project's stores.
        identifier: Its id, or the beginning of it where no other begins so.

    Raises:
        NotFound: there is none of that id.
        Invalid: several ids begin so.
    """
    with stores.ledger.read() as db:
        full = _full(db, identifier)
        row = db.execute(select(runs).where(runs.c.id == full)).mappings().one()
        points = select(run_values.c.field, run_values.c.step, run_values.c.points).where(
            run_values.c.run == full, run_values.c.points.is_not(None)
        )
        courses = {name.removeprefix("metrics."): (step, count) for name, step, count in db.execute(points)}
        children = db.execute(
            select(runs.c.id, runs.c.name, runs.c.status).where(runs.c.parent == full).order_by(runs.c.id)
        ).mappings()
        return {
            **_told(row),
            "steps": {name: step for name, (step, _count) in courses.items()},
            "points": {name: count for name, (_step, count) in courses.items()},
            "children": [dict(child) for child in children],
        }


def _full(db: Connection, identifier: str) -> str:
    if 6 <= len(identifier) < 26:
        like = func.substr(runs.c.id, 1, len(identifier)) == identifier
        after = and_(runs.c.id >= identifier, runs.c.id < identifier + "g")  # ids are hexadecimal
        found = list(db.scalars(select(runs.c.id).where(after, like).limit(3)))
    else:
        found = list(db.scalars(select(runs.c.id).where(runs.c.id == identifier)))
    if len(found) > 1:
        raise Invalid(f"several runs begin with {identifier!r}", ", ".join(found), "give more of the id")
    if not found:
        raise NotFound(f"there is no run {identifier[:80]!r}", "", "'modelworks runs list' shows the newest")
    return str(found[0])


def compare(stores: Stores, identifiers: Sequence[str]) -> dict[str, Any]:
    """Runs side by side: what each has, and in what they differ.

    Raises:
        NotFound: there is none of one of the ids.
        Invalid: fewer than two, or too many.
    """
    if not 2 <= len(identifiers) <= _COMPARED:
        raise Invalid(
            "these cannot be compared", f"{len(identifiers)} runs were given", f"give 2 to {_COMPARED} ids"
        )
    with stores.ledger.read() as db:
        wanted = [_full(db, identifier) for identifier in identifiers]
        by_id = {
            row["id"]: _told(row)
            for some in chunks(wanted)
            for row in db.execute(
                select(*(runs.c[name] for name in _SHOWN), runs.c.source).where(runs.c.id.in_(some))
            ).mappings()
        }
    chosen = [by_id[identifier] for identifier in wanted]
    rows = []
    for kind in ("params", "metrics", "tags", "source"):
        names = dict.fromkeys(name for run in chosen for name in run[kind] or {})
        for name in names:
            values = [(run[kind] or {}).get(name) for run in chosen]
            differ = any(value != values[0] for value in values[1:])
            rows.append({"field": f"{kind}.{name}", "values": values, "differ": differ})
    heads = [{name: run[name] for name in ("id", "name", "status", "started", "duration")} for run in chosen]
    return {"runs": heads, "fields": rows}
