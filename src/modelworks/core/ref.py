"""References: ``flights@12``, ``flights@latest``, ``delay@3``, ``delay[UA,EWR]@champion``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, unquote

from modelworks.core.errors import Invalid

Segment = tuple[str, ...]
"""Values of a model's ``per`` columns, outermost first; ``()`` is the global parent of all segments."""

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,99}")
_REF = re.compile(r"(?P<name>[^\[\]@]+)(?:\[(?P<segment>[^\[\]]*)\])?(?:@(?P<at>[^\[\]@]+))?")
_SEGMENT_VALUE_LIMIT = 200
_EMPTY = "%"
"""An empty value: percent-encoding never makes a percent sign that stands alone."""


def check_name(name: str, what: str = "name") -> str:
    """Return `name` if it may name a dataset, a model, a tag; names become paths and URLs.

    Raises:
        Invalid: it is empty, too long, path-like, or has characters other than letters, digits, ``_ . -``.
    """
    if not NAME.fullmatch(name) or ".." in name:
        raise Invalid(
            f"{name[:120]!r} is not a valid {what}",
            "a name starts with a letter and has up to 100 letters, digits, '_', '-' or '.'",
            "choose another name",
        )
    return name


@lru_cache(maxsize=65_536)
def segment_text(segment: Segment) -> str:
    """The canonical text of a segment: ``("UA", "EWR")`` is ``"UA,EWR"``, the global one is ``""``.

    Characters that the text form itself uses are percent-encoded, so any value survives a round trip.
    """
    return ",".join(quote(value, safe=" :+*!()'~$;=&?|<>{}\"^`\\#") or _EMPTY for value in segment)


@lru_cache(maxsize=100_000)
def parse_segment(text: str) -> Segment:
    """The inverse of `segment_text`."""
    if not text:
        return ()
    return tuple("" if part == _EMPTY else unquote(part) for part in text.split(","))


@dataclass(frozen=True)
class Ref:
    """A dataset or model, optionally one segment of it, optionally at a version, tag or alias.

    Attributes:
        name: Name of the dataset or model.
        segment: Segment, ``()`` for none (a dataset, a model without ``per``, the global parent).
        at: Version number, or a tag or alias; ``None`` where the reference names none.
    """

    name: str
    segment: Segment = ()
    at: int | str | None = None

    def __str__(self) -> str:
        segment = f"[{segment_text(self.segment)}]" if self.segment else ""
        return f"{self.name}{segment}" + ("" if self.at is None else f"@{self.at}")

    @classmethod
    def parse(cls, text: str) -> Ref:
        """Read a reference.

        Raises:
            Invalid: `text` is not a reference.
        """
        match = _REF.fullmatch(text.strip()) if len(text) <= 2000 else None
        if match is None:
            raise Invalid(
                f"{text[:120]!r} is not a reference",
                "a reference is NAME, NAME@VERSION or NAME[SEGMENT]@VERSION",
                "write for instance flights@12, flights@latest or delay[UA,EWR]@champion",
            )
        name = check_name(match["name"])
        segment = parse_segment(match["segment"] or "")
        if any(len(value) > _SEGMENT_VALUE_LIMIT for value in segment):
            raise Invalid(f"a segment value in {text[:120]!r} is too long", "", "use up to 200 characters")
        return cls(name, segment, None if match["at"] is None else _read_at(match["at"]))


def _read_at(text: str) -> int | str:
    """A version number, tag or alias; ``"0123"`` is a tag, not version 123: a version has one spelling."""
    if re.fullmatch(r"0|[1-9][0-9]{0,17}", text):
        return int(text)
    return _check_digit_tag(text) if text[0].isdigit() else check_name(text, "version, tag or alias")


def _check_digit_tag(text: str) -> str:
    """Tags may start with a digit (``2013-06``) where names may not."""
    if not re.fullmatch(r"[0-9][A-Za-z0-9_.:+-]{0,99}", text) or ".." in text:
        fix = "use letters, digits, '_', '-', '.'"
        raise Invalid(f"{text[:120]!r} is not a version, tag or alias", "", fix)
    return text
