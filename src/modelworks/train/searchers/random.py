"""Random search. Source: Bergstra and Bengio, "Random Search for Hyper-Parameter Optimization", JMLR 13 (2012)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from modelworks.train.searchers.port import Choice, Params, Space, Trial


def suggest(space: Space, past: Sequence[Trial], numbers: Sequence[int], seed: int) -> Sequence[Params]:
    """See `Searcher`."""
    return [_one(space, np.random.default_rng([seed, number])) for number in numbers]


def _one(space: Space, random: np.random.Generator) -> Params:
    return {
        name: domain.values[random.integers(len(domain.values))]
        if isinstance(domain, Choice)
        else domain.at(float(random.random()))
        for name, domain in space.items()
    }
