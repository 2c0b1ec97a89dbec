"""scikit-learn: every outermost ``fit``: parameters, the score on the rows it learned from, the model."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

from modelworks.track.autolog.port import Autolog, Recorder, Undo, calmly, keep, settings
from modelworks.track.run import Run

_SCORED = 10_000
"""Rows, the first ones, on which the score of a fitted model is taken at most."""
_MARK = "_modelworks_fit"


class _Sklearn:
    """Estimators of scikit-learn, and of others that are made like them."""

    def hook(self, recorder: Recorder) -> Undo:
        """See `Autolog.hook`. Wraps ``fit`` of every class of estimators, also of those defined later."""
        from sklearn.base import BaseEstimator

        root: Any = BaseEstimator
        for one in _classes(root):
            _wrap(one, recorder)
        before = root.__dict__.get("__init_subclass__")

        def init_subclass(cls: Any, /, **kw: Any) -> None:
            super(root, cls).__init_subclass__(**kw)
            _wrap(cls, recorder)

        root.__init_subclass__ = classmethod(init_subclass)

        def undo() -> None:
            if before is None:
                del root.__init_subclass__
            else:
                root.__init_subclass__ = before
            for one in _classes(root):
                if _MARK in getattr(one.__dict__.get("fit"), "__dict__", {}):
                    one.fit = one.__dict__["fit"].__wrapped__

        return undo


def _classes(of: Any) -> Iterator[Any]:
    for one in of.__subclasses__():
        yield one
        yield from _classes(one)


def _wrap(cls: Any, recorder: Recorder) -> None:
    """Put a recording ``fit`` around the one that a class has of its own."""
    own = cls.__dict__.get("fit")
    if not callable(own) or _MARK in getattr(own, "__dict__", {}):
        return
    original: Callable[..., Any] = own

    @functools.wraps(original)
    def fit(self: Any, *args: Any, **kw: Any) -> Any:
        with recorder.training(type(self).__name__) as (run, outermost):
            if not outermost:
                return original(self, *args, **kw)
            calmly(lambda: _before(run, self))
            fitted = original(self, *args, **kw)
            calmly(lambda: _after(run, self, args, kw))
            if recorder.models:
                calmly(lambda: _keep(run, self))
            return fitted

    setattr(fit, _MARK, True)
    cls.fit = fit


def _before(run: Run, estimator: Any) -> None:
    run.log_params(settings(estimator.get_params(deep=True)))
    run.log_tags(estimator=f"{type(estimator).__module__.split('.')[0]}.{type(estimator).__name__}")


def _after(run: Run, estimator: Any, args: tuple[Any, ...], kw: dict[str, Any]) -> None:
    if hasattr(estimator, "best_params_"):
        run.log_params({f"best.{name}": value for name, value in settings(estimator.best_params_).items()})
        run.log_metrics(best_score=estimator.best_score_)
    x = args[0] if args else kw.get("X")
    y = args[1] if len(args) > 1 else kw.get("y")
    if x is not None and y is not None and hasattr(estimator, "score") and hasattr(estimator, "predict"):
        run.log_metrics(training_score=estimator.score(x[:_SCORED], y[:_SCORED]))


def _keep(run: Run, estimator: Any) -> None:
    import cloudpickle

    keep(run, "model.pkl", cloudpickle.dumps(estimator))


SKLEARN: Autolog = _Sklearn()
"""scikit-learn."""
