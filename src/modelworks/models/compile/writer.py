"""A graph under construction: inputs ``numbers`` and ``texts``, output ``scores``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import TensorProto, compose, helper, numpy_helper

from modelworks.models.signature import Signature

ML = "ai.onnx.ml"
_OPSETS = {"": 17, ML: 5}
_IR = 9


class Writer:
    """Adds nodes in their order; gives every result a name of its own.

    Args:
        signature: What the model takes and gives.
    """

    def __init__(self, signature: Signature) -> None:
        self.signature = signature
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._functions: list[Any] = []
        self._opsets = dict(_OPSETS)
        self._ir = _IR

    def node(self, kind: str, inputs: Sequence[str], domain: str = "", out: str = "", **given: Any) -> str:
        """Add a node; returns the name of its output."""
        out = out or f"{kind}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [out], domain=domain, **given))
        return out

    def constant(self, values: Any, kind: Any = np.float32) -> str:
        """Add a constant; returns its name."""
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(values, dtype=kind), name))
        return name

    def column(self, *, text: bool, places: Sequence[int]) -> str:
        """Some columns of an input: shape (rows, places)."""
        source, width = ("texts", self.signature.texts) if text else ("numbers", self.signature.numbers)
        if list(places) == list(range(len(width))):
            return source
        return self.node("Gather", [source, self.constant(places, np.int64)], axis=1)

    def include(self, model: Any, inputs: Mapping[str, str]) -> None:
        """Add a whole graph, its names prefixed with ``model/``.

        Args:
            model: The graph, an ``onnx.ModelProto``.
            inputs: For each of its inputs, the name of what it is given.
        """
        whole = compose.add_prefix(model, "model/")
        for name, given in inputs.items():
            self.node("Identity", [given], out=f"model/{name}")
        self._nodes.extend(whole.graph.node)
        self._constants.extend(whole.graph.initializer)
        self._functions.extend(whole.functions)
        # The nodes written here mean the same in every version that a model may ask for.
        self._opsets |= {
            one.domain if one.domain != "ai.onnx" else "": one.version for one in model.opset_import
        }
        self._ir = max(self._ir, model.ir_version)

    def finished(self) -> bytes:
        """The graph, with the inputs that it uses."""
        signature = self.signature
        used = {name for node in self._nodes for name in node.input}
        inputs = [
            helper.make_tensor_value_info(name, kind, [None, len(names)])
            for name, kind, names in (
                ("numbers", TensorProto.FLOAT, signature.numbers),
                ("texts", TensorProto.STRING, signature.texts),
            )
            if name in used
        ]
        width = len(signature.classes) or 1
        output = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None, width])
        model = helper.make_model(
            helper.make_graph(self._nodes, "model", inputs, [output], self._constants),
            opset_imports=[helper.make_opsetid(domain, version) for domain, version in self._opsets.items()],
            functions=self._functions,
            ir_version=self._ir,
        )
        content: bytes = model.SerializeToString()
        return content


def scores(writer: Writer, made: str, *, width: int) -> None:
    """Bring what a graph gives into the shape of ``scores``; the probability of two classes alone gets its other.

    Args:
        writer: The graph.
        made: Name of a float tensor, shape (rows,) or (rows, width).
        width: Number of its columns.
    """
    made = writer.node("Reshape", [made, writer.constant([-1, width], np.int64)])
    if writer.signature.task == "binary" and width == 1:
        other = writer.node("Sub", [writer.constant(1.0), made])
        writer.node("Concat", [other, made], out="scores", axis=1)
    else:
        writer.node("Identity", [made], out="scores")
