"""XGBoost: parameters, every metric of every evaluation set at every iteration, the model as JSON."""

from __future__ import annotations

import functools
import inspect
from typing import Any

from modelworks.track.autolog.port import Autolog, Recorder, Undo, calmly, keep, put_in_place, settings
from modelworks.track.run import Run


class _XGBoost:
    """``xgboost.train``, and through it ``XGBClassifier`` and the like."""

    def hook(self, recorder: Recorder) -> Undo:
        """See `Autolog.hook`."""
        import xgboost
        import xgboost.sklearn
        import xgboost.training

        original = xgboost.training.train
        signature = inspect.signature(original)

        class Each(xgboost.callback.TrainingCallback):
            """Logs the newest value of each metric."""

            def __init__(self, run: Run) -> None:
                self._run = run

            def after_iteration(self, _model: Any, epoch: int, evals_log: dict[str, dict[str, Any]]) -> bool:
                results = {
                    f"{data}.{metric}": values[-1][0] if isinstance(values[-1], tuple) else values[-1]
                    for data, metrics in evals_log.items()
                    for metric, values in metrics.items()
                }
                if results:
                    calmly(lambda: self._run.log_metrics(results, step=epoch))
                return False

        @functools.wraps(original)
        def train(*args: Any, **kw: Any) -> Any:
            given = signature.bind(*args, **kw)
            with recorder.training("xgboost") as (run, outermost):
                given.arguments["callbacks"] = [*(given.arguments.get("callbacks") or []), Each(run)]
                if outermost:
                    rounds = given.arguments.get("num_boost_round", 10)
                    told = {"num_boost_round": rounds, **given.arguments["params"]}
                    calmly(lambda: run.log_params(settings(told)))
                booster = original(*given.args, **given.kwargs)
                calmly(lambda: _after(run, booster))
                if recorder.models and outermost:
                    calmly(lambda: keep(run, "model.json", bytes(booster.save_raw("json"))))
                return booster

        return put_in_place([xgboost.training, xgboost, xgboost.sklearn], "train", train)


def _after(run: Run, booster: Any) -> None:
    if booster.attr("best_iteration") is not None:
        run.log_metrics(best_iteration=booster.best_iteration)


XGBOOST: Autolog = _XGBoost()
"""XGBoost."""
