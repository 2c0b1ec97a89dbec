"""Labels: what people say of a model, one of its segments, or a version; never changed by the belt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select

from modelworks.core.errors import Invalid
from modelworks.core.ref import Ref, segment_text
from modelworks.registry.rows import near
from modelworks.stores.ledger.portable import chunks, queue_up, upsert
from modelworks.stores.ledger.tables import labels

KEY_LIMIT, TEXT_LIMIT, NOTE_LIMIT, MOST = 250, 8_000, 100_000, 1_000
WHOLE = 0
"""Stands where a version's number would, for a model or segment as a whole."""


@dataclass(frozen=True)
class Labels:
    """What people say of something in the registry.

    Attributes:
        tags: Short texts by which it is found.
        note: What there is to say of it, Markdown.
        owner: Who answers for it.
        stage: Where it stands in a team's own order of things, for instance ``"Staging"``; nothing follows from it.
        created: When something was first said, UTC.
        updated: When something was last said, UTC.
    """

    tags: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    owner: str = ""
    stage: str = ""
    created: datetime | None = None
    updated: datetime | None = None


NONE = Labels()
"""Nothing is said."""


def of(db: Connection, ref: Ref) -> Labels:
    """The labels of a model or segment as a whole, or of the version whose number is in the reference."""
    return of_many(db, [ref]).get(ref, NONE)


def of_many(db: Connection, refs: Iterable[Ref]) -> dict[Ref, Labels]:
    """The labels of many, those of which something is said."""
    wanted = {_key(ref): ref for ref in refs}
    found: dict[Ref, Labels] = {}
    for some in chunks(wanted):
        close = near(labels, [(model, segment) for model, segment, _ in some])
        numbers = labels.c.version.in_({version for _, _, version in some})
        for row in db.execute(select(labels).where(close, numbers, labels.c.removed.is_(None))):
            ref = wanted.get((row.model, row.segment, row.version))
            if ref is not None:
                found[ref] = _labels(row)
    return found


def say(
    db: Connection,
    ref: Ref,
    now: datetime,
    *,
    tags: Mapping[str, str | None] | None = None,
    note: str | None = None,
    owner: str | None = None,
    stage: str | None = None,
) -> Labels:
    """Say something; what is ``None`` stays as it is, and a tag of ``None`` is taken away.

    Whether there is such a model or version is the caller's to know.

    Raises:
        Invalid: a text that is too long, or too many tags.
    """
    queue_up(db, "labels")
    was = of(db, ref)
    merged = {name: text for name, text in {**was.tags, **(tags or {})}.items() if text is not None}
    said = Labels(
        merged,
        was.note if note is None else note,
        was.owner if owner is None else owner,
        was.stage if stage is None else stage,
        was.created or now,
        now,
    )
    _check(said)
    model, segment, version = _key(ref)
    row = {
        **vars(said),
        "model": model,
        "segment": segment,
        "version": version,
        "tags": merged,
        "removed": None,
    }
    upsert(db, labels, [row])
    return said


def _check(said: Labels) -> None:
    long = [
        name for name, text in said.tags.items() if not 0 < len(name) <= KEY_LIMIT or len(text) > TEXT_LIMIT
    ]
    if long:
        raise Invalid(
            f"the tag {long[0][:80]!r} cannot be kept",
            f"a name has 1 to {KEY_LIMIT} characters, a text up to {TEXT_LIMIT}",
            "put longer texts into the note",
        )
    if len(said.tags) > MOST or len(said.note) > NOTE_LIMIT or len(said.owner) > KEY_LIMIT:
        raise Invalid(
            "that is too much to keep beside a model",
            f"{len(said.tags)} tags, a note of {len(said.note)} and an owner of {len(said.owner)} characters",
            f"use up to {MOST} tags, {NOTE_LIMIT} and {KEY_LIMIT} characters",
        )


def _key(ref: Ref) -> tuple[str, str, int]:
    return ref.name, segment_text(ref.segment), ref.at if isinstance(ref.at, int) else WHOLE


def _labels(row: Row[Any]) -> Labels:
    return Labels(row.tags, row.note, row.owner, row.stage, row.created, row.updated)
