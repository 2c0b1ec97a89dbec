"""Rules over all that comes in with one ingest: how fresh it is, how much, how it is distributed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from modelworks.core.duration import duration
from modelworks.core.errors import Invalid
from modelworks.core.schema import Field, Kind, check_on_breach
from modelworks.core.stability import by_chance, stability
from modelworks.data.checks.port import Came

Either = Literal["reject", "warn"]
_SURE = 4.0
"""Standard deviations above what chance gives, from which a shift is one: 1 in 30,000 columns without any."""


@dataclass(frozen=True)
class Fresh:
    """The newest row is not old: ``mw.Fresh("6h")``. An alert also says when nothing comes for as long.

    Attributes:
        within: How old the newest event time may be.
        on_breach: Whether to refuse what comes in, or only to say so.

    Raises:
        Invalid: `within` is no duration.
    """

    within: str
    on_breach: Either = "warn"

    def __post_init__(self) -> None:
        check_on_breach(self.on_breach, "mw.Fresh", get_args(Either))
        duration(self.within)

    def watches(self, contract: Mapping[str, Field], key: str | None, time: str | None) -> Sequence[str]:
        """See `BatchRule.watches`."""
        if time is None:
            raise Invalid("mw.Fresh goes by the event time", "the dataset has none", "name it with time=")
        return ()

    def judge(self, came: Came) -> str | None:
        """See `BatchRule.judge`."""
        return self.late(came.newest, came.now) if came.rows and came.newest is not None else None

    def late(self, newest: datetime, now: datetime) -> str | None:
        """What is wrong with rows of which this is the newest; ``None`` where nothing is."""
        if now - newest <= duration(self.within):
            return None
        return f"the newest row is of {newest:%Y-%m-%d %H:%M} UTC, older than {self.within}"


@dataclass(frozen=True)
class Rows:
    """As many rows come in at once as one expects: ``mw.Rows(min=1000)``.

    Attributes:
        min: Fewest good rows; any number by default.
        max: Most good rows; any number by default.
        on_breach: Whether to refuse what comes in, or only to say so.
    """

    min: int | None = None
    max: int | None = None
    on_breach: Either = "warn"

    def __post_init__(self) -> None:
        check_on_breach(self.on_breach, "mw.Rows", get_args(Either))

    def watches(self, contract: Mapping[str, Field], key: str | None, time: str | None) -> Sequence[str]:
        """See `BatchRule.watches`."""
        return ()

    def judge(self, came: Came) -> str | None:
        """See `BatchRule.judge`."""
        if self.min is not None and came.rows < self.min:
            return f"{came.rows:,} rows came, fewer than {self.min:,}"
        if self.max is not None and came.rows > self.max:
            return f"{came.rows:,} rows came, more than {self.max:,}"
        return None


@dataclass(frozen=True)
class Steady:
    """Columns are distributed as in the version before: ``mw.Steady("distance", "carrier")``.

    The population stability index of each, less what chance gives, must stay below a limit; what few rows alone
    could explain is no breach.

    Attributes:
        columns: Which; every column but the key and times by default.
        by: Index from which it is another distribution.
        on_breach: Whether to refuse what comes in, or only to say so.
    """

    columns: tuple[str, ...]
    by: float
    on_breach: Either

    def __init__(self, *columns: str, by: float = 0.25, on_breach: Either = "warn") -> None:
        check_on_breach(on_breach, "mw.Steady", get_args(Either))
        if by <= 0:
            raise Invalid(
                "mw.Steady has a limit that every column breaks", f"by={by}", "write for instance 0.25"
            )
        for name, value in (("columns", columns), ("by", by), ("on_breach", on_breach)):
            object.__setattr__(self, name, value)

    def watches(self, contract: Mapping[str, Field], key: str | None, time: str | None) -> Sequence[str]:
        """See `BatchRule.watches`."""
        unknown = [name for name in self.columns if name not in contract]
        if unknown:
            raise Invalid(
                f"mw.Steady watches {unknown[0]!r}",
                f"the contract has {', '.join(contract)}",
                "correct the name",
            )
        every = [name for name, one in contract.items() if name != key and one.kind is not Kind.TIME]
        return self.columns or every

    def judge(self, came: Came) -> str | None:
        """See `BatchRule.judge`."""
        moved = {}
        for name in self.columns or came.counts:
            if name not in came.counts:
                continue
            reference, counts = came.reference[name], came.counts[name]
            index, (mean, deviation) = float(stability(reference, counts)), by_chance(reference, counts)
            if index - mean > self.by and index - mean > _SURE * deviation:
                moved[name] = index - mean
        if not moved:
            return None
        first = sorted(moved.items(), key=lambda one: -one[1])
        listed = ", ".join(f"{name} (PSI {value:.2f})" for name, value in first[:5])
        more = f" and {len(first) - 5} more columns" if len(first) > 5 else ""
        return f"other values than in {came.before}: {listed}{more}"
