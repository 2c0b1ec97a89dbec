"""LightGBM: parameters, every metric of every evaluation set at every iteration, the model as text."""

from __future__ import annotations

import functools
import inspect
from typing import Any

from modelworks.track.autolog.port import Autolog, Recorder, Undo, calmly, keep, put_in_place, settings
from modelworks.track.run import Run


class _LightGBM:
    """``lightgbm.train``, and through it ``LGBMClassifier`` and the like."""

    def hook(self, recorder: Recorder) -> Undo:
        """See `Autolog.hook`."""
        import lightgbm
        import lightgbm.engine
        import lightgbm.sklearn

        original = lightgbm.engine.train
        signature = inspect.signature(original)

        @functools.wraps(original)
        def train(*args: Any, **kw: Any) -> Any:
            given = signature.bind(*args, **kw)
            with recorder.training("lightgbm") as (run, outermost):
                given.arguments["callbacks"] = [*(given.arguments.get("callbacks") or []), _each(run)]
                if outermost:
                    rounds = given.arguments.get("num_boost_round", 100)
                    told = {"num_boost_round": rounds, **given.arguments["params"]}
                    calmly(lambda: run.log_params(settings(told)))
                booster = original(*given.args, **given.kwargs)
                calmly(lambda: _after(run, booster))
                if recorder.models and outermost:
                    calmly(lambda: keep(run, "model.txt", booster.model_to_string().encode()))
                return booster

        return put_in_place([lightgbm.engine, lightgbm, lightgbm.sklearn], "train", train)


def _each(run: Run) -> Any:
    """A callback of LightGBM: ``(data set, metric, value, ...)`` of an iteration."""

    def log(env: Any) -> None:
        results = {f"{item[0]}.{item[1]}": item[2] for item in env.evaluation_result_list or ()}
        if results:
            calmly(lambda: run.log_metrics(results, step=env.iteration))

    log.order = 25  # type: ignore[attr-defined]  # before early stopping, which ends an iteration by raising
    return log


def _after(run: Run, booster: Any) -> None:
    if booster.best_iteration > 0:
        run.log_metrics(best_iteration=booster.best_iteration)


LIGHTGBM: Autolog = _LightGBM()
"""LightGBM."""
