"""The few kinds of error that Modelworks raises.

    ModelworksError
    ├── NotFound      there is no such thing
    ├── Conflict      it clashes with what is already there
    ├── Invalid       the input cannot be accepted as it is
    │   ├── TooLarge  it is over a limit
    │   └── Unfit     it holds values that cannot be taken
    ├── NotReady      it exists but cannot be used yet
    ├── Denied        the caller, or a gate, may not pass
    │   └── Unknown   who calls is not known
    └── Unavailable   a part that is needed does not answer
        └── TooMany   more is asked than is allowed, for now
            └── Busy  more is asked than can be done, for now

Each says what happened, why, and how to mend it. HTTP statuses are given only in ``api`` and ``serve``,
exit codes only in ``cli``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar


class ModelworksError(Exception):
    """An error that a person can act on.

    Args:
        what: What happened, one sentence without a full stop.
        why: The reason, or ``""`` where `what` says it all.
        fix: What the reader can do now.
    """

    code: ClassVar[str] = "error"

    def __init__(self, what: str, why: str = "", fix: str = "") -> None:
        super().__init__(what, why, fix)
        self.what = what
        self.why = why
        self.fix = fix

    def __str__(self) -> str:
        return "; ".join(part for part in (self.what, self.why, self.fix) if part)

    def to_json(self) -> dict[str, Any]:
        """The error as the API sends it, under the key ``error``."""
        return {"code": self.code, "what": self.what, "why": self.why, "fix": self.fix}


class NotFound(ModelworksError):  # noqa: N818 - the kinds are named by what they say
    """There is no such thing."""

    code = "not_found"


class Conflict(ModelworksError):  # noqa: N818
    """It clashes with what is already there."""

    code = "conflict"


class Invalid(ModelworksError):  # noqa: N818
    """The input cannot be accepted as it is."""

    code = "invalid"


class TooLarge(Invalid):
    """The input is over a size limit."""

    code = "too_large"


@dataclass(frozen=True)
class BadValue:
    """One value that cannot be taken.

    Attributes:
        row: Position of its row, from 0.
        column: Its column; ``None`` where it is the whole row.
        kind: ``"type"``, ``"missing"``, ``"unknown"``, ``"out_of_range"``.
        why: What is wrong with it; never the value itself, which may be nobody's business.
    """

    row: int
    column: str | None
    kind: str
    why: str

    @property
    def where(self) -> str:
        """Where it stands."""
        return f"row {self.row}" if self.column is None else f"row {self.row}, column {self.column!r}"

    def __str__(self) -> str:
        return f"{self.where}: {self.why}"


class Unfit(Invalid):
    """Rows hold values that cannot be taken.

    Args:
        values: Which, at least one.
        fix: See `ModelworksError`.
    """

    code = "unfit"
    MOST: ClassVar[int] = 50
    """Values that are told."""
    _SAID: ClassVar[int] = 10

    def __init__(self, values: Iterable[BadValue], fix: str = "correct the value") -> None:
        self.values = tuple(values)
        first, *more = self.values
        if more:
            rows = len({one.row for one in self.values})
            told = "; ".join(str(one) for one in self.values[: self._SAID])
            rest = len(self.values) - self._SAID
            super().__init__(
                f"{len(self.values)} values in {rows} row{'s' if rows > 1 else ''} cannot be accepted",
                f"{told}; and {rest} more" if rest > 0 else told,
                fix,
            )
        else:
            super().__init__(f"{first.where} cannot be accepted", first.why, fix)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.values, self.fix)

    def to_json(self) -> dict[str, Any]:
        """See `ModelworksError.to_json`; with the values under ``values``."""
        return {**super().to_json(), "values": [asdict(one) for one in self.values[: self.MOST]]}


class NotReady(ModelworksError):  # noqa: N818
    """It exists but cannot be used yet."""

    code = "not_ready"


class Denied(ModelworksError):  # noqa: N818
    """The caller, or a gate, may not pass."""

    code = "denied"


class Unknown(Denied):
    """Who calls is not known: no token, or none that is in force."""

    code = "unknown"


class Unavailable(ModelworksError):  # noqa: N818
    """A part that is needed does not answer."""

    code = "unavailable"


class TooMany(Unavailable):
    """More is asked than is allowed, for now.

    Args:
        what: See `ModelworksError`.
        why: See `ModelworksError`.
        fix: See `ModelworksError`.
        after: Seconds after which to ask again.
    """

    code = "too_many"

    def __init__(self, what: str, why: str = "", fix: str = "", after: float = 1.0) -> None:
        super().__init__(what, why, fix)
        self.after = after


class Busy(TooMany):
    """More is asked than can be done, for now."""

    code = "busy"
