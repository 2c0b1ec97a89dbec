"""The few kinds of error that Modelworks raises.

    ModelworksError
    ├── NotFound      there is no such thing
    ├── Conflict      it clashes with what is already there
    ├── Invalid       the input cannot be accepted as it is
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

from typing import ClassVar


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

    def to_json(self) -> dict[str, str]:
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
