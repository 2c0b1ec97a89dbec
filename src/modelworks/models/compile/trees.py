"""Ensembles of trees as graphs, written directly: categories as sets, thresholds rounded so that no row strays.

A number passes through float32, a threshold may be a float64: ``x <= t`` is then the same as ``x <= t'`` with t' the
largest float32 that is not above t. So a compiled tree goes the same way as the original for every row; only the sum
over the trees, in float32, differs in the last digits.

Source: the operators TreeEnsemble (version 5) and LabelEncoder of the domain ai.onnx.ml.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from onnx import numpy_helper

from modelworks.models.compile.writer import ML, Writer, scores
from modelworks.models.matrix import Column, Matrix
from modelworks.models.signature import Signature

LEQ, LESS, MEMBER = 0, 1, 6
"""Modes of a node, as the operator numbers them."""

Transform = Literal["identity", "sigmoid", "softmax", "exp", "signed square"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Tree:
    """One tree. A child >= 0 is an inner node, one below is a leaf: -1 the first, -2 the second, ...

    Attributes:
        features: Column that each inner node looks at.
        thresholds: float32; of no meaning for a set.
        modes: `LEQ`, `LESS` or `MEMBER`.
        missing: Whether a missing value goes to the true child.
        true: Child where the condition holds.
        false: Child where it does not.
        members: The categories of each node of mode `MEMBER`, in order.
        values: Of the leaves.
        target: Output to which it adds.
    """

    features: Ints
    thresholds: Floats
    modes: npt.NDArray[np.uint8]
    missing: npt.NDArray[np.bool_]
    true: Ints
    false: Ints
    members: Sequence[npt.NDArray[Any]]
    values: npt.NDArray[np.float64]
    target: int = 0


@dataclass(frozen=True)
class Forest:
    """An ensemble.

    Attributes:
        trees: Their leaves are added up.
        outputs: Number of sums.
        base: Added to each sum.
        scale: The sums are multiplied by it: for an average, or the slope of a sigmoid.
        transform: What becomes of the sums.
    """

    trees: Sequence[Tree]
    outputs: int = 1
    base: tuple[float, ...] = ()
    scale: float = 1.0
    transform: Transform = "identity"


def not_above(thresholds: npt.NDArray[np.float64]) -> Floats:
    """The largest float32 that is not above each threshold."""
    with np.errstate(over="ignore"):
        near = thresholds.astype(np.float32)
    return np.where(near > thresholds, np.nextafter(near, np.float32(-np.inf)), near)


def attributes(forest: Forest) -> dict[str, Any]:
    """Of the TreeEnsemble node."""
    trees = [_rooted(tree) for tree in forest.trees]
    nodes = np.cumsum([0, *(len(tree.features) for tree in trees)])
    leaves = np.cumsum([0, *(len(tree.values) for tree in trees)])
    members = [np.append(values, np.nan) for tree in trees for values in tree.members]

    def joined(name: str) -> npt.NDArray[Any]:
        return np.concatenate([getattr(tree, name) for tree in trees])

    def children(name: str) -> tuple[Ints, Ints]:
        ids, leaf = [], []
        for tree, node_at, leaf_at in zip(trees, nodes, leaves, strict=False):
            child = getattr(tree, name)
            leaf.append(child < 0)
            ids.append(np.where(child < 0, ~child + leaf_at, child + node_at))
        return np.concatenate(ids), np.concatenate(leaf).astype(np.int64)

    true, true_leaf = children("true")
    false, false_leaf = children("false")
    made = {
        "n_targets": forest.outputs,
        "aggregate_function": 1,
        "post_transform": 0,
        "tree_roots": nodes[:-1].tolist(),
        "nodes_featureids": joined("features").tolist(),
        "nodes_splits": _tensor(joined("thresholds"), np.float32),
        "nodes_modes": _tensor(joined("modes"), np.uint8),
        "nodes_missing_value_tracks_true": joined("missing").astype(np.int64).tolist(),
        "nodes_truenodeids": true.tolist(),
        "nodes_trueleafs": true_leaf.tolist(),
        "nodes_falsenodeids": false.tolist(),
        "nodes_falseleafs": false_leaf.tolist(),
        "leaf_targetids": np.repeat(
            [tree.target for tree in trees], [len(tree.values) for tree in trees]
        ).tolist(),
        "leaf_weights": _tensor(joined("values"), np.float32),
    }
    if members:
        made["membership_values"] = _tensor(np.concatenate(members), np.float32)
    return made


def _rooted(tree: Tree) -> Tree:
    """A tree that is a leaf alone gets a node above it, as the operator wants one."""
    if len(tree.features):
        return tree
    zero = np.zeros(1, dtype=np.int64)
    return Tree(
        zero, np.zeros(1, np.float32), np.zeros(1, np.uint8), np.zeros(1, bool), zero - 1, zero - 2, (),
        np.repeat(tree.values[:1], 2), tree.target,
    )  # fmt: skip


def _tensor(values: npt.NDArray[Any], kind: Any) -> Any:
    return numpy_helper.from_array(np.ascontiguousarray(values, dtype=kind))


def coded(writer: Writer, matrix: Matrix) -> str:
    """The matrix that the trees take, made of the two inputs; returns its name."""
    parts: list[str] = []
    run: list[int] = []
    for column in (*matrix.columns, None):
        if column is not None and column.categories is None:
            run.append(column.place)
            continue
        if run:
            parts.append(writer.column(text=False, places=run))
            run = []
        if column is not None:
            parts.append(_codes(writer, column))
    return parts[0] if len(parts) == 1 else writer.node("Concat", parts, axis=1)


def _codes(writer: Writer, column: Column) -> str:
    """Codes of one column of categories, NaN for one that is not among them: shape (rows, 1)."""
    known = column.categories or ()
    given: dict[str, Any] = {
        # An encoder needs a key; without any category everything is missing.
        "keys_strings" if column.text else "keys_floats": list(known) or ["" if column.text else 0.0],
        "values_floats": [float(code) for code in range(len(known))] or [float("nan")],
        "default_float": float("nan"),
    }
    return writer.node("LabelEncoder", [writer.column(text=column.text, places=[column.place])], ML, **given)


class Nodes(Protocol):
    """Where nodes are written: see `Writer`."""

    def node(self, kind: str, inputs: Sequence[str], domain: str = "", out: str = "", **given: Any) -> str:
        """Add a node; returns the name of its output."""
        ...

    def constant(self, values: Any, kind: Any = np.float32) -> str:
        """Add a constant; returns its name."""
        ...


def transformed(writer: Nodes, forest: Forest, sums: str) -> str:
    """What becomes of the sums of the trees."""
    if any(forest.base):
        sums = writer.node("Add", [sums, writer.constant(forest.base)])
    if forest.scale != 1.0:
        sums = writer.node("Mul", [sums, writer.constant([forest.scale])])
    match forest.transform:
        case "sigmoid":
            return writer.node("Sigmoid", [sums])
        case "softmax":
            return writer.node("Softmax", [sums], axis=1)
        case "exp":
            return writer.node("Exp", [sums])
        case "signed square":
            return writer.node("Mul", [sums, writer.node("Abs", [sums])])
    return sums


def graph(forest: Forest, matrix: Matrix, signature: Signature) -> bytes:
    """The graph of an ensemble, in the form of `modelworks.models.compile`."""
    writer = Writer(signature)
    sums = writer.node("TreeEnsemble", [coded(writer, matrix)], ML, **attributes(forest))
    scores(writer, transformed(writer, forest, sums), width=forest.outputs)
    return writer.finished()
