"""scikit-learn, and whatever else has its `predict` and `predict_proba`."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cloudpickle
import numpy as np
import numpy.typing as npt

from modelworks.core.batch import Batch
from modelworks.core.errors import Invalid
from modelworks.core.schema import Field, Kind
from modelworks.models.flavors.direct import Direct, direct
from modelworks.models.flavors.port import Answers, Example, numbered
from modelworks.models.layout import to_frame
from modelworks.models.signature import Signature

_checked: dict[tuple[Any, ...], bool] = {}
"""Structures whose direct form was compared with the whole in this process; whether it was the same."""


@dataclass(frozen=True)
class NativePredictor:
    """A fitted estimator that answers batches, by its parts directly or through a frame.

    The first answer of a structure in a process is given both ways: only where both are the same, to the last
    bit, the direct way is taken from then on. The frame is pandas, as the model was fitted on.
    """

    model: Any
    signature: Signature

    @cached_property
    def _direct(self) -> Direct | None:
        return direct(self.model, self.signature)

    def predict(self, batch: Batch) -> npt.NDArray[np.float32]:
        """See `Predictor.predict`."""
        answers = self._answers(batch)
        if self.signature.task == "regression":
            return np.asarray(answers, dtype=np.float32).reshape(len(batch), 1)
        return np.asarray(answers, dtype=np.float32)

    def _answers(self, batch: Batch) -> npt.NDArray[Any]:
        if self._direct is None:
            return self._whole(batch)
        same = _checked.get(self._direct.structure)
        if same is None:
            answers = self._whole(batch)
            try:
                same = np.array_equal(answers, self._direct.answer(batch), equal_nan=True)
            except Exception:
                same = False
            _checked[self._direct.structure] = same
            return answers
        return self._direct.answer(batch) if same else self._whole(batch)

    def _whole(self, batch: Batch) -> npt.NDArray[Any]:
        frame: Any = to_frame(batch, self.signature)
        if type(self.model).__module__.startswith("sklearn.") and not hasattr(
            self.model, "feature_names_in_"
        ):
            # Fitted on a matrix without names, it warns of names.
            frame = frame if self.signature.texts else frame.to_numpy()
        ask = self.model.predict if self.signature.task == "regression" else self.model.predict_proba
        return np.asarray(ask(frame))


class SklearnFlavor:
    """Estimators by duck typing.

    The native form is a pickle. It is written by this factory's own workers and loaded only by the digest
    that stands in the ledger, which the artifact store verifies; nothing that came from outside is ever
    loaded this way.
    """

    name = "sklearn"
    pickled = True

    def accepts(self, model: Any) -> bool:
        """See `Flavor.accepts`."""
        return callable(getattr(model, "predict", None))

    def inputs(self, model: Any) -> tuple[Field, ...] | None:
        """See `Flavor.inputs`: names are kept, kinds are not, so numbers."""
        names = getattr(model, "feature_names_in_", None)
        if names is None and hasattr(model, "n_features_in_"):
            names = numbered(model.n_features_in_)
        return None if names is None else tuple(Field(str(name), Kind.NUMBER) for name in names)

    def answers(self, model: Any, example: Example) -> Answers:
        """See `Flavor.answers`."""
        classes = getattr(model, "classes_", None)
        if classes is None or not hasattr(model, "predict_proba"):
            return "regression", ()
        labels = tuple(np.asarray(classes).tolist())
        return "binary" if len(labels) == 2 else "multiclass", labels

    def dump(self, model: Any, signature: Signature) -> bytes:
        """See `Flavor.dump`."""
        return dumped(model)

    def load(self, content: bytes) -> Any:
        """See `Flavor.load`."""
        return pickle.loads(content)  # noqa: S301 - see the class

    def predictor(self, model: Any, signature: Signature) -> NativePredictor:
        """See `Flavor.predictor`."""
        return NativePredictor(model, signature)

    def compile(self, model: Any, signature: Signature, *, template: bool) -> bytes:
        """See `Flavor.compile`."""
        from modelworks.models.compile.template import compiled, whole
        from modelworks.models.flavors.steps import teach

        teach()
        return (compiled if template else whole)(model, signature)


def dumped(model: Any) -> bytes:
    """A model pickled; classes and functions of a user's own files go by value.

    Raises:
        Invalid: it holds what cannot be pickled.
    """
    try:
        try:
            return pickle.dumps(model, protocol=5)
        except (pickle.PicklingError, AttributeError, TypeError):
            content: bytes = cloudpickle.dumps(model, protocol=5)
            return content
    except Exception as error:
        raise Invalid(
            "the model cannot be stored", str(error), "keep open files and connections out of it"
        ) from error


SKLEARN = SklearnFlavor()
