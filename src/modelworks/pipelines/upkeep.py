"""Keeping datasets in order: what is used decides what is kept, how rows are ordered, and what an erasure finds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import polars as pl
from sqlalchemy import or_, select

from modelworks.core.duration import duration
from modelworks.core.ref import Ref, parse_segment
from modelworks.data.forget import SINCE, UNTIL
from modelworks.data.upkeep import VacuumReport
from modelworks.lineage import graph
from modelworks.pipelines import online
from modelworks.pipelines.context import Stations, turn_of
from modelworks.stores.ledger.tables import aliases, deployments, model_versions

KEEP = "30d"
"""How old a version becomes that nothing uses, unless somebody says otherwise."""
WORTH = 16
"""Small files from which packing them is worth the while, unasked."""


@dataclass(frozen=True)
class ForgetReport:
    """What an erasure did.

    Attributes:
        dataset: Name of the dataset.
        rows: Rows that its newest version lost.
        quarantined: Rows that its quarantine lost.
        dropped: Versions that are not kept any more, for they held such rows and nothing uses them.
        predictions: Predictions and outcomes that the log lost.
        models: Model versions that have learned from such rows: that were trained on them, learned them from outcomes,
            or go on from one that did.
    """

    dataset: str
    rows: int
    quarantined: int
    dropped: Sequence[int]
    predictions: int
    models: Sequence[str]


def used(stations: Stations, dataset: str) -> set[int]:
    """The versions of a dataset that live models were trained on: those deployed, to go back to, or waiting."""
    m, d, a = model_versions.c, deployments.c, aliases.c
    here = (m.model == d.model) & (m.segment == d.segment)
    live = select(m.dataset_version).where(
        m.dataset == dataset, here, or_(m.version == d.champion, m.version == d.previous)
    )
    there = (m.model == a.model) & (m.segment == a.segment) & (m.version == a.version)
    named = select(m.dataset_version).where(m.dataset == dataset, there)
    with stations.stores.ledger.read() as db:
        return {number for query in (live, named) for number in db.scalars(query.distinct())}


def order(stations: Stations, dataset: str) -> list[str]:
    """The columns that readers choose rows by: those that most models are split by first, then the time."""
    columns: Counter[str] = Counter()
    for model in stations.project.models.values():
        if model.definition.dataset == dataset:
            columns.update(model.definition.per)
    time = stations.project.dataset(dataset).time
    return [*(column for column, _ in columns.most_common()), *([time] if time else [])]


def compact(stations: Stations, dataset: str, at_least: int = 2) -> int:
    """Pack a dataset's small files; returns how many there were."""
    return stations.data.compact(dataset, order(stations, dataset), at_least)


def tidy(stations: Stations) -> int:
    """Pack what is worth it, and delete files that no version needs; returns the number of files packed."""
    packed = 0
    for name in stations.project.datasets:
        files = compact(stations, name, WORTH)
        if files:
            stations.data.vacuum(name, None, ())
        packed += files
    return packed


def vacuum(stations: Stations, dataset: str, keep: str = KEEP) -> VacuumReport:
    """Let versions go that are older than `keep` and that nothing uses.

    Raises:
        Invalid: `keep` is not a duration.
    """
    return stations.data.vacuum(dataset, duration(keep), used(stations, dataset))


def forget(stations: Stations, dataset: str, value: str, column: str | None = None) -> ForgetReport:
    """Erase a subject from a dataset and from the predictions of its models; list what has learned from it.

    Args:
        stations: The belt.
        dataset: Name of the dataset.
        value: Names the subject.
        column: In which column; the key by default.

    Raises:
        Invalid: there is no such column, or no such value can be in it.
    """
    declared = stations.project.dataset(dataset)
    models = [model.definition for model in stations.project.models.values()]
    mine = [definition for definition in models if definition.dataset == dataset]
    per = sorted({name for definition in mine for name in definition.per})
    by_key, keys = column in (None, declared.key), [declared.key] if declared.key else []
    with ExitStack() as stack:
        for one in sorted(mine, key=lambda one: one.name):
            if one.learn == "online":  # what is being learned just now would not be known yet
                stack.enter_context(stations.stores.ledger.leases.take(turn_of(one.name), wait=True))
        stations.serve.drain()
        done = stations.data.forget(declared, value, column, used(stations, dataset), [*per, *keys])
        gone = stations.serve.forget([one.name for one in mine], None if by_key else column, value)
        names = {*gone.names, *([value] if by_key else [])}
        if len(done.seen):
            names.update(key for name in keys for key in done.seen[name].cast(pl.String).drop_nulls())
        found = _trained(stations, dataset, done.seen, {one.name: one.per for one in mine})
        found += online.learned_from(stations, [one.name for one in mine], names)
        learned = _going_on(stations, list(dict.fromkeys(found)))
    return ForgetReport(dataset, done.rows, done.quarantined, done.dropped, gone.rows, learned)


def _trained(
    stations: Stations, dataset: str, seen: pl.DataFrame, per: dict[str, Sequence[str]]
) -> list[str]:
    """The model versions whose dataset version and segment some of the rows were in."""
    if not len(seen):
        return []
    m, found = model_versions.c, []
    first, last = seen.select(pl.col(SINCE).min().alias("a"), pl.col(UNTIL).max().alias("b")).row(0)
    query = select(m.model, m.segment, m.version, m.dataset_version).where(
        m.dataset == dataset, m.dataset_version.between(first, last)
    )
    with stations.stores.ledger.read() as db:
        for model, text, version, at in db.execute(query.order_by(m.model, m.segment, m.version)):
            segment = parse_segment(text)
            within = (pl.col(SINCE) <= at) & (pl.col(UNTIL) >= at)
            for column, value in zip(per.get(model, ()), segment, strict=False):
                within &= pl.col(column).cast(pl.String).fill_null("") == value
            if len(seen.filter(within)):
                found.append(str(Ref(model, segment, version)))
    return found


def _going_on(stations: Stations, found: list[str]) -> list[str]:
    """Versions, and those that go on from them: these have learned what those had learned."""
    following = found
    with stations.stores.ledger.read() as db:
        while following:
            edges = [edge for ref in following for edge in graph.down(db, f"model:{ref}", 2)]
            goes_on = {edge.target for edge in edges if edge.relation == "continued"}
            made = [edge for edge in edges if edge.relation == "made" and edge.source in goes_on]
            following = [
                ref for ref in (edge.target.removeprefix("model:") for edge in made) if ref not in found
            ]
            found = [*found, *following]
    return found
