"""What a source has that was not taken in before."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from modelworks.data.dataset import Dataset
from modelworks.data.delivery import Delivery
from modelworks.data.sources.port import Part, Source
from modelworks.stores.ledger import Ledger
from modelworks.stores.ledger.portable import chunks, upsert
from modelworks.stores.ledger.tables import ingested


@dataclass(frozen=True)
class News:
    """New parts.

    Attributes:
        parts: Those to take in, the oldest first.
        contents: Gives the digest of the content of each; ``""`` for what was brought. It may have to be waited
            for.
        notes: What a person should know about them.
        remembered: Whether they are told from old ones by what the ledger keeps of them; of a stream, the
            table itself knows up to where it was taken in, and of a source with a cursor, the ledger.
    """

    parts: Sequence[Part]
    contents: Mapping[Part, Callable[[], str]]
    notes: Sequence[str] = ()
    remembered: bool = True

    def row(self, part: Part, version: int) -> dict[str, Any]:
        """What the ledger keeps of a part that came in with a version."""
        return {
            "source": part.uri,
            "fingerprint": part.fingerprint,
            "content": self.contents[part](),
            "size": part.size,
            "version": version,
        }


def news_of(
    dataset: Dataset, ledger: Ledger, root: Path, beside: Executor, brought: Sequence[Delivery] = ()
) -> News:
    """The parts whose content is new.

    A part with a new fingerprint but a content that was taken in before (it was touched, copied back, or
    moved) is only noted in the ledger. A part that changed is new as a whole.

    Args:
        dataset: Whose source to look at.
        ledger: What was taken in before.
        root: The project's folder.
        beside: Where digests are made that are needed only later.
        brought: What to look at instead of the source.
    """
    nothing = {one.part: str for one in brought}
    if any(one.piece is not None or one.increment is not None for one in brought):
        return News([one.part for one in brought], nothing, remembered=False)
    source = dataset.source
    found = [one.part for one in brought]
    contents: dict[Part, Callable[[], str]] = {**nothing}
    if not brought and isinstance(source, Source):
        found = source.parts(root)
    with ledger.read() as db:
        known = _fingerprints(db, dataset.name, found)
        new = [part for part in found if part.fingerprint not in known.get(part.uri, ())]
        sizes = _sizes(db, dataset.name, new)
        asked: dict[Part, str] = {}
        for part in new:
            if part in contents or not isinstance(source, Source):
                continue
            if part.size is None or part.size in sizes:
                asked[part] = content = source.content(root, part)
                contents[part] = partial(str, content)
            else:  # it is as large as no other: its content can only be new
                contents[part] = beside.submit(source.content, root, part).result
        before = _contents(db, dataset.name, [content for content in asked.values() if content])
    there = {(part.uri, part.fingerprint) for part in found}
    came: dict[Part, int] = {}
    for part in new:
        places = before.get(asked.get(part, ""), [])
        here = [place for place in places if place.uri == part.uri]
        # Nowhere else any more: somebody moved it. Still somewhere else: a copy, which is somebody's other file.
        moved = not any((place.uri, place.fingerprint) in there for place in places)
        if places and (here or moved):
            came[part] = (here or places)[0].version
    became = "taken in again" if dataset.key and dataset.same_key != "add" else "added again"
    notes = [
        f"{part.uri} changed: its rows were {became}"
        for part in new
        if part.uri in known and part not in came
    ]
    news = News([part for part in new if part not in came], contents, notes)
    if came:
        with ledger.write() as db:
            upsert(db, ingested, [{"dataset": dataset.name} | news.row(*one) for one in came.items()])
    return news if found else replace(news, notes=[f"{source} has nothing"])


def _fingerprints(db: Connection, dataset: str, parts: Sequence[Part]) -> dict[str, set[str]]:
    """The fingerprints with which these parts were taken in before."""
    known: defaultdict[str, set[str]] = defaultdict(set)
    for uris in chunks(part.uri for part in parts):
        query = select(ingested.c.source, ingested.c.fingerprint)
        for row in db.execute(query.where(ingested.c.dataset == dataset, ingested.c.source.in_(uris))):
            known[row.source].add(row.fingerprint)
    return known


def _sizes(db: Connection, dataset: str, parts: Sequence[Part]) -> set[int]:
    """Those of the parts' sizes that something had which was taken in."""
    found: set[int] = set()
    query = select(ingested.c.size).where(ingested.c.dataset == dataset).distinct()
    for sizes in chunks({part.size for part in parts if part.size is not None}):
        found.update(size for size in db.scalars(query.where(ingested.c.size.in_(sizes))) if size is not None)
    return found


class _Place(NamedTuple):
    """Where and when a content was taken in."""

    uri: str
    fingerprint: str
    version: int


def _contents(db: Connection, dataset: str, contents: Sequence[str]) -> dict[str, list[_Place]]:
    """Where contents were taken in before."""
    before: defaultdict[str, list[_Place]] = defaultdict(list)
    query = select(ingested.c.source, ingested.c.fingerprint, ingested.c.version, ingested.c.content)
    for some in chunks(contents):
        for row in db.execute(query.where(ingested.c.dataset == dataset, ingested.c.content.in_(some))):
            before[row.content].append(_Place(row.source, row.fingerprint, row.version))
    return before
