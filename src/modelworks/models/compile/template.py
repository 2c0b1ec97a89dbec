"""Compiling many models of one structure: convert once, then only put the weights in.

Converting a small pipeline costs as much as half of fitting it, and hundreds of segments share one structure.
So a structure is converted twice with *tags*, random numbers in place of everything that was fitted. What
differs between the two graphs depends on the fit, and a tag tells which fitted array it came from and by which
expression (as it is, negated, inverted, ...). The places and expressions are the template: compiling the next
model evaluates them. A structure in which some place cannot be explained has no template and is converted
whole every time. Whichever way a graph was made, the proof on held-out rows decides whether it is used.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from modelworks.core.errors import Invalid
from modelworks.models.compile.graph import convert
from modelworks.models.signature import Signature

_MOST = 256
"""Templates kept in one process."""

Flat = npt.NDArray[np.float64]
Path = tuple[Any, ...]

_EXPRESSIONS: dict[str, Callable[[npt.NDArray[Any]], Flat]] = {
    "same": lambda a: a.ravel(),
    "negated": lambda a: -a.ravel(),
    "inverse": lambda a: 1.0 / a.ravel(),
    "both": lambda a: np.concatenate([-a.ravel(), a.ravel()]),
    "transposed": lambda a: a.T.ravel(),
}


@dataclass(frozen=True)
class _Slot:
    """A place in the graph and the expression that fills it."""

    get: Callable[[onnx.ModelProto], Any]
    path: Path
    expression: str


class _Opaque(Exception):  # noqa: N818 - a finding, not a fault
    """The model has a part whose inside is not arrays of numbers and texts (a tree, say)."""


def compiled(model: Any, signature: Signature) -> bytes:
    """The graph of a fitted estimator, from its structure's template where there is one.

    Raises:
        Invalid: it cannot be converted.
    """
    try:
        key: Any = (signature, _structure(model))
    except _Opaque:
        return whole(model, signature)
    if key not in _templates:
        if len(_templates) >= _MOST:
            _templates.clear()
        _templates[key] = _template(model, signature)
    template = _templates[key]
    return whole(model, signature) if template is None else template.fill(model)


def whole(model: Any, signature: Signature) -> bytes:
    """The graph of a fitted estimator, converted without a template.

    Raises:
        Invalid: it cannot be converted.
    """
    try:
        content: bytes = convert(model, signature).SerializeToString()
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise Invalid(f"{type(model).__name__} has no ONNX form", reason, "it is served natively") from error
    return content


@dataclass(frozen=True)
class _Template:
    graph: onnx.ModelProto
    slots: tuple[_Slot, ...]

    def fill(self, model: Any) -> bytes:
        for slot in self.slots:
            value = _at(model, slot.path)
            target = slot.get(self.graph)
            if slot.expression == "texts":
                _replace(target.strings, [str(text).encode() for text in value])
            elif slot.expression == "width":
                width = sum(len(categories) for categories in value)
                target.raw_data = np.array([-1, width], dtype=np.int64).tobytes()
                del target.int64_data[:]
            else:
                numbers = _EXPRESSIONS[slot.expression](np.asarray(value, dtype=np.float64)).astype(
                    np.float32
                )
                if isinstance(target, onnx.TensorProto):
                    target.raw_data = numbers.tobytes()
                    del target.float_data[:]
                elif target.type == onnx.AttributeProto.FLOAT:
                    target.f = float(numbers[0])
                else:
                    _replace(target.floats, numbers.tolist())
        content: bytes = self.graph.SerializeToString()
        return content


_templates: dict[Any, _Template | None] = {}


def _replace(field: Any, values: list[Any]) -> None:
    del field[:]
    field.extend(values)


# -- the fitted parts of a model ---------------------------------------------------------------------------


def _parts(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every leaf of a model's state with its path, in a fixed order.

    Raises:
        _Opaque: an object that is neither an estimator nor plain data.
    """
    if isinstance(
        value, np.ndarray | np.generic | np.dtype | str | bytes | int | float | type | None | slice
    ):
        yield path, value
    elif isinstance(value, dict):
        for name in sorted(value, key=str):
            yield from _parts(value[name], (*path, ("item", name)))
    elif isinstance(value, list | tuple):
        for position, item in enumerate(value):
            yield from _parts(item, (*path, ("item", position)))
    elif hasattr(value, "get_params") and hasattr(value, "__dict__"):
        yield (*path, "class"), type(value)
        for name in sorted(vars(value)):
            yield from _parts(vars(value)[name], (*path, ("attribute", name)))
    elif callable(value):
        yield path, f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', value)!r}"
    else:
        raise _Opaque(type(value).__name__)


def _fitted(path: Path) -> bool:
    """Whether a leaf lies in an attribute that fitting made: scikit-learn's end with ``_``, or start with it."""
    names = [step[1] for step in path if step[0] == "attribute"]
    return bool(names) and path[-1] != "class" and (names[-1].endswith("_") or names[-1].startswith("_"))


def _at(model: Any, path: Path) -> Any:
    for kind, name in path:
        model = getattr(model, name) if kind == "attribute" else model[name]
    return model


def _is_numbers(value: Any) -> bool:
    return isinstance(value, np.ndarray | np.floating | float) and np.asarray(value).dtype.kind == "f"


def _is_texts(value: Any) -> bool:
    return (
        isinstance(value, np.ndarray)
        and value.dtype.kind in "OU"
        and all(isinstance(v, str) for v in value.ravel())
    )


def _structure(model: Any) -> Any:
    """What two models must share to be filled into one template; hashable.

    It is looked at for every model that is packaged, so it walks by itself instead of asking `_parts` for paths.

    Raises:
        _Opaque: see `_parts`.
    """
    key: list[Any] = []
    _walk(model, key, "", fitted=False)
    return tuple(key)


_ATOMS = frozenset({str, bytes, int, float, bool, type(None)})
_PLAIN = (str, bytes, int, float, type, slice, np.generic, np.dtype)


def _walk(value: Any, key: list[Any], name: str, *, fitted: bool) -> None:
    """Add what `value`, the attribute `name`, has to say to the key."""
    kind = type(value)
    if kind in _ATOMS:
        if not fitted:
            key.append(repr(value))
        elif kind is float:
            _describe(np.asarray(value), key, name)
        else:
            key.append(kind if kind is int or kind is bytes else value)
    elif isinstance(value, np.ndarray):
        if fitted:
            _describe(value, key, name)
        else:
            key.append(value.tobytes())
    elif kind is list or kind is tuple or isinstance(value, (list, tuple)):
        key.append(len(value))
        for item in value:
            _walk(item, key, name, fitted=fitted)
    elif isinstance(value, dict):
        for item in sorted(value, key=str):
            key.append(item)
            _walk(value[item], key, "", fitted=fitted)
    elif isinstance(value, _PLAIN):
        if not fitted:
            key.append(repr(value))
        elif isinstance(value, (np.generic, float)):
            _describe(np.asarray(value), key, name)
        else:
            key.append(value if isinstance(value, (str, type, np.dtype)) else kind)
    elif hasattr(value, "get_params") and hasattr(value, "__dict__"):
        key.append(kind)
        attributes = vars(value)
        for item in sorted(attributes):
            if item.startswith(_COUNTS):
                continue  # no graph depends on them but through its arrays
            key.append(item)
            _walk(attributes[item], key, item, fitted=item[-1] == "_" or item[0] == "_")
    elif callable(value):
        key.append(f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', value)!r}")
    else:
        raise _Opaque(kind.__name__)


_COUNTS = ("n_", "_n_", "__n_")
"""Attributes that count rows, iterations and widths."""


def _describe(array: npt.NDArray[Any], key: list[Any], name: str) -> None:
    """Of what fitting made, only what a template cannot fill in."""
    kind = array.dtype.kind
    if name == "categories_" and _is_texts(array):
        key.append("categories")
    elif kind == "f":
        # A width depends on the categories, so only the rank counts; NaN means something of its own.
        missing = np.isnan(array)
        key.append((array.ndim, missing.tobytes() if missing.any() else b""))
    elif kind in "iu" and not array.ndim:
        key.append("count")
    else:
        key.append((array.dtype.str, array.shape, str(array.tolist())))


def _tagged(model: Any, seed: int) -> Any:
    """A copy whose fitted numbers are random and all different, away from 0 and 1."""
    tagged = copy.deepcopy(model)
    random = np.random.default_rng(seed)
    for path, value in list(_parts(tagged)):
        if not _fitted(path) or not _is_numbers(value):
            continue
        if isinstance(value, np.ndarray) and value.ndim:
            values = random.uniform(1.5, 2.5, value.shape)
            value[...] = np.where(np.isnan(value), value, values)
        elif path[-1][0] == "attribute":
            setattr(_at(tagged, path[:-1]), path[-1][1], type(value)(random.uniform(1.5, 2.5)))
    return tagged


# -- finding the places ------------------------------------------------------------------------------------


def _template(model: Any, signature: Signature) -> _Template | None:
    """Explain every place of the graph that depends on the fit; ``None`` where one cannot be explained."""
    first, second = _tagged(model, 1), _tagged(model, 2)
    try:
        graphs = convert(first, signature), convert(second, signature)
    except Exception:
        return None
    slots = []
    for (get, one), (_, two) in zip(_places(graphs[0]), _places(graphs[1]), strict=True):
        same = _same(one, two)
        if one.dtype.kind == "f" and not same:
            found = _explain(first, one) & _explain(second, two)
            if not found:
                return None
            slots.append(_Slot(get, *sorted(found, key=str)[0]))
        elif one.dtype.kind == "O":
            texts = [
                (path, "texts")
                for path, value in _parts(model)
                if _is_texts(value) and list(value) == list(one) and _fitted(path)
            ]
            if texts:
                slots.append(_Slot(get, *texts[0]))
        elif one.dtype.kind == "i" and one.shape == (2,) and one[0] == -1:
            encoders = [path for path in _encoders(model) if sum(map(len, _at(model, path))) == one[1]]
            if len(encoders) == 1:
                slots.append(_Slot(get, encoders[0], "width"))
        elif not same:
            return None
    template = _Template(graphs[0], tuple(slots))
    # A choice that follows from fitted numbers (which features are selected, say) may be the same for both tags.
    return (
        template if _alike(onnx.load_from_string(template.fill(model)), convert(model, signature)) else None
    )


def _alike(one: onnx.ModelProto, other: onnx.ModelProto) -> bool:
    """Whether two graphs have the same constants."""
    places = [[values for _, values in _places(graph)] for graph in (one, other)]
    return len(places[0]) == len(places[1]) and all(map(_same, *places))


def _same(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> bool:
    return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


def _encoders(model: Any) -> list[Path]:
    """Paths of the `categories_` of every encoder."""
    found = dict.fromkeys(
        path[:-1] for path, _ in _parts(model) if path[-2:-1] == (("attribute", "categories_"),)
    )
    return [path for path in found if all(_is_texts(categories) for categories in _at(model, path))]


def _explain(model: Any, place: npt.NDArray[Any]) -> set[tuple[Path, str]]:
    """The fitted arrays and expressions that give exactly these numbers."""
    return {
        (path, name)
        for path, value in _parts(model)
        if _fitted(path) and _is_numbers(value)
        for name, expression in _EXPRESSIONS.items()
        if np.array_equal(
            expression(np.asarray(value, dtype=np.float64)).astype(np.float32), place, equal_nan=True
        )
    }


def _places(graph: onnx.ModelProto) -> Iterator[tuple[Callable[[onnx.ModelProto], Any], npt.NDArray[Any]]]:
    """Every constant of a graph: how to reach it in a copy, and its values."""
    for number, tensor in enumerate(graph.graph.initializer):
        array = numpy_helper.to_array(tensor)
        yield partial(_initializer, number), array.ravel() if array.dtype.kind != "i" else array
    for number, node in enumerate(graph.graph.node):
        for position, attribute in enumerate(node.attribute):
            if attribute.type == onnx.AttributeProto.FLOATS:
                values: npt.NDArray[Any] = np.array(attribute.floats, dtype=np.float32)
            elif attribute.type == onnx.AttributeProto.FLOAT:
                values = np.array([attribute.f], dtype=np.float32)
            elif attribute.type == onnx.AttributeProto.STRINGS:
                values = np.array([text.decode() for text in attribute.strings], dtype=object)
            elif attribute.type in (onnx.AttributeProto.INTS, onnx.AttributeProto.INT):
                values = np.array([*attribute.ints, attribute.i], dtype=np.int64)
            else:
                continue
            yield partial(_attribute, number, position), values


def _initializer(number: int, graph: onnx.ModelProto) -> Any:
    return graph.graph.initializer[number]


def _attribute(number: int, position: int, graph: onnx.ModelProto) -> Any:
    return graph.graph.node[number].attribute[position]
