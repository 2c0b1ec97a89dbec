"""What the shift of a feature does to the answers, of a whole fleet at once. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from modelworks.core.measure import Doubles
from modelworks.monitor.drift.port import Counts, Floats

_SURE = 2.0
"""Standard errors within which an effect may be none."""


def attributed(
    reference: Counts, live: Counts, main_effects: Doubles, dispersion: Floats
) -> tuple[Floats, Floats]:
    """By how much the mean output is higher because a feature's rows lie in other bins, and the standard error.

    With shares ``p`` of the reference and ``q`` of now it is ``sum_b (q_b - p_b) effect_b``: the effects of features
    add up to what the additive model of `core.main_effects` expects of the mean output. Shifts beyond the outer bins
    count like one into them. The error takes shares to vary as multinomial ones do whose days differ, by the delta
    method, and the effects of the bins to be independent.

    Source: the composition part of a decomposition of two means by groups (Kitagawa, Journal of the American
    Statistical Association 50 (1955)), the groups being the bins.

    Args:
        reference: Rows, shape (..., bins).
        live: The same shape.
        main_effects: Effects and their variances, shape (2, ..., bins); NaN where they are not known.
        dispersion: How many times more days differ than if their rows were independent; shape (...).

    Returns:
        Both of shape (...), in the unit of the output; NaN where nothing is known.
    """
    effect, variance = main_effects
    n, m = reference.sum(axis=-1), live.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        p, q = reference / n[..., None], live / m[..., None]
        moved = ((q - p) * effect).sum(axis=-1)
        before, now = (
            np.maximum((share * np.square(effect)).sum(-1) - np.square((share * effect).sum(-1)), 0.0)
            for share in (p, q)
        )
        by_rows = dispersion * (before / n + now / m)
        error = np.sqrt(by_rows + (np.square(q - p) * variance).sum(axis=-1))
    return np.asarray(moved, dtype=np.float64), np.asarray(error, dtype=np.float64)


def sure(effects: Floats, errors: Floats) -> Floats:
    """The same effects, 0 where they may be chance."""
    return np.asarray(np.where(np.abs(effects) <= _SURE * errors, 0.0, effects), dtype=np.float64)


def by_effect(drift: Mapping[str, float], effects: Mapping[str, float]) -> list[str]:
    """The names of `drift`, those first that move the answers most; then by how far they have shifted."""
    return sorted(drift, key=lambda name: (-abs(effects.get(name, 0.0)), -drift[name], name))
