"""Looking runs up: by a query, by an id, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, select

from modelworks.core.errors import Invalid, NotFound
from modelworks.stores import Stores
from modelworks.stores.ledger.portable import chunks
from modelworks.stores.ledger.tables import run_values, runs
from modelworks.track.query import sql
from modelworks.track.query.grammar import parse
from modelworks.track.query.words import Order, Query

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
    holds: ColumnElement[bool] = runs.c.deleted.is_not(None) if deleted else runs.c.deleted.is_(None)
    with stores.ledger.read() as db:
        if query.where is not None:
            holds = and_(holds, sql.condition(db, query.where))
        return [_told(row) for row in _ordered(db, query, holds, most)]


def _ordered(db: Connection, query: Query, holds: ColumnElement[bool], most: int) -> list[Any]:
    """The rows in order. Runs that lack what the first key names come last, and are asked for last.

    So the index on the key's values can be gone through in its order, up to the limit.
    """
    columns = [runs.c[name] for name in _SHOWN]
    first = query.order[0] if query.order else None
    if first is None or not first.field.kind:
        keys = [key for order in query.order for key in _keys(order)]
        every = select(*columns).where(holds).order_by(*keys, runs.c.id.desc())
        return list(db.execute(every.limit(most)).mappings())
    v = run_values.c
    name = f"{first.field.kind}.{first.field.name}"
    found: list[Any] = []
    for value in (v.number, v.text):
        if len(found) >= most or (value is v.text and first.field.kind == "metrics"):
            break
        here = [v.field == name, value.is_not(None)] + ([v.number.is_(None)] if value is v.text else [])
        keys = [value.desc() if first.descending else value.asc()]
        keys += [key for order in query.order[1:] for key in _keys(order)]
        some = select(*columns).join(run_values, v.run == runs.c.id).where(*here, holds)
        some = some.order_by(*keys, runs.c.id.desc())
        found += db.execute(some.limit(most - len(found))).mappings()
    if len(found) < most:
        own = v.text.is_not(None) if first.field.kind != "metrics" else v.number.is_not(None)
        having = select(v.run).where(v.field == name, own)
        rest = select(*columns).where(holds, runs.c.id.not_in(having)).order_by(runs.c.id.desc())
        found += db.execute(rest.limit(most - len(found))).mappings()
    return found


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
