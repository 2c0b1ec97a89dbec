"""What chance alone could do: the few statistics that gates share."""

from __future__ import annotations

import math

from scipy.special import chdtrc, ndtr, ndtri, stdtr, stdtrit

from modelworks.registry.gates.evidence import Bin

SURE = 0.95
"""Confidence of the intervals in the sentences of gates."""


def interval(value: float, error: float, rows: int, confidence: float = SURE) -> tuple[float, float]:
    """Two-sided interval of a mean with its standard error, by Student's t.

    Source: Student, "The probable error of a mean", Biometrika 6 (1908).
    """
    reach = reach_of(error, rows, (1 + confidence) / 2)
    return value - reach, value + reach


def reach_of(error: float, rows: int, confidence: float) -> float:
    """How far a one-sided bound lies from a mean with this standard error."""
    return float(stdtrit(max(rows - 1, 1), confidence)) * error


def by_chance(excess: float, error: float, rows: int) -> float:
    """The chance of a mean this far above where it truly is; one-sided, by Student's t."""
    if error <= 0:
        return 0.0 if excess > 0 else 1.0
    return float(1 - stdtr(max(rows - 1, 1), excess / error))


def holm(values: list[float]) -> list[float]:
    """Adjusted p-values: what is below a level keeps the chance of even one false alarm below it.

    Source: Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scand. J. Statist. 6 (1979).
    """
    adjusted, most = [1.0] * len(values), 0.0
    for place, which in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        most = max(most, min(1.0, values[which] * (len(values) - place)))
        adjusted[which] = most
    return adjusted


def miscalibrated(bins: tuple[Bin, ...]) -> tuple[float, float]:
    """Hosmer and Lemeshow's statistic, and the chance of one as large from a calibrated model.

    With as many degrees of freedom as there are bins, for the rows were not learned from.
    Source: Hosmer, Lemeshow and Sturdivant, Applied Logistic Regression (3rd ed., 2013), 5.2.2.
    """
    statistic = 0.0
    for one in bins:
        apart = one.rows * (one.happened - one.predicted)
        if one.variance > 0:
            statistic += apart**2 / one.variance
        elif abs(apart) > 1e-9:
            return math.inf, 0.0
    return statistic, float(chdtrc(max(len(bins), 1), statistic))


def two_sided(z: float) -> float:
    """The chance of a standard normal this far from 0."""
    return float(2 * ndtr(-abs(z)))


def shares_apart(
    one: tuple[int, int], other: tuple[int, int], confidence: float = SURE
) -> tuple[float, float]:
    """Interval of the difference of two shares, each given as hits and rows.

    Source: Newcombe, "Interval Estimation for the Difference Between Independent Proportions", Statistics in
    Medicine 17 (1998), method 10: of Wilson's intervals of each.
    """
    (p, low_p, high_p), (q, low_q, high_q) = _wilson(*one, confidence), _wilson(*other, confidence)
    apart = p - q
    return (
        apart - math.hypot(p - low_p, high_q - q),
        apart + math.hypot(high_p - p, q - low_q),
    )


def _wilson(hits: int, rows: int, confidence: float) -> tuple[float, float, float]:
    share, z = hits / rows, float(ndtri((1 + confidence) / 2))
    middle = (share + z**2 / (2 * rows)) / (1 + z**2 / rows)
    reach = z / (1 + z**2 / rows) * math.sqrt(share * (1 - share) / rows + z**2 / (4 * rows**2))
    return share, middle - reach, middle + reach
