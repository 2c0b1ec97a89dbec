"""What gates ask to be looked at, beside the metrics, and what is found.

Whoever has the held-out rows looks once a candidate, and only at what some gate of its definition needs; the
gates then judge what was found, wherever and whenever.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar, cast

from modelworks.models.signature import Signature

Found = TypeVar("Found", covariant=True)


def finite(value: float | None) -> float | None:
    """`value`; ``None`` where it is not a finite number."""
    return None if value is None or not math.isfinite(value) else float(value)


@dataclass(frozen=True)
class Need(Generic[Found]):
    """Something to be looked at; what is found is a `Found`."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the dataset that it takes, beside the model's own."""
        return ()


# -- how good, with its error, beside the champion -----------------------------------------------------


@dataclass(frozen=True)
class Compared:
    """A metric of candidate and champion on the same rows.

    Attributes:
        rows: Number of rows.
        value: The candidate's; ``None`` where it is undefined.
        error: Standard error of `value`; ``None`` where it is not known.
        champion: The champion's; ``None`` where there is none that answers these rows.
        difference_error: Standard error of the difference of the two, row by row on the same rows.
    """

    rows: int
    value: float | None = None
    error: float | None = None
    champion: float | None = None
    difference_error: float | None = None

    @property
    def difference(self) -> float | None:
        """`value` - `champion`, where both are numbers."""
        if finite(self.value) is None or finite(self.champion) is None:
            return None
        return cast("float", self.value) - cast("float", self.champion)


@dataclass(frozen=True)
class Comparison(Need[Mapping[str, Compared]]):
    """A metric for each value of a column (see `train.evidence.groups`), the most rows first.

    Attributes:
        metric: Name of the metric.
        by: The column; ``""`` for all rows together, under the name ``""``.
        min_rows: Groups with fewer rows are only counted.
    """

    metric: str
    by: str = ""
    min_rows: int = 1

    @property
    def columns(self) -> tuple[str, ...]:
        """See `Need.columns`."""
        return (self.by,) if self.by else ()


# -- probabilities -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bin:
    """Rows with about the same predicted probability.

    Attributes:
        rows: Number of rows.
        predicted: Mean of the probabilities.
        happened: Share of the rows in which it was so.
        variance: Sum over the rows of p (1 - p).
    """

    rows: int
    predicted: float
    happened: float
    variance: float


@dataclass(frozen=True)
class Reliability:
    """Predicted probabilities beside what happened.

    Attributes:
        rows: Number of rows.
        bins: With about as many rows each, by rising probability.
        z: Spiegelhalter's statistic; ``None`` where every probability is 0, 1/2 or 1.
        spread: Rows in twenty bins of equal width between 0 and 1.
    """

    rows: int
    bins: tuple[Bin, ...]
    z: float | None
    spread: tuple[int, ...] = ()


@dataclass(frozen=True)
class Calibration(Need[Reliability]):
    """Of the second of two classes; of more, of the class that is predicted.

    Attributes:
        bins: Largest number of bins.
    """

    bins: int = 10


@dataclass(frozen=True)
class Confusion:
    """Rows by what was predicted, and what was so."""

    tp: int
    fp: int
    fn: int
    tn: int

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.tp + self.fp + self.fn + self.tn


@dataclass(frozen=True)
class Confusions(Need[Mapping[str, Confusion]]):
    """What acting on a binary model leads to, for each value of a column.

    Attributes:
        by: The column; ``""`` for all rows together, under the name ``""``.
        threshold: Probability of the second class from which it is predicted.
    """

    by: str = ""
    threshold: float = 0.5

    @property
    def columns(self) -> tuple[str, ...]:
        """See `Need.columns`."""
        return (self.by,) if self.by else ()


# -- difficult inputs ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trial:
    """The metric after something was done to the inputs.

    Attributes:
        what: In words: ``"recent_delay missing"``.
        value: The metric; ``None`` where it is undefined, or the model does not answer.
    """

    what: str
    value: float | None


@dataclass(frozen=True)
class Strained:
    """A metric on rows made difficult.

    Attributes:
        rows: Number of rows.
        value: The metric on the rows as they are.
        trials: What was tried.
        required: Inputs that callers must send, so that they were not tried missing.
    """

    rows: int
    value: float | None
    trials: tuple[Trial, ...]
    required: tuple[str, ...] = ()


@dataclass(frozen=True)
class Strain(Need[Strained]):
    """How a metric holds when inputs are missing, moved, noisy or unseen.

    Attributes:
        metric: Name of the metric.
        missing: Whether each input is left out that may be.
        unseen: Whether each text is replaced by one that no row had.
        shift: Standard deviations by which each number is moved, up and down; 0 for none.
        noise: Standard deviations of noise that is added to all numbers at once; 0 for none.
    """

    metric: str
    missing: bool = True
    unseen: bool = True
    shift: float = 1.0
    noise: float = 0.1


# -- what it costs, how old it is, who calls it --------------------------------------------------------


@dataclass(frozen=True)
class Times:
    """Milliseconds that one row takes, in the form in which the model would be served."""

    p50: float
    p99: float
    calls: int


@dataclass(frozen=True)
class Timing(Need[Times]):
    """Answer single rows, one after the other.

    Attributes:
        calls: How many are timed.
    """

    calls: int = 300


@dataclass(frozen=True)
class Size(Need[int]):
    """Bytes of the form in which the model would be served."""


@dataclass(frozen=True)
class NewestRow(Need[datetime]):
    """The event time of the newest row that the model was made or judged with, UTC."""


@dataclass(frozen=True)
class ChampionSignature(Need[Signature | None]):
    """What the champion takes and gives; ``None`` where there is no champion."""


@dataclass(frozen=True)
class Changed:
    """How a candidate differs from the champion.

    Attributes:
        rows: Rows that both have answered.
        answers: Share of them that are put into another class; ``None`` where answers are no classes.
        difference: Mean difference of the answers: of probabilities half the sum over the classes (their total
            variation), of numbers in standard deviations of the champion's; ``None`` where the champion does not
            answer these rows.
        code: Whether the definition's code is another.
        inputs: Inputs that only one of them has.
    """

    rows: int
    answers: float | None
    difference: float | None
    code: bool
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Change(Need[Changed | None]):
    """How a candidate differs from the champion; ``None`` where there is none."""
