"""River: models that learn row by row."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from modelworks.core.batch import Batch
from modelworks.core.errors import Invalid
from modelworks.core.schema import Field
from modelworks.models.flavors.port import Answers, Example, kinds_of
from modelworks.models.flavors.sklearn import dumped
from modelworks.models.layout import to_rows
from modelworks.models.predictor import shaped
from modelworks.models.signature import Signature


@dataclass(frozen=True)
class RiverPredictor:
    """A model that answers batches row by row.

    A row is a dict as ``river.stream`` makes it of the frame of a fit: a missing number is NaN, a missing text "".
    """

    model: Any
    signature: Signature

    def predict(self, batch: Batch) -> npt.NDArray[Any]:
        """See `Predictor.predict`."""
        return self._given([self._ask(row) for row in to_rows(batch, self.signature)])

    def learn(self, batch: Batch, truth: Sequence[Any]) -> npt.NDArray[Any]:
        """See `Learning.learn`."""
        if _is(self.model, "detector"):
            raise Invalid("an anomaly detector does not learn from outcomes", "", "use another model")
        given = []
        for row, true in zip(to_rows(batch, self.signature), truth, strict=True):
            given.append(self._ask(row))
            self.model.learn_one(row, true)
        return self._given(given)

    def _ask(self, row: dict[str, Any]) -> Any:
        if self.signature.classes:
            return dict(self.model.predict_proba_one(row))
        return self.model.score_one(row) if _is(self.model, "detector") else self.model.predict_one(row)

    def _given(self, said: list[Any]) -> npt.NDArray[Any]:
        """What the model said of each row, in the shape that `Predictor.predict` promises."""
        if self.signature.classes:
            classes = self.signature.classes
            answers = np.array([[one.get(label, 0.0) for label in classes] for one in said], np.float64)
            answers = answers.reshape(-1, len(classes))
            sums = answers.sum(axis=1, keepdims=True)
            # One that has learned nothing yet says nothing: all are equal then.
            return np.where(sums > 0, answers / np.where(sums > 0, sums, 1), 1 / len(classes)).astype(
                np.float32
            )
        return shaped(said, self.signature, len(said))


class RiverFlavor:
    """Classifiers, regressors, anomaly detectors, and what else has ``predict_one``.

    The native form is a pickle, as River has no other; see the flavor of scikit-learn for what that means.
    """

    name = "river"
    pickled = True

    def accepts(self, model: Any) -> bool:
        """See `Flavor.accepts`."""
        return "Base" in kinds_of(model, "river")

    def inputs(self, model: Any) -> tuple[Field, ...] | None:
        """See `Flavor.inputs`."""
        return None

    def answers(self, model: Any, example: Example) -> Answers:
        """See `Flavor.answers`."""
        if _is(model, "Classifier"):
            found = set(np.unique(example.y).tolist()) if example.y is not None else set()
            for row in to_rows(example.rows(), example.takes):
                found |= {
                    label.item() if isinstance(label, np.generic) else label
                    for label in model.predict_proba_one(row)
                }
            if len(found) < 2:
                raise Invalid(
                    "the classifier does not know two labels yet", f"it knows {sorted(found) or 'none'}",
                    "let it learn before, or give the targets",
                )  # fmt: skip
            labels = tuple(sorted(found))
            return "binary" if len(labels) == 2 else "multiclass", labels
        if _is(model, "Regressor") or _is(model, "detector"):
            return "regression", ()
        if not hasattr(model, "predict_one"):
            raise Invalid(
                f"a {type(model).__name__} predicts nothing", "it has no predict_one", "add a model to it"
            )
        return "other", ()

    def dump(self, model: Any, signature: Signature) -> bytes:
        """See `Flavor.dump`."""
        return dumped(model)

    def load(self, content: bytes) -> Any:
        """See `Flavor.load`."""
        return pickle.loads(content)  # noqa: S301 - see the class

    def predictor(self, model: Any, signature: Signature) -> RiverPredictor:
        """See `Flavor.predictor`."""
        return RiverPredictor(model, signature)

    def compile(self, model: Any, signature: Signature, *, template: bool) -> bytes:
        """See `Flavor.compile`."""
        raise Invalid("River's models have no ONNX form", "", "it is served natively")


def _is(model: Any, kind: str) -> bool:
    """Whether a model, or the last step of a pipeline, is of one of River's kinds."""
    from river import base

    while hasattr(model, "steps"):
        model = list(model.steps.values())[-1]
    return hasattr(model, "score_one") if kind == "detector" else isinstance(model, getattr(base, kind))


RIVER = RiverFlavor()
