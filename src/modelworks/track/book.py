"""Keeping book: entries of runs become rows of the ledger, each entry once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, delete, select, update

from modelworks.core.clock import from_microseconds
from modelworks.core.errors import Invalid, NotFound
from modelworks.stores.ledger.portable import chunks, insert_many, queue_up, upsert
from modelworks.stores.ledger.tables import run_journals, run_points, run_values, runs
from modelworks.track import experiments, values
from modelworks.track.entry import Entry, number, numbers
from modelworks.track.points import Points, encode

_KEPT = timedelta(days=30)
"""How long the position of a distant session is kept after it was last heard of."""
_CHANGED = ("name", "status", "params", "metrics", "tags", "artifacts", "error", "ended", "experiment", "parent",
            "session", "note", "source")  # fmt: skip
_COLUMNS = ("id", "segment", "kind", "started", *_CHANGED)


@dataclass
class _Draft:
    """A run while entries are put into it."""

    row: dict[str, Any]
    fresh: bool
    values: dict[str, dict[str, Any]] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    courses: dict[str, Points] = field(default_factory=dict)


def enter(
    db: Connection,
    entries: Sequence[Entry],
    *,
    strict: bool = False,
    known: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, dict[str, Any]]:
    """Put entries into the ledger, in the caller's transaction.

    Args:
        db: An open transaction.
        entries: In the order in which they were said.
        strict: Refuse entries of a run that nobody has begun, instead of beginning one without a name.
        known: Rows of runs that were read in this transaction already.

    Returns:
        The rows of their runs, as they are now.

    Raises:
        NotFound: `strict`, and there is such an entry.
    """
    queue_up(db, "track")
    drafts = _drafts(db, entries, strict, known or {})
    for entry in entries:
        _say(drafts[entry.run], entry)
    _courses(db, [draft for draft in drafts.values() if draft.courses])
    experiments.ensure(
        db, {entry.experiment: from_microseconds(entry.time) for entry in entries if entry.experiment}
    )
    upsert(db, runs, [{name: draft.row[name] for name in _COLUMNS} for draft in drafts.values()])
    upsert(db, run_values, [row for draft in drafts.values() for row in draft.values.values()])
    for draft in drafts.values():
        if draft.gone:
            here = and_(run_values.c.run == draft.row["id"], run_values.c.field.in_(draft.gone))
            db.execute(delete(run_values).where(here))
    return {identifier: draft.row for identifier, draft in drafts.items()}


def _drafts(
    db: Connection, entries: Sequence[Entry], strict: bool, known: Mapping[str, Mapping[str, Any]]
) -> dict[str, _Draft]:
    """The runs that entries are about: as the ledger has them, or begun by their first entry."""
    first = {entry.run: entry for entry in reversed(entries)}
    drafts = {run: _Draft(dict(row), fresh=False) for run, row in known.items() if run in first}
    for some in chunks(run for run in first if run not in drafts):
        for row in db.execute(select(runs).where(runs.c.id.in_(some))).mappings():
            drafts[row["id"]] = _Draft(dict(row), fresh=False)
    for identifier, entry in first.items():
        if identifier in drafts:
            continue
        if strict and entry.name is None:
            raise NotFound(
                f"there is no run {identifier!r}", "its first entry has no name", "begin it with its name"
            )
        drafts[identifier] = _Draft(
            {
                "id": identifier,
                "name": "unnamed",
                "segment": "",
                "kind": "experiment",
                "started": from_microseconds(entry.time),
                "status": "running",
                "params": {},
                "metrics": {},
                "tags": {},
                "artifacts": {},
                "error": None,
                "ended": None,
                "experiment": "",
                "parent": None,
                "session": None,
                "note": None,
                "source": None,
                "deleted": None,
            },
            fresh=True,
        )
    return drafts


def _say(draft: _Draft, entry: Entry) -> None:
    """Put one entry into its run."""
    row, run = draft.row, entry.run
    for name in ("name", "experiment", "parent", "note", "source", "session"):
        value = getattr(entry, name)
        if value is not None:
            row[name] = value
    row["params"].update(entry.params)
    for name, digest in entry.artifacts.items():
        if digest is None:
            row["artifacts"].pop(name, None)
        else:
            row["artifacts"][name] = digest
    for name, value in entry.params.items():
        draft.values[f"params.{name}"] = values.param(run, name, value)
    for name, text in entry.tags.items():
        if text is None:
            row["tags"].pop(name, None)
            draft.values.pop(f"tags.{name}", None)
            draft.gone.append(f"tags.{name}")
        else:
            row["tags"][name] = text
            draft.values[f"tags.{name}"] = values.tag(run, name, text)
    for name, given in entry.metrics.items():
        draft.courses.setdefault(name, Points()).add((entry.step or 0,), entry.time, (number(given),))
    for name, course in entry.courses.items():
        draft.courses.setdefault(name, Points()).add(course.steps, entry.time, numbers(course.values))
    if entry.status is not None:
        over = entry.status != "running"
        row |= {
            "status": entry.status,
            "error": entry.error,
            "ended": from_microseconds(entry.time) if over else None,
        }
    elif row["status"] == "lost":  # not as dead as was thought
        row |= {"status": "running", "error": None, "ended": None}


def _courses(db: Connection, drafts: Sequence[_Draft]) -> None:
    """The newest point of every metric, and the rows of points."""
    before: dict[tuple[str, str], Any] = {}
    for some in chunks(draft.row["id"] for draft in drafts if not draft.fresh):
        query = select(run_values).where(run_values.c.run.in_(some), run_values.c.field.like("metrics.%"))
        before |= {(row.run, row.field): row for row in db.execute(query)}
    packed = []
    for draft in drafts:
        run, metrics, several = draft.row["id"], draft.row["metrics"], {}
        for name, points in draft.courses.items():
            known, count, said = before.get((run, f"metrics.{name}")), len(points), points
            if known is not None and known.points:
                count += known.points
                value = float(known.text) if known.number is None else known.number
                said = Points([known.step], [known.time], [value])
                said.steps += points.steps
                said.times += points.times
                said.values += points.values
            newest = said.newest()
            metrics[name] = newest.value if math.isfinite(newest.value) else None
            draft.values[f"metrics.{name}"] = values.metric(
                run, name, newest.value, newest.step, newest.time, count
            )
            if count > 1:  # the point that was alone so far comes along
                several[name] = said if count == len(said) else points
        if several:
            number_of = sum(map(len, several.values()))
            packed.append({"run": run, "points": number_of, "content": encode(several)})
    insert_many(db, run_points, packed)


def position(db: Connection, journal: str) -> int:
    """How far a journal has been put into the ledger."""
    found = db.scalar(select(run_journals.c.position).where(run_journals.c.id == journal))
    return 0 if found is None else int(found)


def advance(db: Connection, journal: str, to: int, now: datetime) -> None:
    """Note how far a journal has been put into the ledger, in the transaction that did it."""
    upsert(db, run_journals, [{"id": journal, "position": to, "updated": now}])


def follow_on(db: Connection, session: str, begin: int, count: int, now: datetime) -> int:
    """Note that entries of a distant session came; they are numbered through.

    Args:
        db: An open transaction.
        session: The session.
        begin: The number of the first of them.
        count: How many there are.
        now: When.

    Returns:
        How many of them have been here before, and must not be entered again.

    Raises:
        Invalid: what comes before them has never been here.
    """
    queue_up(db, "track")
    at = position(db, session)
    if begin > at:
        raise Invalid(
            f"the entries do not follow on what is here of session {session[:80]!r}",
            f"they begin with number {begin}, the last one here is number {at - 1}",
            "send them in order, and again what was not answered",
        )
    advance(db, session, max(at, begin + count), now)
    return min(at - begin, count)


def forget(db: Connection, journal: str) -> None:
    """Drop the position of a journal whose file is gone."""
    db.execute(delete(run_journals).where(run_journals.c.id == journal))


def lose(db: Connection, session: str, at: datetime) -> int:
    """Say of runs that lived in a process that it died; returns their number."""
    still = and_(runs.c.session == session, runs.c.status == "running")
    return db.execute(
        update(runs).where(still).values(status="lost", error="its process died", ended=at)
    ).rowcount


def _silent(before: datetime) -> Any:
    """The distant sessions that were last heard of before a moment; a journal of this machine has a dash."""
    return select(run_journals.c.id).where(run_journals.c.updated < before, run_journals.c.id.not_like("%-%"))


def silent(db: Connection, before: datetime) -> bool:
    """Whether a run still runs, so it seems, in a distant process last heard of before a moment."""
    still = select(runs.c.id).where(runs.c.status == "running", runs.c.session.in_(_silent(before)))
    return db.scalar(still.limit(1)) is not None


def lose_silent(db: Connection, before: datetime, now: datetime) -> None:
    """Lose the runs of distant processes that were last heard of before a moment."""
    still = select(runs.c.session).where(runs.c.status == "running", runs.c.session.in_(_silent(before)))
    for session in set(db.scalars(still)):
        lose(db, session, now)
    db.execute(delete(run_journals).where(run_journals.c.id.in_(_silent(now - _KEPT))))
