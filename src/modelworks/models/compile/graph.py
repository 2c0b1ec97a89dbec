"""From a fitted estimator to a graph with two inputs and one output: skl2onnx, then a little surgery."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper

from modelworks.models.compile.trees import not_above
from modelworks.models.signature import Signature

_OPSET = {"": 17, "ai.onnx.ml": 3}


def convert(model: Any, signature: Signature) -> Any:
    """Convert a fitted estimator.

    Raises:
        Exception: skl2onnx's own, where it has no converter for a part of the model.
    """
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    model = exact(model)
    classifier = signature.task != "regression"
    options = {"zipmap": False} if classifier else None
    numbers = set(signature.numbers)
    # A model that takes the rows as one matrix is given one; a ColumnTransformer asks for columns by name.
    whole = not signature.texts and not _by_name(model)
    types = (
        [("numbers", FloatTensorType([None, len(numbers)]))]
        if whole
        else [
            (field.name, (FloatTensorType if field.name in numbers else StringTensorType)([None, 1]))
            for field in signature.inputs
        ]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = to_onnx(
            model,
            initial_types=types,
            options=None if options is None else {id(model): options},
            target_opset=_OPSET,
        )
    if any(node.op_type == "TreeEnsemble" for node in made.graph.node):
        for domain in made.opset_import:
            # What skl2onnx writes of older versions means the same in this one.
            domain.version = 5 if domain.domain == "ai.onnx.ml" else domain.version
    if not whole:
        _merge_inputs(made.graph, signature)
    _single_output(made.graph, signature)
    return made


def exact(model: Any) -> Any:
    """A model whose trees part float32 numbers where the original's do, however a converter rounds thresholds.

    ``x <= t`` with x a float32 is ``x <= t'`` with t' the largest float32 not above t, which every rounding leaves
    as it is. A copy, if there is any tree in it.
    """
    if next(_thresholds(model, set()), None) is None:
        return model
    model = copy.deepcopy(model)
    for values in _thresholds(model, set()):
        values[:] = not_above(np.array(values))
    return model


def _thresholds(part: Any, seen: set[int]) -> Iterator[npt.NDArray[np.float64]]:
    """The thresholds of every tree of scikit-learn's in a model."""
    if isinstance(part, list | tuple | dict) or (isinstance(part, np.ndarray) and part.dtype == object):
        for one in part.values() if isinstance(part, dict) else part:
            if not isinstance(one, str):
                yield from _thresholds(one, seen)
        return
    if not type(part).__module__.startswith("sklearn.") or id(part) in seen or not hasattr(part, "__dict__"):
        return
    seen.add(id(part))
    if hasattr(part, "tree_"):
        yield part.tree_.threshold
    nodes = getattr(part, "nodes", None)
    if isinstance(nodes, np.ndarray) and "num_threshold" in (nodes.dtype.names or ()):
        yield nodes["num_threshold"]
    for one in vars(part).values():
        yield from _thresholds(one, seen)


def _by_name(model: Any) -> bool:
    """Whether a ColumnTransformer is in the model."""
    parts = [step for _, step in getattr(model, "steps", [])]
    return hasattr(model, "transformers") or any(_by_name(part) for part in parts)


def _merge_inputs(graph: Any, signature: Signature) -> None:
    """Let columns be taken from the two matrices; a concatenation of number columns becomes one selection."""
    sources = [
        ("numbers", signature.numbers, TensorProto.FLOAT),
        ("texts", signature.texts, TensorProto.STRING),
    ]
    place = {name: (source, position) for source, names, _ in sources for position, name in enumerate(names)}
    known: dict[tuple[str, tuple[int, ...]], str] = {}
    added: list[Any] = []

    def selection(source: str, positions: tuple[int, ...], width: int) -> str:
        if positions == tuple(range(width)):
            return source
        key = (source, positions)
        if key not in known:
            label = known[key] = f"{source}_{len(known)}"
            graph.initializer.append(
                helper.make_tensor(f"{label}_at", TensorProto.INT64, [len(positions)], list(positions))
            )
            added.append(helper.make_node("Gather", [source, f"{label}_at"], [label], axis=1))
        return known[key]

    kept, renamed = [], {}
    widths = {source: len(names) for source, names, _ in sources}
    for node in graph.node:
        columns = [place.get(name) for name in node.input]
        if node.op_type == "Concat" and columns and all(columns):
            origin = {column[0] for column in columns if column}
            if len(origin) == 1:
                source = origin.pop()
                renamed[node.output[0]] = selection(source, tuple(c[1] for c in columns if c), widths[source])
                continue
        kept.append(node)
    for node in kept:
        for position, name in enumerate(node.input):
            if name in place:
                source, column = place[name]
                node.input[position] = selection(source, (column,), widths[source])
            elif name in renamed:
                node.input[position] = renamed[name]
    del graph.node[:]
    graph.node.extend(added + kept)
    used = {name for node in graph.node for name in node.input}
    del graph.input[:]
    for source, names, kind in sources:
        if names and source in used:
            graph.input.append(helper.make_tensor_value_info(source, kind, [None, len(names)]))


def _single_output(graph: Any, signature: Signature) -> None:
    """Keep only the scores, under that name; what computes the label alone is left to the optimiser."""
    wanted = graph.output[-1].name
    for node in graph.node:
        for names in (node.input, node.output):
            for position, name in enumerate(names):
                if name == wanted:
                    names[position] = "scores"
    width = len(signature.classes) or 1
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None, width]))
