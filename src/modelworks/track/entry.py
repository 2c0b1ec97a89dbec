"""An entry: something that a run says of itself. Journals, HTTP and the ledger speak in entries."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal, cast

import msgspec

from modelworks.core.errors import Invalid

Status = Literal["running", "done", "failed", "killed", "lost"]
"""`lost` is said of a run whose process died without a word."""

NAME_LIMIT = 250
TEXT_LIMIT = 10_000
FIELDS_LIMIT = 10_000
"""Names of one kind that an entry may bring."""
POINTS_LIMIT = 100_000
"""Points of a metric that an entry may bring."""
_ID = re.compile(r"[0-9a-f]{26,32}")
_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
"""Numbers that JSON lacks, as texts. Source: the JSON mapping of Protocol Buffers."""


class Course(msgspec.Struct, array_like=True, frozen=True):
    """Many points of a metric at once, as JSON ``[[0, 1], [0.9, 0.5]]``.

    Attributes:
        steps: Where on the course they are.
        values: Their values, as those of `Entry.metrics`.
    """

    steps: list[int]
    values: list[float | str]


class Entry(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True, frozen=True):
    """What is new of a run; the first one of a run has its name.

    Attributes:
        run: Id of the run.
        time: When it was said, microseconds since 1970, UTC.
        name: Name of the run.
        experiment: The group of runs that it belongs to; ``None`` leaves it.
        parent: Id of the run that it is part of.
        params: Parameters; those given again take the new value.
        metrics: Numbers, a point of each one's course; the texts NaN, Infinity and -Infinity are numbers too.
        step: Where on the course the points are.
        courses: Of metrics, many points at once.
        tags: Texts by which it is found; ``None`` takes a tag away.
        artifacts: Name to the digest of the content; ``None`` takes an artifact away.
        note: What a person has to say of it, Markdown; it takes the place of an earlier one.
        source: Where it came from: git commit, digest of the changes, environment, command, host.
        status: How it goes on, or ended.
        error: Why it failed.
        session: The process that it lives in, where this begins to be so.
    """

    run: str
    time: int
    name: str | None = None
    experiment: str | None = None
    parent: str | None = None
    params: dict[str, Any] = msgspec.field(default_factory=dict)
    metrics: dict[str, float | str] = msgspec.field(default_factory=dict)
    step: int | None = None
    courses: dict[str, Course] = msgspec.field(default_factory=dict)
    tags: dict[str, str | None] = msgspec.field(default_factory=dict)
    artifacts: dict[str, str | None] = msgspec.field(default_factory=dict)
    note: str | None = None
    source: dict[str, Any] | None = None
    status: Status | None = None
    error: str | None = None
    session: str | None = None


_decoder = msgspec.json.Decoder(list[Entry])
_encoder = msgspec.json.Encoder()


def encode(entries: Sequence[Entry]) -> bytes:
    """As JSON."""
    return _encoder.encode(entries)


def decode(content: bytes) -> list[Entry]:
    """The inverse of `encode`."""
    return _decoder.decode(content)


class Batch(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Entries as somebody else sends them.

    Attributes:
        entries: In the order in which they were said.
        session: The process that sends them, which numbers them through: what is sent again is taken once.
        begin: The number of the first of them.
        over: That the process is gone: those of its runs that still run are lost.
    """

    entries: list[Entry]
    session: str | None = None
    begin: int = 0
    over: bool = False


_batch = msgspec.json.Decoder(Batch)


def read_batch(content: bytes) -> Batch:
    """Read and check a batch from outside.

    Raises:
        Invalid: it is none, or one of its entries cannot be kept.
    """
    try:
        batch = _batch.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(
            "these are not entries of runs", str(error), "see /docs for what an entry has"
        ) from None
    for entry in batch.entries:
        check(entry)
    if batch.session is not None:
        check_id(batch.session, "session")
    return batch


def check(entry: Entry) -> None:
    """Hold an entry against the limits.

    Raises:
        Invalid: an id, a name, a text or a number that cannot be kept.
    """
    for identifier in (entry.run, entry.parent, entry.session):
        if identifier is not None:
            check_id(identifier)
    if not 0 <= entry.time < 1 << 60 or not -(1 << 63) <= (entry.step or 0) < 1 << 63:
        raise Invalid("a time or step is out of range", f"time {entry.time}, step {entry.step}", "")
    for what in (entry.params, entry.metrics, entry.courses, entry.tags, entry.artifacts):
        if len(what) > FIELDS_LIMIT:
            raise Invalid("too much at once", f"{len(what)} names", f"send up to {FIELDS_LIMIT} at a time")
        for name in what:
            check_field(name)
    for name, digest in entry.artifacts.items():
        if digest is not None and not re.fullmatch("[0-9a-f]{64}", digest):
            raise Invalid(f"artifact {name!r} has no digest", f"got {digest[:80]!r}", "upload it first")
    for value in entry.metrics.values():
        number(value)
    for course in entry.courses.values():
        if len(course.steps) != len(course.values) or len(course.steps) > POINTS_LIMIT:
            raise Invalid(
                "a course cannot be kept",
                f"it has {len(course.steps)} steps and {len(course.values)} values",
                f"send as many of both, up to {POINTS_LIMIT} at a time",
            )
        numbers(course.values)
        if course.steps and not -(1 << 63) <= min(course.steps) <= max(course.steps) < 1 << 63:
            raise Invalid("a step is out of range", f"they go up to {max(course.steps)}", "")
    for text in (entry.name, entry.experiment):
        if text is not None and (len(text) > NAME_LIMIT or any(ord(c) < 32 for c in text)):
            raise Invalid(f"{text[:80]!r} is too long a name", "", f"use up to {NAME_LIMIT} characters")


@lru_cache(4096)
def check_id(identifier: str, what: str = "run") -> None:
    """Refuse what cannot be the id of a run or a session.

    Raises:
        Invalid: it is none.
    """
    if not _ID.fullmatch(identifier):
        raise Invalid(
            f"{identifier[:80]!r} is not the id of a {what}",
            "an id has 26 to 32 hexadecimal digits",
            "leave it to Modelworks to make one",
        )


@lru_cache(4096)
def check_field(name: str) -> str:
    """Return `name` if it may name a parameter, metric, tag or artifact of a run.

    Raises:
        Invalid: it is empty, too long, path-like, or has characters that cannot be seen.
    """
    if not 0 < len(name) <= NAME_LIMIT or not name.isprintable() or ".." in name or name[0] in "/ ":
        raise Invalid(
            f"{name[:80]!r} cannot name a parameter, metric, tag or artifact",
            f"a name has 1 to {NAME_LIMIT} visible characters, no '..' and no '/' in front",
            "choose another name",
        )
    return name


def number(value: float | str) -> float:
    """A metric's value as a number.

    Raises:
        Invalid: a text that is none.
    """
    if isinstance(value, str):
        if value not in _WORDS:
            raise Invalid(
                f"{value[:80]!r} is not a number", "", f"send a number, or one of {', '.join(_WORDS)}"
            )
        return _WORDS[value]
    return value


def numbers(values: Sequence[float | str]) -> Sequence[float]:
    """Values of a metric as numbers; see `number`."""
    if str in set(map(type, values)):
        return [number(value) for value in values]
    return cast("Sequence[float]", values)


def word(value: float) -> float | str:
    """A number as it stands in an entry."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def words(values: Sequence[float]) -> list[float | str]:
    """Numbers as they stand in an entry; see `word`."""
    return list(values) if all(map(math.isfinite, values)) else [word(value) for value in values]
