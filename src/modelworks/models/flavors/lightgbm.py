"""LightGBM: boosters and its scikit-learn wrappers, kept in the library's own text format."""

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
from modelworks.models.flavors.port import Answers, Example
from modelworks.models.matrix import Categories, Matrix, matrix
from modelworks.models.predictor import shaped
from modelworks.models.signature import Signature

_CATEGORICAL, _DEFAULT_LEFT = 1, 2
_MISSING_ZERO = 1
_TRANSFORMS: dict[str, trees.Transform] = {
    "binary": "sigmoid", "multiclassova": "sigmoid", "cross_entropy": "sigmoid", "multiclass": "softmax",
    "poisson": "exp", "gamma": "exp", "tweedie": "exp",
}  # fmt: skip
_PLAIN = ("regression", "regression_l1", "huber", "fair", "quantile", "mape", "lambdarank", "rank_xendcg")


@dataclass(frozen=True)
class _Text:
    """A model in LightGBM's text format, read.

    Attributes:
        head: What stands before the trees, by name.
        trees: What is said of each tree, by name.
        categorical: Which columns are categorical.
        pandas: The categories of a frame's categorical columns, in their order.

    Source: ``src/io/gbdt_model_text.cpp`` and ``src/io/tree.cpp`` of LightGBM 4.
    """

    head: dict[str, str]
    trees: list[dict[str, str]]
    categorical: list[int]
    pandas: list[list[Any]]

    @property
    def objective(self) -> list[str]:
        """Its name, then its options."""
        return self.head.get("objective", "").split() or ["custom"]

    @property
    def outputs(self) -> int:
        return int(self.head.get("num_tree_per_iteration", 1))


def _read(content: str) -> _Text:
    blocks, _, tail = content.partition("end of trees")
    head, *grown = blocks.split("\nTree=")
    categorical = tail.partition("[categorical_feature: ")[2].partition("]")[0]
    pandas = tail.partition("pandas_categorical:")[2].partition("\n")[0].strip()
    return _Text(
        {"average_output": ""} | _lines(head) if "average_output" in head.split() else _lines(head),
        [_lines(tree) for tree in grown],
        [int(place) for place in categorical.split(",") if place.strip().isdigit()],
        json.loads(pandas or "null") or [],
    )


def _lines(block: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in block.splitlines() if "=" in line)


def _matrix(text: _Text, signature: Signature) -> Matrix:
    """Columns of the model; LightGBM keeps the categories of a frame's categorical columns, in their order.

    Raises:
        Invalid: see `matrix`.
    """
    names = text.head["feature_names"].split()
    categories: list[Categories | None] = [None] * len(names)
    # Without a list of them they can still be told, where texts are the only ones.
    places = text.categorical
    if text.pandas and len(places) != len(text.pandas):
        inputs = [one.name for one in signature.inputs]
        places = [at for at, name in enumerate(inputs) if name in signature.texts]
    for place, values in zip(places, text.pandas, strict=False):
        categories[place] = tuple(value if isinstance(value, str) else float(value) for value in values)
    return matrix(signature, names, categories, "LightGBM")


@dataclass(frozen=True)
class LightGBMPredictor:
    """A booster that answers batches, one thread."""

    booster: Any
    matrix: Matrix
    signature: Signature

    def predict(self, batch: Batch) -> npt.NDArray[Any]:
        """See `Predictor.predict`."""
        answers = self.booster.predict(self.matrix.of(batch), num_threads=1)
        return shaped(answers, self.signature, len(batch))


class LightGBMFlavor:
    """Boosters; what the wrappers know more, the labels, stands in the signature."""

    name = "lightgbm"
    pickled = False

    def accepts(self, model: Any) -> bool:
        """See `Flavor.accepts`; a user's own subclass may answer otherwise, and is not taken apart."""
        kind = type(model)
        return kind.__module__.startswith("lightgbm.") and (
            kind.__name__ == "Booster" or hasattr(kind, "booster_")
        )

    def inputs(self, model: Any) -> tuple[Field, ...] | None:
        """See `Flavor.inputs`: numbers, which may be missing, and texts where it has their categories."""
        text = _read(_booster(model).model_to_string(num_iteration=1))
        texts = {
            place
            for place, values in zip(text.categorical, text.pandas, strict=False)
            if all(isinstance(value, str) for value in values)
        }
        return tuple(
            Field(name, Kind.TEXT if place in texts else Kind.NUMBER, nullable=True)
            for place, name in enumerate(text.head["feature_names"].split())
        )

    def answers(self, model: Any, example: Example) -> Answers:
        """See `Flavor.answers`."""
        text = _read(_booster(model).model_to_string(num_iteration=1))
        objective, classes = text.objective[0], getattr(model, "classes_", None)
        if classes is None and _TRANSFORMS.get(objective) not in ("sigmoid", "softmax"):
            return "regression", ()
        if objective == "custom":
            raise Invalid(
                "the LightGBM classifier gives raw scores, not probabilities",
                "it was fitted with an objective of your own",
                "use one of LightGBM's, or return a function that also applies the link",
            )
        number = max(text.outputs, 2)
        labels = example.labels(number) if classes is None else tuple(np.asarray(classes).tolist())
        return "binary" if len(labels) == 2 else "multiclass", labels

    def dump(self, model: Any, signature: Signature) -> bytes:
        """See `Flavor.dump`."""
        return str(_booster(model).model_to_string()).encode()

    def load(self, content: bytes) -> Any:
        """See `Flavor.load`."""
        import lightgbm

        return lightgbm.Booster(model_str=content.decode())

    def predictor(self, model: Any, signature: Signature) -> LightGBMPredictor:
        """See `Flavor.predictor`."""
        booster = _booster(model)
        return LightGBMPredictor(
            booster, _matrix(_read(booster.model_to_string(num_iteration=1)), signature), signature
        )

    def compile(self, model: Any, signature: Signature, *, template: bool) -> bytes:
        """See `Flavor.compile`; it is written directly, which needs no template."""
        text = _read(_booster(model).model_to_string())
        return trees.graph(forest(text), _matrix(text, signature), signature)


def _booster(model: Any) -> Any:
    try:
        return getattr(model, "booster_", model)
    except Exception as error:
        raise Invalid(
            "the LightGBM model is not fitted", str(error), "return what fit(...) returns"
        ) from error


def grown(model: Any) -> trees.Forest:
    """The trees of a model that takes a matrix of numbers.

    Raises:
        Invalid: it has something that no graph of the house has, or takes categories of a frame.
    """
    text = _read(_booster(model).model_to_string())
    if text.pandas:
        raise Invalid(
            "a step of a pipeline takes numbers", "it was fitted on a frame's categories", "encode before"
        )
    return forest(text)


def forest(text: _Text) -> trees.Forest:
    """The trees of a model.

    Raises:
        Invalid: it has something that no graph of the house has.
    """
    objective, *options = text.objective
    transform = _TRANSFORMS.get(objective, "identity")
    if objective not in _TRANSFORMS and objective not in (*_PLAIN, "custom"):
        raise Invalid(f"LightGBM's objective {objective!r} has no ONNX form", "", "it is served natively")
    if "sqrt" in options:
        transform = "signed square"
    scale = next((float(one.partition(":")[2]) for one in options if one.startswith("sigmoid:")), 1.0)
    if "average_output" in text.head and text.trees:
        scale *= text.outputs / len(text.trees)
    grown = [_tree(tree, number % text.outputs) for number, tree in enumerate(text.trees)]
    return trees.Forest(grown, text.outputs, scale=scale, transform=transform)


def _tree(tree: dict[str, str], target: int) -> trees.Tree:
    if tree.get("is_linear", "0").strip() == "1":
        raise Invalid("linear trees have no ONNX form", "", "it is served natively")

    def numbers(name: str, kind: Any) -> npt.NDArray[Any]:
        return np.array(tree.get(name, "").split(), dtype=kind)

    values = numbers("leaf_value", np.float64)
    features = numbers("split_feature", np.int64)
    thresholds = numbers("threshold", np.float64)
    kinds = numbers("decision_type", np.int64)
    sets = (kinds & _CATEGORICAL) != 0
    left = (kinds & _DEFAULT_LEFT) != 0
    missing = (kinds >> 2) & 3
    # Without missing values in the fit, NaN counts as 0.
    tracks = np.where(missing == 0, thresholds >= 0, left) & ~sets
    if ((missing == _MISSING_ZERO) & ~sets & (left != (thresholds >= 0))).any():
        raise Invalid(
            "zeros that count as missing have no ONNX form", "zero_as_missing", "it is served natively"
        )
    bounds, words = numbers("cat_boundaries", np.int64), numbers("cat_threshold", np.uint32)
    members = [_members(words[bounds[one] : bounds[one + 1]]) for one in thresholds[sets].astype(np.int64)]
    return trees.Tree(
        features,
        np.where(sets, np.float32(0), trees.not_above(thresholds)),
        np.where(sets, trees.MEMBER, trees.LEQ).astype(np.uint8),
        tracks,
        numbers("left_child", np.int64),
        numbers("right_child", np.int64),
        members,
        values,
        target,
    )


def _members(words: npt.NDArray[np.uint32]) -> npt.NDArray[np.int64]:
    """Positions of the bits that are set."""
    return np.flatnonzero(np.unpackbits(words.view(np.uint8), bitorder="little"))


LIGHTGBM = LightGBMFlavor()
