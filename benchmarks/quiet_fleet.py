"""A fleet of models whose world stands still, except where it is told to move: what monitoring sees of it, by day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy import stats

from modelworks.core.measure import FEATURE_BINS, LABELS, OUTPUT_BINS, Counts, Reference
from modelworks.core.schema import Field, Kind
from modelworks.models.signature import Signature
from modelworks.monitor.drift.rule import Drift
from modelworks.monitor.judge import judge
from modelworks.monitor.sketch import Sketches
from modelworks.monitor.watch import Watch
from modelworks.monitor.window import Key, Known

TRAILING = 28
"""Days that are looked at."""
_BINS = FEATURE_BINS - 1
_EVEN = np.full(_BINS, 1 / _BINS)
_CUTS = stats.norm.ppf(np.arange(_BINS + 1) / _BINS)
_LOSS, _SCATTER = 0.5, 0.6
"""Mean and standard deviation of a row's loss."""


@dataclass
class Fleet:
    """Models of normal features that are known by their deciles. All rows are independent.

    Attributes:
        models: How many.
        features: Of each.
        rows: Predictions of each a day, all with an outcome.
        reference: Rows that each was trained on.
        moved: By how many standard deviations the first feature of the first `movers` models moves.
        movers: See above.
        since: The first day of the move.
        seed: Of all chance.
    """

    models: int = 1_000
    features: int = 20
    rows: int = 60
    reference: int = 1_000
    moved: float = 0.0
    movers: int = 1
    since: int = 0
    seed: int = 0
    known: dict[Key, Known] = field(init=False, default_factory=dict)
    days: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        """Train them."""
        self.rng = np.random.default_rng(self.seed)
        signature = Signature(
            tuple(Field(f"n{n}", Kind.NUMBER, True) for n in range(self.features)), "binary", (0, 1)
        )
        none = np.zeros((self.features, _BINS - 1), np.float32)
        for model in range(self.models):
            features = np.zeros((self.features, FEATURE_BINS), np.int64)
            features[:, :_BINS] = self.rng.multinomial(self.reference, _EVEN, self.features)
            outputs = self.rng.multinomial(self.reference, np.full(OUTPUT_BINS, 1 / OUTPUT_BINS))
            made = Reference(none, (), np.zeros(OUTPUT_BINS - 1), features, outputs)
            promised = self.rng.normal(_LOSS, _SCATTER / np.sqrt(self.reference))
            self.known[f"m{model}", 1] = Known(signature, made, promised)
        self._kept: list[Sketches] = []

    def day(self, seen: npt.NDArray[np.float64] | None = None) -> None:
        """Another day passes; `seen` are sums, see `Sketches.sums`, of the first models, for what chance would give."""
        features = np.zeros((self.models, self.features, FEATURE_BINS), np.uint16)
        features[..., :_BINS] = self.rng.multinomial(self.rows, _EVEN, (self.models, self.features))
        if self.moved and self.days >= self.since:
            after = np.diff(stats.norm.cdf(_CUTS - self.moved))
            features[: self.movers, 0, :_BINS] = self.rng.multinomial(self.rows, after, self.movers)
        outputs = np.zeros((self.models, LABELS, OUTPUT_BINS), np.uint16)
        outputs[:, 0] = self.rng.multinomial(self.rows, np.full(OUTPUT_BINS, 1 / OUTPUT_BINS), self.models)
        sums = sums_of(self.rng.normal(_LOSS, _SCATTER, (self.models, self.rows)))
        if seen is not None:
            sums[: len(seen)] = seen
        self._kept = [*self._kept[1 - TRAILING :], Sketches(sums, Counts(features, outputs))]
        self.days += 1

    def seen(self, last: int = TRAILING) -> tuple[Sketches, npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """The windows of `last` days at the end of the last one: whose they are, and how long ago they began."""
        kept: Sequence[Sketches] = self._kept[-last:]
        age = np.repeat(np.arange(len(kept), 0, -1.0), self.models)
        return Sketches.joined(kept), np.tile(np.arange(self.models), len(kept)), age

    def judged(self, rule: Drift | None = None, last: int = TRAILING) -> list[Watch]:
        """As it looks at the end of the last day, from `last` days."""
        return judge(self.known, *self.seen(last), rule)


def sums_of(losses: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Sums over the rows of a day, as `Sketches.sums`, from the losses of rows; shape (models, rows)."""
    rows = np.full(len(losses), float(losses.shape[1]))
    return np.column_stack([rows, rows, rows / 2, losses.sum(axis=1), np.square(losses).sum(axis=1)])
