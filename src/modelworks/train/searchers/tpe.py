"""Optuna's tree-structured Parzen estimator: it tries more of what was good, and less of what was not.

Source: Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NeurIPS 24 (2011).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from modelworks.core.errors import NotReady
from modelworks.train.searchers.port import Choice, Params, Space, Span, Trial


def suggest(space: Space, past: Sequence[Trial], numbers: Sequence[int], seed: int) -> Sequence[Params]:
    """See `Searcher`.

    The study is made anew from what was tried: nothing but the ledger has to survive a kill.

    Raises:
        NotReady: Optuna is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise NotReady(
            "the searcher 'tpe' needs Optuna", str(error),
            "pip install 'modelworks[tune]', or use searcher=\"random\"",
        ) from error  # fmt: skip
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    state = optuna.trial.TrialState
    among = {name: _distribution(optuna, domain) for name, domain in space.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that constant_liar may change
        # Those that run side by side count as bad ones, so that they differ.
        sampler = optuna.samplers.TPESampler(seed=_mixed(seed, numbers[0]), constant_liar=True)
        study = optuna.create_study(sampler=sampler)
        for trial in past:
            with suppress(ValueError, KeyError):  # what stood before may lie outside of what is searched
                study.add_trial(
                    optuna.trial.create_trial(
                        state=state.FAIL if trial.loss is None else state.COMPLETE,
                        value=trial.loss,
                        params={name: trial.params[name] for name in space},
                        distributions=among,
                    )
                )
        return [dict(study.ask(among).params) for _ in numbers]


def _distribution(optuna: Any, domain: Choice | Span) -> Any:
    if isinstance(domain, Choice):
        return optuna.distributions.CategoricalDistribution(domain.values)
    if domain.whole:
        return optuna.distributions.IntDistribution(int(domain.low), int(domain.high), log=domain.log)
    return optuna.distributions.FloatDistribution(domain.low, domain.high, log=domain.log)


def _mixed(seed: int, number: int) -> int:
    """A seed of its own for each round."""
    return (seed * 1_000_003 + number) % (2**32)
