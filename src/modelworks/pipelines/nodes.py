"""What is worth saying of the nodes of a lineage, in few words each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select

from modelworks.core.clock import utc
from modelworks.core.ref import Ref, segment_text
from modelworks.stores.ledger.portable import chunks
from modelworks.stores.ledger.tables import (
    campaigns,
    dataset_versions,
    deployment_history,
    model_versions,
    runs,
    verdicts,
    windows,
)

Key = tuple[str, str, int]
"""Model, segment as text, version."""


def details(db: Connection, nodes: Sequence[str]) -> dict[str, str]:
    """Node to what is worth saying of it; nothing of those whose name says all."""
    by_kind: defaultdict[str, list[str]] = defaultdict(list)
    for node in nodes:
        kind, _, rest = node.partition(":")
        by_kind[kind].append(rest)
    told: dict[str, str] = {}
    for kind, tell in _TELL.items():
        for some in chunks(by_kind[kind]):
            told.update({f"{kind}:{name}": text for name, text in tell(db, some)})
    return told


def predictions(db: Connection, nodes: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Of those nodes that are model versions which answered: a node for their answers, and how many there are."""
    refs = {node: Ref.parse(node.partition(":")[2]) for node in nodes if node.startswith("model:")}
    keys = {
        node: (ref.name, segment_text(ref.segment), ref.at)
        for node, ref in refs.items()
        if isinstance(ref.at, int)
    }
    counts = answered(db, set(keys.values()))
    told = {}
    for node, key in keys.items():
        if key in counts:
            number, first, last = counts[key]
            told[node] = f"predictions:{refs[node]}", f"{number:,}, {first:%Y-%m-%d} to {last:%Y-%m-%d}"
    return told


def answered(db: Connection, versions: Collection[Key]) -> dict[Key, tuple[int, datetime, datetime]]:
    """Predictions of model versions, and the first and last day of them; from an index of the windows alone."""
    w = windows.c
    segments: defaultdict[str, set[str]] = defaultdict(set)
    for model, segment, _ in versions:
        segments[model].add(segment)
    told: dict[Key, tuple[int, datetime, datetime]] = {}
    for model, mine in segments.items():
        query = (
            select(w.segment, w.version, func.sum(w.rows), func.min(w.start), func.max(w.start))
            .where(w.model == model)
            .group_by(w.segment, w.version)
        )
        for some in chunks(sorted(mine)):
            for segment, version, rows, first, last in db.execute(query.where(w.segment.in_(some))):
                if (model, segment, version) in versions:
                    told[model, segment, version] = int(rows), utc(first), utc(last)
    return told


def _datasets(db: Connection, names: list[str]) -> Iterable[tuple[str, str]]:
    v = dataset_versions.c
    for ref in map(Ref.parse, names):
        query = select(v.rows, v.added, v.created).where(v.dataset == ref.name, v.version == ref.at)
        for rows, added, created in db.execute(query):
            yield str(ref), f"{rows:,} rows, {added:,} new, {created:%Y-%m-%d %H:%M}"


def _campaigns(db: Connection, names: list[str]) -> Iterable[tuple[str, str]]:
    c = campaigns.c
    for row in db.execute(select(c.id, c.model, c.segments, c.reason).where(c.id.in_(names))):
        yield row.id, f"training of {row.model}, {row.segments:,} segments: {row.reason}"


def _runs(db: Connection, names: list[str]) -> Iterable[tuple[str, str]]:
    r = runs.c
    for row in db.execute(select(r.id, r.name, r.segment, r.status, r.kind).where(r.id.in_(names))):
        name = f"{row.name}[{row.segment}]" if row.segment else row.name
        yield row.id, f"{row.kind} of {name}, {row.status}"


def _models(db: Connection, names: list[str]) -> Iterable[tuple[str, str]]:
    m, refs = model_versions.c, {name: Ref.parse(name) for name in names}
    query = select(m.model, m.segment, m.version, m.metrics).where(
        m.model.in_({ref.name for ref in refs.values()}),
        m.segment.in_({segment_text(ref.segment) for ref in refs.values()}),
        m.version.in_({ref.at for ref in refs.values()}),
    )
    found = {(row.model, row.segment, row.version): row.metrics for row in db.execute(query)}
    for name, ref in refs.items():
        metrics = found.get((ref.name, segment_text(ref.segment), ref.at), {})
        yield name, ", ".join(f"{one} {value:.4g}" for one, value in metrics.items() if value is not None)


def _verdicts(db: Connection, names: list[str]) -> Iterable[tuple[str, str]]:
    v, by_id = verdicts.c, {int(name.rpartition("#")[2]): name for name in names if _numbered(name)}
    for row in db.execute(select(v.id, v.gate, v.passed, v.reason).where(v.id.in_(by_id))):
        yield by_id[row.id], f"{'passed' if row.passed else 'refused by'} {row.gate}: {row.reason}"


def _deployments(db: Connection, names: list[str]) -> Iterable[tuple[str, str]]:
    h, by_id = deployment_history.c, {int(name.rpartition("#")[2]): name for name in names if _numbered(name)}
    for row in db.execute(select(h.revision, h.champion, h.created, h.reason).where(h.revision.in_(by_id))):
        yield by_id[row.revision], f"version {row.champion} since {row.created:%Y-%m-%d %H:%M}: {row.reason}"


def _numbered(name: str) -> bool:
    return name.rpartition("#")[2].isdecimal()


_TELL: dict[str, Any] = {
    "dataset": _datasets,
    "campaign": _campaigns,
    "run": _runs,
    "model": _models,
    "verdict": _verdicts,
    "deployment": _deployments,
}
