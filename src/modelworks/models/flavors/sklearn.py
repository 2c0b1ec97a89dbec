"""scikit-learn, and whatever else has its `predict` and `predict_proba`."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cloudpickle
import numpy as np
import numpy.typing as npt

from modelworks.core.batch import Batch
from modelworks.core.errors import Invalid
from modelworks.models.layout import to_frame, to_polars
from modelworks.models.signature import Signature


@dataclass(frozen=True)
class NativePredictor:
    """A fitted estimator that answers batches through a frame, pandas or Polars.

    What is scikit-learn's own through and through is given Polars: it selects columns and turns them into the
    same arrays, at half the cost of pandas. Anybody else's code gets the pandas frame it was fitted on.
    """

    model: Any
    signature: Signature

    @cached_property
    def _frame(self) -> Callable[[Batch, Signature], Any]:
        return to_polars if _own(self.model) else to_frame

    def predict(self, batch: Batch) -> npt.NDArray[np.float32]:
        """See `Predictor.predict`."""
        frame = self._frame(batch, self.signature)
        if self.signature.task == "regression":
            return np.asarray(self.model.predict(frame), dtype=np.float32).reshape(len(batch), 1)
        return np.asarray(self.model.predict_proba(frame), dtype=np.float32)


def _own(model: Any) -> bool:
    """Whether every part of a model is scikit-learn's own, and none calls a user's function."""
    kind = type(model)
    if not kind.__module__.startswith("sklearn.") or kind.__name__ == "FunctionTransformer":
        return False
    parts = [part for _, part, *_ in (*getattr(model, "steps", ()), *getattr(model, "transformers_", ()))]
    return all(isinstance(part, str | None) or _own(part) for part in parts)


class SklearnFlavor:
    """Estimators by duck typing.

    The native form is a pickle. It is written by this factory's own workers and loaded only by the digest
    that stands in the ledger, which the artifact store verifies; nothing that came from outside is ever
    loaded this way.
    """

    name = "sklearn"

    def accepts(self, model: Any) -> bool:
        """See `Flavor.accepts`."""
        return callable(getattr(model, "predict", None))

    def dump(self, model: Any) -> bytes:
        """See `Flavor.dump`."""
        try:
            try:
                return pickle.dumps(model, protocol=5)
            except (pickle.PicklingError, AttributeError, TypeError):
                content: bytes = cloudpickle.dumps(model, protocol=5)  # classes and functions of factory.py
                return content
        except Exception as error:
            raise Invalid(
                "the model cannot be stored", str(error), "keep open files and connections out of it"
            ) from error

    def load(self, content: bytes) -> Any:
        """See `Flavor.load`."""
        return pickle.loads(content)  # noqa: S301 - see the class

    def predictor(self, model: Any, signature: Signature) -> NativePredictor:
        """See `Flavor.predictor`."""
        return NativePredictor(model, signature)

    def compile(self, model: Any, signature: Signature, *, template: bool) -> bytes:
        """See `Flavor.compile`."""
        from modelworks.models.compile.template import compiled, whole

        return (compiled if template else whole)(model, signature)


SKLEARN = SklearnFlavor()
