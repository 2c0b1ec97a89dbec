"""Judging a whole fleet at once: what has shifted or decayed beyond chance. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import chdtrc, fdtrc, ndtr

from modelworks.monitor.drift import DRIFT_TESTS
from modelworks.monitor.drift.chi2 import statistic
from modelworks.monitor.drift.port import Counts, Floats, benjamini_hochberg, pooled
from modelworks.monitor.drift.rule import Drift

Flags = npt.NDArray[np.bool_]

MIN_ROWS = 50
"""Live rows below which nothing is judged."""
MIN_REFERENCE = 30
"""Rows of a reference below which it says too little."""
FALSE_ALARMS = 0.01
"""Expected share of false ones among all alarms."""
_LEAST_BIN = 2.0
"""Rows that a bin must be expected to hold to be tested on its own."""
_MENTIONED_CHANCE = 5.0
"""How many times the chance of an alarm a slight shift may have: it calls nobody."""
_STAYING = 0.5
"""Share of the smallest shift that matters above which an open alert stays open, so that it does not come and go."""
_STAYING_CHANCE = 5.0
"""How many times the chance of an alarm an open alert may have by chance alone."""


@dataclass(frozen=True, eq=False)
class Shift:
    """How far columns have shifted.

    Attributes:
        effect: By the rule's test, less its mean without any shift; NaN where there are no rows.
        alarm: Where it is large, on enough rows, and not by chance.
        lasting: The same by easier limits.
        slight: Where it is beyond chance, large or not.
        slight_lasting: The same by easier limits.
        dispersion: How many times more days differ than if their rows were independent; see `dispersion`.
    """

    effect: Floats
    alarm: Flags
    lasting: Flags
    slight: Flags
    slight_lasting: Flags
    dispersion: Floats


@dataclass(frozen=True, eq=False)
class Between:
    """How much days differ, of columns that are compared.

    Attributes:
        days: Number of days, shape broadcastable to (...).
        squares: Sum over the days of ``count^2 / rows``, shape (..., bins).
    """

    days: Counts
    squares: Floats


def share(champions: int, everywhere: int) -> float:
    """What a model may have of the false alarms: the champions of all models of a project are one family of tests."""
    return FALSE_ALARMS * champions / max(everywhere, champions, 1)


def shift(
    reference: Counts,
    live: Counts,
    between: Between | None = None,
    *,
    whole: Counts | None = None,
    moved: Floats | None = None,
    rule: Drift | None = None,
    level: float = FALSE_ALARMS,
) -> Shift:
    """Compare any number of columns of any number of models, judged as one family of tests.

    An alarm takes both an effect and evidence: with many rows a difference that nobody needs to know of is
    significant, with few rows a large one may be nothing.

    The rows of one day are not independent: flights share their weather, three days have three weekdays. So the
    evidence is measured against how much days differ among themselves, and is only as strong as there are days.

    Args:
        reference: Shape (..., bins).
        live: The same shape, or one that broadcasts with it.
        between: How much the days of `live` differ; without it rows are taken to be independent.
        whole: The rows that `between` is of, where `live` are only the newest of them.
        moved: What `moves` says of the same columns; the surer of the two counts, at twice its chance.
        rule: How large a shift must be.
        level: Expected share of false ones among all alarms.
    """
    rule = rule or Drift()
    reference, live = np.broadcast_arrays(reference, live)
    whole = live if whole is None else whole
    n, m = reference.sum(axis=-1), live.sum(axis=-1)
    effect = effects(rule.test, reference, live)
    value, freedom = statistic(*pooled(reference, live, _LEAST_BIN))
    if between is None:
        times = np.ones(m.shape)
        chance = chdtrc(np.maximum(freedom, 1), value)
    else:
        days = np.broadcast_to(between.days, m.shape)
        kinds = ((reference + whole) > 0).sum(axis=-1)
        times = np.broadcast_to(dispersion(whole, between), m.shape)
        chance = _beyond_days(value, freedom, times, (days - 1) * np.maximum(kinds - 1, 1))
    chance = np.where(freedom > 0, chance, 1.0)
    if moved is not None:
        chance = np.where(np.isnan(moved), chance, np.minimum(2 * np.fmin(chance, moved), 1.0))
    enough = (n >= MIN_REFERENCE) & (m >= MIN_ROWS)
    chance = benjamini_hochberg(np.where(enough, chance, np.nan))
    with np.errstate(invalid="ignore"):
        sure, likely = chance <= level, chance <= level * _STAYING_CHANCE
        return Shift(
            effect,
            alarm=(effect >= rule.limit) & sure,
            lasting=(effect >= rule.limit * _STAYING) & likely,
            slight=(effect >= rule.slight) & (chance <= level * _MENTIONED_CHANCE),
            slight_lasting=(effect >= rule.slight * _STAYING)
            & (chance <= level * _MENTIONED_CHANCE * _STAYING_CHANCE),
            dispersion=times,
        )


def effects(test: str, reference: Counts, live: Counts) -> Floats:
    """How far columns have shifted by a test of the catalog, less its mean without any shift; shape (...).

    Args:
        test: Its name.
        reference: Shape (..., bins).
        live: The same shape.
    """
    used = ((reference + live) > 0).sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        by_few_rows = (used - 1) * (1 / reference.sum(axis=-1) + 1 / live.sum(axis=-1))
        found = DRIFT_TESTS[test].compute(reference, live) - DRIFT_TESTS[test].noise * by_few_rows
    return np.asarray(np.maximum(found, 0.0), dtype=np.float64)


def dispersion(live: Counts, between: Between) -> Floats:
    """How many times more days differ than if their rows were independent; at least 1; shape (...).

    Pearson's statistic of the days' counts against their sum, over its degrees of freedom. Source: McCullagh
    and Nelder, Generalized Linear Models, 1989, sections 4.5 and 5.5.
    """
    rows = live.sum(axis=-1)
    used = (live > 0).sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = np.where(live > 0, between.squares * (rows[..., None] / live), 0.0)
        found = (parts.sum(axis=-1) - rows) / ((between.days - 1) * (used - 1))
    return np.where(np.isfinite(found), np.maximum(found, 1.0), 1.0)


def _beyond_days(value: Floats, freedom: Counts, by: Floats, freedom_by: Counts) -> Floats:
    """The chance of a statistic whose scale was itself estimated, from days: the F test; NaN with one day."""
    with np.errstate(invalid="ignore", divide="ignore"):
        chance = fdtrc(np.maximum(freedom, 1), np.maximum(freedom_by, 1), value / np.maximum(freedom, 1) / by)
    return np.asarray(np.where(freedom_by > 0, chance, np.nan), dtype=np.float64)


def decay(
    live: Floats,
    live_error: Floats,
    rows: Floats,
    promised: Floats,
    promised_error: Floats,
    level: float = FALSE_ALARMS,
) -> tuple[Flags, Flags]:
    """Where the live loss is above the one at validation, and not by chance.

    A one-sided z test of two means with Welch's standard error, adjusted over all models.

    Args:
        live: Mean loss of each model, shape (models,).
        live_error: Its standard error.
        rows: Labelled rows.
        promised: Mean loss at validation; NaN where it is not known.
        promised_error: Its standard error.
        level: Expected share of false ones among all alarms.

    Returns:
        Where there is an alarm, and where there is one by easier limits; both of shape (models,).
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        z = (live - promised) / np.hypot(live_error, promised_error)
    chance = benjamini_hochberg(np.where((rows >= MIN_ROWS) & np.isfinite(z), ndtr(-z), np.nan))
    with np.errstate(invalid="ignore"):
        return chance <= level, chance <= level * _STAYING_CHANCE
