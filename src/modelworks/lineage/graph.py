"""The lineage graph in the ledger: adding edges, walking up to origins and down to consequences.

Most edges are not written: see `derived`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from itertools import chain

from sqlalchemy import Connection, select

from modelworks.lineage.derived import derived
from modelworks.lineage.edge import Edge
from modelworks.stores.ledger.portable import chunks, upsert
from modelworks.stores.ledger.tables import edges

_LONGEST = 1200


def add(db: Connection, new: Sequence[Edge], at: datetime) -> None:
    """Write edges in the caller's transaction; those that are there already stay as they are."""
    rows = [
        {"source": _node(edge.source), "relation": edge.relation, "target": _node(edge.target), "created": at}
        for edge in dict.fromkeys(new)
    ]
    upsert(db, edges, rows, keep=True)


def up(db: Connection, node: str, depth: int = 6, limit: int = 10_000) -> list[Edge]:
    """The edges through which `node` came to be, nearest first, up to `limit` of them."""
    return _walk(db, node, depth, limit, upward=True)


def down(db: Connection, node: str, depth: int = 6, limit: int = 10_000) -> list[Edge]:
    """The edges to all that came of `node`, nearest first, up to `limit` of them."""
    return _walk(db, node, depth, limit, upward=False)


def _walk(db: Connection, node: str, depth: int, limit: int, *, upward: bool) -> list[Edge]:
    """Breadth first, one query a step and chunk."""
    here, there = (edges.c.target, edges.c.source) if upward else (edges.c.source, edges.c.target)
    found: dict[Edge, None] = {}
    seen, front = {_node(node)}, [_node(node)]
    for _ in range(depth):
        following: list[str] = []
        for nodes in chunks(front):
            query = select(edges.c.source, edges.c.relation, edges.c.target).where(here.in_(nodes))
            left = max(0, limit - len(found))
            written = (Edge(*row) for row in db.execute(query.order_by(there).limit(left)).all())
            for edge in chain(written, derived(db, nodes, left, upward=upward)):
                if len(found) >= limit:
                    break
                found[edge] = None
                other = edge.source if upward else edge.target
                if other not in seen:
                    seen.add(other)
                    following.append(other)
        if not following or len(found) >= limit:
            break
        front = following
    return list(found)


def _node(text: str) -> str:
    """A node as it is kept: of a very long one, the beginning and a digest of all of it."""
    return (
        text if len(text) <= _LONGEST else f"{text[: _LONGEST - 33]}#{sha256(text.encode()).hexdigest()[:32]}"
    )
