"""How the parameters of a model are searched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from modelworks.core.errors import Invalid
from modelworks.models.metrics import METRICS
from modelworks.train.searchers.port import Space, read_space

Scope = Literal["model", "segment", "prior"]


@dataclass(frozen=True)
class Tune:
    """Search for the best parameters of a model: ``tune=mw.Tune({"C": (0.01, 100, "log"), "depth": (2, 10)})``.

    `modelworks tune` searches; later trainings use what it found. A trial is judged on the newest of the rows that
    are learned from, never on those that are held out to judge the model.

    Attributes:
        space: Name of a parameter to a list of values, ``(low, high)``, or ``(low, high, "log")``; two whole
            numbers make it whole.
        searcher: Name in the catalog of searchers: ``"tpe"`` (Optuna), ``"random"``, ``"grid"``.
        trials: Trials of a search, at most.
        minutes: Minutes of a search, at most.
        scope: ``"prior"``: a search for each segment, which begins with its parent's best parameters;
            ``"segment"``: one for each, from nothing; ``"model"``: one for all.
        folds: Parts of the rows, the newest, each of which judges what was learned from those before it.
        prune: Whether a trial is given up that is worse so far than half of those before it.
        metric: What to improve; the model's main metric by default.
        seed: All chance comes from it.

    Raises:
        Invalid: a value that cannot be.
    """

    space: Mapping[str, Any]
    searcher: str = "tpe"
    trials: int = 30
    minutes: float | None = None
    scope: Scope = "prior"
    folds: int = 3
    prune: bool = True
    metric: str | None = None
    seed: int = 0
    domains: Space = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "domains", read_space(self.space))
        if self.trials < 1 or self.folds < 1 or (self.minutes is not None and self.minutes <= 0):
            raise Invalid(
                "a search has no budget", f"trials={self.trials}, folds={self.folds}, minutes={self.minutes}",
                "give numbers above 0",
            )  # fmt: skip
        if self.scope not in ("model", "segment", "prior"):
            raise Invalid(f"there is no scope {self.scope!r}", "", 'use "prior", "segment" or "model"')
        if self.metric is not None:
            METRICS[self.metric]
