"""What runs took in and gave out, other than what the house itself has made: datasets, logged models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, select

from modelworks.stores.ledger.portable import chunks, upsert
from modelworks.stores.ledger.tables import run_links

Role = Literal["dataset", "model_in", "model_out"]


@dataclass(frozen=True)
class Link:
    """One thing that a run took in or gave out.

    Attributes:
        run: Id of the run.
        role: What it was to the run.
        target: Id of the logged model; ``name#digest`` of a dataset.
        detail: What else is known of it.
    """

    run: str
    role: Role
    target: str
    detail: Mapping[str, Any]


def add(db: Connection, links: Sequence[Link]) -> None:
    """Enter links; one that is there takes the new detail."""
    upsert(db, run_links, [{**vars(link), "detail": dict(link.detail)} for link in links])


def of(db: Connection, runs: Sequence[str]) -> dict[str, list[Link]]:
    """The links of runs, by run."""
    found: dict[str, list[Link]] = {}
    for some in chunks(runs):
        query = (
            select(run_links).where(run_links.c.run.in_(some)).order_by(run_links.c.role, run_links.c.target)
        )
        for row in db.execute(query):
            found.setdefault(row.run, []).append(Link(row.run, row.role, row.target, row.detail))
    return found
