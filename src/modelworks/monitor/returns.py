"""Whether a model pays: what its rows earned beside those of its holdout, with an interval that always holds. Pure.

Who is held out is drawn by chance, so the difference of the two means is what the model brings: shown, not assumed.
The interval may be looked at every day, and the first time that it says something one may believe it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from modelworks.deploy.strategies.seen import Sums
from modelworks.deploy.strategies.sequential import ENOUGH, above, interval
from modelworks.monitor.earnings import GROUPS, Earned

ALPHA = 0.05
"""How often an interval may ever be wrong; and the share of the segments named that may be named by mistake."""
_FEWEST_DAYS = 7
"""Days from which it is known how much luck the rows of a day share."""
_SIZE = 0.25
"""Effects that are looked for, in standard deviations of what a row is worth."""


@dataclass(frozen=True)
class Effect:
    """What a model brings.

    Attributes:
        rows: Rows with a truth that it answered.
        held: Those of its holdout.
        mean: What one of the former is worth.
        held_mean: The same of the latter; ``None`` without any.
        each: How much more, by row; ``None`` while that cannot be said.
        low: Least that it is, with `ALPHA`.
        high: Most.
        luck: How many times more the difference varies than if all rows were independent.
    """

    rows: int
    held: int
    mean: float
    held_mean: float | None
    each: float | None = None
    low: float | None = None
    high: float | None = None
    luck: float = 1.0

    @property
    def total(self) -> float | None:
        """Of all rows that it answered."""
        return None if self.each is None else self.each * self.rows


def effect(days: Sequence[Earned]) -> Effect:
    """What a model brings beside its holdout."""
    served = sum((one.served for one in days), Sums())
    control = sum((one.control for one in days), Sums())
    plain = Effect(served.n, control.n, served.mean, control.mean if control.n else None)
    if min(served.n, control.n) < ENOUGH:
        return plain
    alone = _variance(served, control)
    luck = max(1.0, *(one / alone for one in _shared(days, served, control))) if alone else 1.0
    each = served.mean - control.mean
    far = interval(alone * luck, _scale(served, control), ALPHA)
    return Effect(served.n, control.n, served.mean, control.mean, each, each - far, each + far, luck)


def counted(days: Sequence[Earned]) -> Effect:
    """What a model would bring if answers changed nothing but who acts: beside the same rows, had nobody acted.

    It needs no holdout, and is as true as that assumption.
    """
    gain = sum((one.gain for one in days), Sums())
    served = sum((one.served for one in days), Sums())
    plain = Effect(served.n, 0, served.mean, None, gain.mean if gain.n else None)
    if gain.n < ENOUGH:
        return plain
    alone = gain.variance / gain.n
    luck = 1.0
    if alone and len(days) >= _FEWEST_DAYS:
        residuals = np.array([one.gain.total - one.gain.n * gain.mean for one in days]) / gain.n
        luck = max(1.0, _clustered(residuals) / alone)
    far = interval(alone * luck, _SIZE * math.sqrt(gain.variance), ALPHA)
    return Effect(
        served.n, 0, served.mean, served.mean - gain.mean, gain.mean, gain.mean - far, gain.mean + far, luck
    )


def _shared(days: Sequence[Earned], served: Sums, control: Sums) -> list[float]:
    """The variance of the difference where the rows of one group of keys, or of one day, share their luck.

    Source: the cluster-robust variance of a difference of means, Liang and Zeger, Biometrika 73 (1986): residuals of
    both sides summed within a cluster; keys in random groups as in Wolter, Introduction to Variance Estimation, 2007,
    chapter 2.
    """
    found = []
    grouped = [one.groups for one in days if one.groups is not None]
    if len(grouped) == sum(1 for one in days if one.control.n):
        # Days without a row of the holdout have no groups: they add to the mean alone.
        totals = np.sum(grouped, axis=0)
        found.append(_clustered(_residuals(totals, served, control)) * GROUPS / (GROUPS - 1))
    if len(days) >= _FEWEST_DAYS:
        sums = np.array([(one.served.n, one.served.total, one.control.n, one.control.total) for one in days])
        found.append(_clustered(_residuals(sums, served, control)))
    return found or [0.0]


def _residuals(sums: npt.NDArray[np.float64], served: Sums, control: Sums) -> npt.NDArray[np.float64]:
    """Of clusters, shape (clusters,); see `monitor.earnings.Groups` for `sums`."""
    one = (sums[:, 1] - sums[:, 0] * served.mean) / served.n
    other = (sums[:, 3] - sums[:, 2] * control.mean) / control.n
    residuals: npt.NDArray[np.float64] = one - other
    return residuals


def _clustered(residuals: npt.NDArray[np.float64]) -> float:
    clusters = len(residuals)
    return float(np.square(residuals).sum() * clusters / (clusters - 1))


def _variance(served: Sums, control: Sums) -> float:
    return served.variance / served.n + control.variance / control.n


def _scale(served: Sums, control: Sums) -> float:
    return _SIZE * math.sqrt((served.variance + control.variance) / 2)


def by_segment(segments: pl.DataFrame, luck: float) -> pl.DataFrame:
    """What each segment brings, and which of them surely bring something, or surely cost.

    Args:
        segments: From `monitor.earnings.read_segments`.
        luck: Of the whole model: single segments are too small to see it.

    Returns:
        Besides, by row: ``mean``, ``held_mean``, ``each``, ``low``, ``high``, null where that cannot be said; and
        ``surely``: ``"pays"``, ``"costs"`` or ``""``. Of those that are named at most `ALPHA` are by mistake,
        whenever one looks.

    Source: the e-Benjamini-Hochberg procedure, Wang and Ramdas, Journal of the Royal Statistical Society B 84 (2022):
    the k largest e-values of m are taken with the largest k so that the least of them is at least ``m / (alpha k)``.
    """
    rows = []
    for one in segments.iter_rows(named=True):
        served = Sums(one["rows"], one["total"], one["squares"])
        control = Sums(one["held"], one["held_total"], one["held_squares"])
        row = {
            "mean": served.mean if served.n else None,
            "held_mean": control.mean if control.n else None,
            "each": None, "low": None, "high": None, "pays": 0.0, "costs": 0.0,
        }  # fmt: skip
        if min(served.n, control.n) >= ENOUGH:
            each, scale = served.mean - control.mean, _scale(served, control)
            variance = _variance(served, control) * luck
            far = interval(variance, scale, ALPHA)
            row |= {"each": each, "low": each - far, "high": each + far}
            row |= {"pays": above(each, variance, scale), "costs": above(-each, variance, scale)}
        rows.append(row)
    kinds = dict.fromkeys(("mean", "held_mean", "each", "low", "high", "pays", "costs"), pl.Float64)
    found = pl.concat([segments, pl.DataFrame(rows, kinds)], how="horizontal")
    told = {name: _surely(found[name].to_numpy()) for name in ("pays", "costs")}
    surely = np.select([told["costs"], told["pays"]], ["costs", "pays"], "")
    return found.drop("pays", "costs").with_columns(surely=pl.Series(surely, dtype=pl.String))


def _surely(logs: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    if not len(logs):
        return np.zeros(0, bool)
    order = np.argsort(-logs)
    enough = np.log(len(logs) / (ALPHA * np.arange(1, len(logs) + 1)))
    passed = np.flatnonzero(logs[order] >= enough)
    taken = np.zeros(len(logs), bool)
    if len(passed):
        taken[order[: passed[-1] + 1]] = True
    return taken
