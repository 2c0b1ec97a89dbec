"""ONNX: a graph that somebody made elsewhere, as bytes or as a ``ModelProto``.

Its inputs may be columns, each by the name of a feature, or one matrix of all numbers and one of all texts. Its
output may be a value; or probabilities, with or without the label beside them, as a tensor or as ZipMap's maps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from modelworks.core.batch import Batch
from modelworks.core.errors import Invalid
from modelworks.core.schema import Field, Kind
from modelworks.models.flavors.port import Answers, Example
from modelworks.models.predictor import shaped
from modelworks.models.signature import Label, Signature

_FLOATS = (1, 11)
"""float32 and float64, as ONNX numbers the types of tensors; 8 is text."""
_TEXT = 8
_NUMPY = {1: np.float32, 6: np.int32, 7: np.int64, 9: np.bool_, 11: np.float64}


@dataclass(frozen=True)
class Feed:
    """What one input of the graph is given.

    Attributes:
        name: Of the input.
        text: Whether it is made of texts.
        places: Which of the texts, or of the numbers.
        kind: Type of its elements, as ONNX numbers them.
        flat: Whether it is a vector rather than a matrix.
    """

    name: str
    text: bool
    places: tuple[int, ...]
    kind: int
    flat: bool


@dataclass(frozen=True)
class Output:
    """What of the graph's outputs is the answer.

    Attributes:
        name: Of a tensor in the graph.
        classes: The labels, where the graph says them.
        labelled: Whether there is a label beside it: then it is probabilities.
    """

    name: str
    classes: tuple[Label, ...]
    labelled: bool


class OnnxPredictor:
    """A user's graph, run as it is.

    Args:
        content: The graph.
        signature: What it takes and gives.
    """

    def __init__(self, content: bytes, signature: Signature) -> None:
        import onnxruntime

        from modelworks.models.compile.session import OPTIONS

        model = parsed(content)
        self._signature = signature
        self._feeds = feeds(model, signature)
        self._output = output(model).name
        try:
            self._session = onnxruntime.InferenceSession(
                _without_maps(model).SerializeToString(), OPTIONS, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise Invalid(
                "ONNX Runtime refuses the graph", " ".join(str(error).split())[:300],
                "check it with onnx.checker; custom operators are not supported",
            ) from error  # fmt: skip

    def predict(self, batch: Batch) -> npt.NDArray[Any]:
        """See `Predictor.predict`."""
        return shaped(self.raw(batch), self._signature, len(batch))

    def raw(self, batch: Batch) -> npt.NDArray[Any]:
        """What the graph gives, as it gives it."""
        given: dict[str, Any] = {}
        for feed in self._feeds:
            values = (batch.texts if feed.text else batch.numbers)[:, list(feed.places)]
            if not feed.text:
                values = values.astype(_NUMPY[feed.kind])
            given[feed.name] = values.reshape(-1) if feed.flat else values
        return np.asarray(self._session.run([self._output], given)[0])


class OnnxFlavor:
    """The stored form is the graph itself."""

    name = "onnx"
    pickled = False

    def accepts(self, model: Any) -> bool:
        """See `Flavor.accepts`."""
        kind = type(model)
        return kind is bytes or (kind.__name__ == "ModelProto" and kind.__module__.startswith("onnx."))

    def inputs(self, model: Any) -> tuple[Field, ...] | None:
        """See `Flavor.inputs`: the inputs of the graph, the columns of a matrix by their number."""
        model = parsed(model)
        constant = {tensor.name for tensor in model.graph.initializer}
        fields: list[Field] = []
        for given in model.graph.input:
            if given.name in constant:
                continue
            tensor = given.type.tensor_type
            dims = [dim.dim_value for dim in tensor.shape.dim]
            text = tensor.elem_type == _TEXT
            kind = Kind.TEXT if text else Kind.NUMBER
            if len(dims) == 2 and dims[1] > 1:
                letter = "t" if text else "f"
                fields += [Field(f"{letter}{place}", kind, nullable=text) for place in range(dims[1])]
            elif len(dims) in (1, 2):
                fields.append(Field(given.name, kind, nullable=text))
        return tuple(fields) or None

    def answers(self, model: Any, example: Example) -> Answers:
        """See `Flavor.answers`."""
        made = output(parsed(model))
        answers = OnnxPredictor(_bytes(model), example.takes).raw(example.rows())
        width = answers.shape[1] if answers.ndim == 2 else 1
        labels = made.classes or example.labels(max(width, 2))
        if made.labelled or (width > 1 and _probabilities(answers)):
            return "binary" if len(labels) == 2 else "multiclass", labels
        if width > 1:
            raise Invalid(
                f"the graph gives {width} numbers a row that are not probabilities", "",
                "let it give one value, or probabilities that add up to 1",
            )  # fmt: skip
        return "regression", ()

    def dump(self, model: Any, signature: Signature) -> bytes:
        """See `Flavor.dump`."""
        return _bytes(model)

    def load(self, content: bytes) -> Any:
        """See `Flavor.load`."""
        return content

    def predictor(self, model: Any, signature: Signature) -> OnnxPredictor:
        """See `Flavor.predictor`."""
        return OnnxPredictor(_bytes(model), signature)

    def compile(self, model: Any, signature: Signature, *, template: bool) -> bytes:
        """See `Flavor.compile`: the graph between the house's inputs and output."""
        from modelworks.models.compile.writer import Writer, scores

        proto = parsed(model)
        writer = Writer(signature)
        given = {}
        for feed in feeds(proto, signature):
            name = writer.column(text=feed.text, places=feed.places)
            if feed.kind not in (1, _TEXT):
                name = writer.node("Cast", [name], to=feed.kind)
            if feed.flat:
                name = writer.node("Reshape", [name, writer.constant([-1], np.int64)])
            given[feed.name] = name
        made = output(proto)
        writer.include(_without_maps(proto), given)
        values = writer.node("Cast", [f"model/{made.name}"], to=1)
        width = len(signature.classes) or 1
        scores(writer, values, width=1 if _single(proto, made.name) else width)
        return writer.finished()


def parsed(model: Any) -> Any:
    """The graph, as a ``ModelProto``.

    Raises:
        Invalid: it is none, or keeps tensors in files beside it.
    """
    import onnx

    if isinstance(model, bytes):
        try:
            model = onnx.load_from_string(model)
            onnx.checker.check_model(model)
        except Exception as error:
            raise Invalid(
                "this is not a valid ONNX graph",
                " ".join(str(error).split())[:300],
                "give the bytes of an .onnx file",
            ) from error
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in _tensors(model.graph)):
        raise Invalid(
            "the ONNX graph keeps tensors in other files", "a package is one blob, and reads no files",
            "load it with onnx.load(path), which brings them in",
        )  # fmt: skip
    return model


def _tensors(graph: Any) -> Iterator[Any]:
    """Every constant of a graph and of the graphs in it."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)


def feeds(model: Any, signature: Signature) -> list[Feed]:
    """What each input of a graph is given.

    Raises:
        Invalid: an input is neither a feature nor all of them.
    """
    constant = {tensor.name for tensor in model.graph.initializer}
    made = []
    for given in model.graph.input:
        if given.name in constant:
            continue
        tensor = given.type.tensor_type
        text, rank = tensor.elem_type == _TEXT, len(tensor.shape.dim)
        names = signature.texts if text else signature.numbers
        places = (names.index(given.name),) if given.name in names else tuple(range(len(names)))
        width = tensor.shape.dim[1].dim_value if rank == 2 else len(places)
        if not text and tensor.elem_type not in _NUMPY:
            raise Invalid(
                f"input {given.name!r} of the graph is of a type that no feature has", "", "use float32"
            )
        if (
            rank not in (1, 2)
            or (rank == 1 and len(places) != 1)
            or width not in (0, len(places))
            or not names
        ):
            raise Invalid(
                f"input {given.name!r} of the graph is none of the features, nor all of them",
                f"it takes {width or 'some'} {'texts' if text else 'numbers'} a row, "
                f"the features are {', '.join(names) or 'none'}",
                "name the inputs like the columns, or give one matrix of shape [N, features]",
            )
        made.append(Feed(given.name, text, places, tensor.elem_type, rank == 1))
    return made


def output(model: Any) -> Output:
    """Which of a graph's outputs is the answer.

    Raises:
        Invalid: none holds numbers.
    """
    maps = {node.output[0]: node for node in model.graph.node if node.op_type == "ZipMap"}
    outputs = list(model.graph.output)
    numbers = [one.name for one in outputs if one.name in maps or one.type.tensor_type.elem_type in _FLOATS]
    if not numbers:
        raise Invalid(
            "the graph gives no numbers", f"its outputs are {', '.join(one.name for one in outputs)}",
            "let it give a value or probabilities as float32",
        )  # fmt: skip
    name = next((one for one in numbers if "prob" in one.lower()), numbers[-1])
    labels = _labels(maps[name]) if name in maps else ()
    if not labels:
        labels = next((found for node in model.graph.node if (found := _labels(node))), ())
    return Output(maps[name].input[0] if name in maps else name, labels, len(outputs) > len(numbers))


def _labels(node: Any) -> tuple[Label, ...]:
    """The labels that a classifier's node, or a ZipMap, says."""
    for attribute in node.attribute:
        if attribute.name in ("classlabels_int64s", "classlabels_ints"):
            return tuple(attribute.ints)
        if attribute.name in ("classlabels_strings",):
            return tuple(text.decode() for text in attribute.strings)
    return ()


def _bytes(model: Any) -> bytes:
    content: bytes = parsed(model).SerializeToString()
    return content


def _without_maps(model: Any) -> Any:
    """The graph with tensors instead of maps, for any number of rows."""
    import onnx

    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    graph = plain.graph
    names = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "ZipMap"}
    kept = [node for node in graph.node if node.op_type != "ZipMap"]
    del graph.node[:]
    graph.node.extend(kept)
    for one in graph.output:
        if one.name in names:
            one.CopyFrom(onnx.helper.make_tensor_value_info(names[one.name], onnx.TensorProto.FLOAT, None))
    for one in (*graph.input, *graph.output):
        dims = one.type.tensor_type.shape.dim
        if dims and dims[0].dim_value:
            dims[0].dim_param = "rows"
    return plain


def _single(model: Any, name: str) -> bool:
    """Whether an output is known to have one number a row."""
    for one in model.graph.output:
        dims = one.type.tensor_type.shape.dim
        if one.name == name and (len(dims) == 1 or (len(dims) == 2 and dims[1].dim_value == 1)):
            return True
    return False


def _probabilities(answers: npt.NDArray[Any]) -> bool:
    return bool(np.all(answers >= 0) and np.allclose(answers.sum(axis=1), 1, atol=1e-3))


ONNX = OnnxFlavor()
