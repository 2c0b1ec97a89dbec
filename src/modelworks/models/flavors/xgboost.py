"""XGBoost: boosters and its scikit-learn wrappers, kept as UBJSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from modelworks.core.batch import Batch
from modelworks.core.errors import Invalid
from modelworks.core.schema import Field, Kind
from modelworks.models.compile import trees
from modelworks.models.flavors.port import Answers, Example, numbered
from modelworks.models.matrix import Categories, Matrix, matrix
from modelworks.models.predictor import shaped
from modelworks.models.signature import Signature

_TRANSFORMS: dict[str, trees.Transform] = {
    "binary:logistic": "sigmoid", "reg:logistic": "sigmoid", "multi:softprob": "softmax",
    "count:poisson": "exp", "reg:gamma": "exp", "reg:tweedie": "exp",
}  # fmt: skip
_PLAIN = (
    "reg:squarederror", "reg:squaredlogerror", "reg:absoluteerror", "reg:pseudohubererror", "reg:quantileerror",
    "binary:logitraw", "rank:pairwise", "rank:ndcg", "rank:map",
)  # fmt: skip

_ROUNDS = "modelworks_rounds"
"""Attribute of a stored booster: how many of its rounds count."""


@dataclass(frozen=True)
class XGBoostPredictor:
    """A booster that answers batches."""

    booster: Any
    matrix: Matrix
    signature: Signature
    rounds: int

    def predict(self, batch: Batch) -> npt.NDArray[Any]:
        """See `Predictor.predict`."""
        answers = self.booster.inplace_predict(
            self.matrix.of(batch), iteration_range=(0, self.rounds), validate_features=False
        )
        return shaped(answers, self.signature, len(batch))


class XGBoostFlavor:
    """Boosters; what the wrappers know more, the labels, stands in the signature."""

    name = "xgboost"
    pickled = False

    def accepts(self, model: Any) -> bool:
        """See `Flavor.accepts`; a user's own subclass may answer otherwise, and is not taken apart."""
        kind = type(model)
        return kind.__module__.startswith("xgboost.") and (
            kind.__name__ == "Booster" or hasattr(kind, "get_booster")
        )

    def inputs(self, model: Any) -> tuple[Field, ...] | None:
        """See `Flavor.inputs`: numbers, which may be missing, and texts where it has their categories."""
        return tuple(
            Field(name, Kind.TEXT if values and isinstance(values[0], str) else Kind.NUMBER, nullable=True)
            for name, values in zip(*_columns(_booster(model)), strict=True)
        )

    def answers(self, model: Any, example: Example) -> Answers:
        """See `Flavor.answers`."""
        learner = json.loads(_booster(model).save_config())["learner"]
        objective = learner["objective"]["name"]
        if int(learner["learner_model_param"].get("num_target", 1)) > 1:
            raise Invalid("the XGBoost model predicts several values at once", "", "fit one model for each")
        classes = getattr(model, "classes_", None) if hasattr(type(model), "predict_proba") else None
        if objective in ("binary:logistic", "multi:softprob"):
            number = max(int(learner["learner_model_param"]["num_class"]), 2)
            labels = example.labels(number) if classes is None else tuple(np.asarray(classes).tolist())
            return "binary" if len(labels) == 2 else "multiclass", labels
        if classes is not None or objective == "multi:softmax":
            raise Invalid(
                f"an XGBoost classifier with objective {objective!r} gives no probabilities", "",
                "use binary:logistic or multi:softprob",
            )  # fmt: skip
        return "regression", ()

    def dump(self, model: Any, signature: Signature) -> bytes:
        """See `Flavor.dump`."""
        return bytes(_booster(model).save_raw("ubj"))

    def load(self, content: bytes) -> Any:
        """See `Flavor.load`; one thread, as there are many models in a process."""
        import xgboost

        return xgboost.Booster({"nthread": 1}, model_file=bytearray(content))

    def predictor(self, model: Any, signature: Signature) -> XGBoostPredictor:
        """See `Flavor.predictor`."""
        booster = _booster(model)
        return XGBoostPredictor(booster, _matrix(booster, signature), signature, _rounds(booster))

    def compile(self, model: Any, signature: Signature, *, template: bool) -> bytes:
        """See `Flavor.compile`; it is written directly, which needs no template."""
        return trees.graph(grown(model), _matrix(_booster(model), signature), signature)


def _booster(model: Any) -> Any:
    """The booster of a model; one that was stopped early knows how many of its rounds count.

    Raises:
        Invalid: it is not fitted, or uses a number for missing values.
    """
    if type(model).__name__ == "Booster":
        return model
    try:
        booster = model.get_booster()
    except Exception as error:
        raise Invalid(
            "the XGBoost model is not fitted", str(error), "return what fit(...) returns"
        ) from error
    if not np.isnan(model.missing):
        raise Invalid(
            f"the XGBoost model takes {model.missing} for a missing value", "in Modelworks that is NaN",
            "leave missing= out",
        )  # fmt: skip
    if model.early_stopping_rounds is None or booster.attr(_ROUNDS):
        return booster
    best = booster.copy()
    best.set_attr(**{_ROUNDS: str(model.best_iteration + 1)})
    return best


def _rounds(booster: Any) -> int:
    """Rounds of boosting that count; 0 for all of them."""
    return int(booster.attr(_ROUNDS) or 0)


def _model(learner: dict[str, Any]) -> dict[str, Any]:
    """The trees; those of a dart model stand one level deeper.

    Raises:
        Invalid: it is no ensemble of trees.
    """
    grown = learner["gradient_booster"]
    if grown["name"] == "gblinear":
        raise Invalid("XGBoost's linear booster has no ONNX form", "", "it is served natively")
    model: dict[str, Any] = grown.get("gbtree", grown)["model"]
    return model


def _columns(booster: Any) -> tuple[list[str], list[Categories | None]]:
    """Names of the columns, and the categories that XGBoost keeps of a frame's categorical ones."""
    kept = booster.get_categories(export_to_arrow=True)
    names = booster.feature_names or numbered(booster.num_features())
    categories: list[Categories | None] = [None] * len(names)
    if not kept.empty():
        for place, (_, values) in enumerate(kept.to_arrow()):
            if values is not None:
                categories[place] = tuple(
                    value if isinstance(value, str) else float(value) for value in values.to_pylist()
                )
    return names, categories


def _matrix(booster: Any, signature: Signature) -> Matrix:
    return matrix(signature, *_columns(booster), "XGBoost")


def grown(model: Any) -> trees.Forest:
    """The trees of a model.

    Raises:
        Invalid: see `forest`.
    """
    booster = _booster(model)
    return forest(json.loads(booster.save_raw("json"))["learner"], _rounds(booster))


def forest(learner: dict[str, Any], rounds: int = 0) -> trees.Forest:
    """The trees of a model, as it is saved in JSON.

    Source: https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html

    Args:
        learner: What is saved under that name.
        rounds: Rounds of boosting that count; 0 for all.

    Raises:
        Invalid: it has something that no graph of the house has.
    """
    objective = learner["objective"]["name"]
    if objective not in _TRANSFORMS and objective not in _PLAIN:
        raise Invalid(f"XGBoost's objective {objective!r} has no ONNX form", "", "it is served natively")
    model = _model(learner)
    weights = learner["gradient_booster"].get("weight_drop") or [1.0] * len(model["trees"])
    count = model["iteration_indptr"][rounds] if rounds else len(model["trees"])
    grown = [
        _tree(tree, target, weight)
        for tree, target, weight in list(zip(model["trees"], model["tree_info"], weights, strict=True))[
            :count
        ]
    ]
    outputs = max(int(learner["learner_model_param"]["num_class"]), 1)
    transform = _TRANSFORMS.get(objective, "identity")
    base = np.array(json.loads(learner["learner_model_param"]["base_score"]), dtype=np.float32).reshape(-1)
    if transform == "sigmoid":
        base = -np.log(1 / base - 1)
    elif transform == "exp":
        base = np.log(base)
    sums = np.broadcast_to(base, outputs)
    return trees.Forest(grown, outputs, base=tuple(sums.tolist()), transform=transform)


def _tree(tree: dict[str, Any], target: int, weight: float) -> trees.Tree:
    if int(tree["tree_param"]["size_leaf_vector"]) > 1:
        raise Invalid("trees with several values a leaf have no ONNX form", "", "it is served natively")
    left, right = np.array(tree["left_children"]), np.array(tree["right_children"])
    conditions = np.array(tree["split_conditions"], dtype=np.float32)
    inner = left >= 0
    place = np.where(inner, np.cumsum(inner) - 1, ~(np.cumsum(~inner) - 1))
    sets = np.array(tree["split_type"])[inner] == 1
    default_left = np.array(tree["default_left"])[inner] == 1
    to_left, to_right = place[left[inner]], place[right[inner]]
    # A category of the set goes right, anything else left.
    listed, ends = np.array(tree["categories"], dtype=np.int64), np.cumsum(tree["categories_sizes"])
    members = dict(
        zip(
            tree["categories_nodes"],
            np.split(listed, ends[:-1].astype(int)) if len(ends) else [],
            strict=True,
        )
    )
    return trees.Tree(
        np.array(tree["split_indices"], dtype=np.int64)[inner],
        np.where(sets, np.float32(0), conditions[inner]),
        np.where(sets, trees.MEMBER, trees.LESS).astype(np.uint8),
        np.where(sets, ~default_left, default_left),
        np.where(sets, to_right, to_left),
        np.where(sets, to_left, to_right),
        [members[node] for node in np.flatnonzero(inner)[sets].tolist()],
        conditions[~inner].astype(np.float64) * weight,
        target,
    )


XGBOOST = XGBoostFlavor()
