"""The modelling part of a definition: what to fit on what, for which segments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Fit = Callable[..., Any]
"""``fit(X, y, params)``: a pandas frame of features, a NumPy array of targets, a dict; returns a fitted model.

Where a model learns "warm" or "incremental", ``fit(X, y, params, previous)``: the fitted model that it goes on from,
``None`` where there is none.
"""
Learn = Literal["scratch", "warm", "incremental", "online"]
"""From all rows anew; from all rows, beginning where the champion stands; from the rows that the champion has not
seen, going on from it; from all rows once, and then from each outcome as it comes."""


@dataclass(frozen=True)
class Definition:
    """How a model, or one model a segment, is made.

    Attributes:
        name: Name of the model.
        dataset: Name of the dataset it learns from.
        target: Column to be predicted.
        features: Columns it may see, in order.
        fit: See `Fit`.
        per: Columns whose values make the segments, outermost first; ``()`` for a single model.
        min_rows: Rows a segment needs for a model of its own; with fewer, its parent answers.
        metrics: Names in the catalog of metrics, the first being the main one.
        holdout: Share of the rows, the newest, kept from `fit` and used to judge.
        window: How far back training looks, for instance ``"120d"``; ``None`` for everything.
        params: Passed to `fit`.
        computed: How those of the features are computed that are no columns, by name.
        retries: How often a segment is begun again that failed for a passing reason; ``None`` as the settings say.
        limit: How long a segment may take, for instance ``"10m"``; ``None`` as the settings say.
        learn: See `Learn`.
        checkpoint: Of a model that learns "online": outcomes, or the time (``"6h"``), after which it makes a version.
        code: Digest of the source of `fit` and of what shapes its result.
    """

    name: str
    dataset: str
    target: str
    features: tuple[str, ...]
    fit: Fit
    per: tuple[str, ...] = ()
    min_rows: int = 100
    metrics: tuple[str, ...] = ()
    holdout: float = 0.2
    window: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    computed: Mapping[str, Any] = field(default_factory=dict)
    retries: int | None = None
    limit: str | None = None
    learn: Learn = "scratch"
    checkpoint: int | str = 500
    code: str = ""
