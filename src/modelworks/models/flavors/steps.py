"""LightGBM and XGBoost as steps of scikit-learn's pipelines: the same trees, put into skl2onnx's graph."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from modelworks.models.compile import trees
from modelworks.models.compile.writer import ML

Grown = Callable[[Any], trees.Forest]
_OPTIONS = {"zipmap": [True, False, "columns"], "nocl": [True, False], "output_class_labels": [False, True]}


def teach() -> None:
    """Tell skl2onnx how to convert the estimators of the libraries that are in use."""
    for library in ("lightgbm", "xgboost"):
        if library in sys.modules:
            _taught(library)


@cache
def _taught(library: str) -> None:
    from skl2onnx import update_registered_converter
    from skl2onnx.common.shape_calculator import (
        calculate_linear_classifier_output_shapes,
        calculate_linear_regressor_output_shapes,
    )

    grown: Grown
    if library == "lightgbm":
        from lightgbm import LGBMClassifier as Classifier
        from lightgbm import LGBMRegressor as Regressor

        from modelworks.models.flavors.lightgbm import grown
    else:
        from xgboost import XGBClassifier as Classifier
        from xgboost import XGBRegressor as Regressor

        from modelworks.models.flavors.xgboost import grown

    for kind, shapes, options in (
        (Classifier, calculate_linear_classifier_output_shapes, _OPTIONS),
        (Regressor, calculate_linear_regressor_output_shapes, None),
    ):
        update_registered_converter(
            kind, kind.__name__, shapes, _converter(grown), overwrite=True, options=options
        )


class _Into:
    """Writes nodes into skl2onnx's graph, as `Writer` does into its own."""

    def __init__(self, scope: Any, container: Any) -> None:
        self._scope, self._container = scope, container

    def node(self, kind: str, inputs: Sequence[str], domain: str = "", out: str = "", **given: Any) -> str:
        out = out or self._scope.get_unique_variable_name(kind)
        name = self._scope.get_unique_operator_name(kind)
        self._container.add_node(kind, list(inputs), [out], op_domain=domain, name=name, **given)
        return out

    def constant(self, values: Any, kind: Any = np.float32) -> str:
        from onnx import numpy_helper

        name: str = self._scope.get_unique_variable_name("constant")
        tensor = numpy_helper.from_array(np.asarray(values, dtype=kind), name)
        self._container.add_initializer(name, None, None, tensor)
        return name


def _converter(grown: Grown) -> Callable[[Any, Any, Any], None]:
    def convert(scope: Any, operator: Any, container: Any) -> None:
        model = operator.raw_operator
        writer = _Into(scope, container)
        forest = grown(model)
        # Said to be of version 3, the newest that skl2onnx knows; `convert` mends that.
        rows = writer.node("Cast", [operator.inputs[0].full_name], to=1)
        sums = writer.node("TreeEnsemble", [rows], ML, op_version=3, **trees.attributes(forest))
        made = trees.transformed(writer, forest, sums)
        classes = getattr(model, "classes_", None)
        if classes is None:
            writer.node("Identity", [made], out=operator.outputs[0].full_name)
            return
        label, probabilities = (one.full_name for one in operator.outputs)
        if forest.outputs == 1:
            other = writer.node("Sub", [writer.constant([1.0]), made])
            made = writer.node("Concat", [other, made], axis=1)
        writer.node("Identity", [made], out=probabilities)
        best = writer.node("ArgMax", [made], axis=1, keepdims=0)
        known = np.asarray(classes)
        if known.dtype.kind in "OU":
            said = {"keys_int64s": list(range(len(known))), "values_strings": known.astype(str).tolist()}
            writer.node("LabelEncoder", [best], ML, out=label, op_version=2, **said)
        else:
            writer.node("Gather", [writer.constant(known, np.int64), best], out=label, axis=0)

    return convert
