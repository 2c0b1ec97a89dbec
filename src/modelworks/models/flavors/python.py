"""Any Python function: it is given a frame, and answers each of its rows; or it yields, and is given row by row."""

from __future__ import annotations

import pickle
import sys
import sysconfig
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from inspect import isgeneratorfunction
from pathlib import Path
from types import FunctionType, MethodType, ModuleType
from typing import Any

import cloudpickle
import numpy as np
import numpy.typing as npt

from modelworks.core.batch import Batch
from modelworks.core.errors import Invalid
from modelworks.core.schema import Field
from modelworks.models.flavors.port import Answers, Example
from modelworks.models.layout import to_frame, to_rows
from modelworks.models.predictor import shaped, whole
from modelworks.models.signature import Signature

_INSTALLED = tuple(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))


@dataclass(frozen=True)
class FunctionPredictor:
    """A function that answers batches through a frame like that of the fit."""

    function: Any
    signature: Signature

    def predict(self, batch: Batch) -> npt.NDArray[Any]:
        """See `Predictor.predict`."""
        return shaped(self.function(to_frame(batch, self.signature)), self.signature, len(batch))


@dataclass(frozen=True)
class YieldingPredictor:
    """A function with ``yield``: called with each row, a dict, it gives the answer piece by piece.

    A missing number is NaN, a missing text "".
    """

    function: Any
    signature: Signature

    def stream(self, batch: Batch) -> Generator[tuple[int, Any], None, None]:
        """See `Streaming.stream`."""
        for place, row in enumerate(to_rows(batch, self.signature)):
            for piece in self.function(row):
                yield place, piece

    def predict(self, batch: Batch) -> npt.NDArray[Any]:
        """See `Predictor.predict`."""
        found: list[list[Any]] = [[] for _ in range(len(batch))]
        for place, piece in self.stream(batch):
            found[place].append(piece)
        return shaped([whole(pieces) for pieces in found], self.signature, len(batch))


def yields(model: Any) -> bool:
    """Whether what a model does when it is called is a function with ``yield``."""
    plain = isinstance(model, FunctionType | MethodType | partial)
    return isgeneratorfunction(model if plain else type(model).__call__)


class PythonFlavor:
    """Functions, methods and partials, and objects that can be called.

    The native form is a pickle of the function's code, by value: it needs no file of the user's to be loaded. As
    with scikit-learn's, only what this factory itself has written is ever loaded.
    """

    name = "python"
    pickled = True

    def accepts(self, model: Any) -> bool:
        """See `Flavor.accepts`."""
        return isinstance(model, FunctionType | MethodType | partial) or (
            callable(model) and not isinstance(model, type)
        )

    def inputs(self, model: Any) -> tuple[Field, ...] | None:
        """See `Flavor.inputs`."""
        return None

    def answers(self, model: Any, example: Example) -> Answers:
        """See `Flavor.answers`: probabilities if it has ``classes_`` or rows that add up to 1, else values.

        Of a function that yields: plain data.
        """
        batch = example.rows()
        try:
            if yields(model):
                YieldingPredictor(model, example.takes).predict(batch)
                return "other", ()
            made = model(to_frame(batch, example.takes))
        except Exception as error:
            raise Invalid(
                "the function does not answer its first rows", f"{type(error).__name__}: {error}",
                "it is called with a frame of the features; one that yields with each row, a dict",
            ) from error  # fmt: skip
        array = np.asarray(made) if not isinstance(made, list) else _array(made)
        classes = getattr(model, "classes_", None)
        if array.dtype.kind not in "fiub" or array.ndim > 2:
            return "other", ()
        width = array.shape[1] if array.ndim == 2 else 1
        if classes is None and width == 1:
            return "regression", ()
        sums = width == 1 or np.allclose(array.sum(axis=1), 1, atol=1e-3)
        if classes is None and not (sums and (array >= 0).all()):
            return "other", ()
        labels = example.labels(width) if classes is None else tuple(np.asarray(classes).tolist())
        return "binary" if len(labels) == 2 else "multiclass", labels

    def dump(self, model: Any, signature: Signature) -> bytes:
        """See `Flavor.dump`."""
        try:
            with _by_value(model):
                content: bytes = cloudpickle.dumps(model, protocol=5)
                return content
        except Exception as error:
            raise Invalid(
                "the function cannot be stored", str(error), "keep open files and connections out of it"
            ) from error

    def load(self, content: bytes) -> Any:
        """See `Flavor.load`."""
        return pickle.loads(content)  # noqa: S301 - see the class

    def predictor(self, model: Any, signature: Signature) -> FunctionPredictor | YieldingPredictor:
        """See `Flavor.predictor`."""
        return (YieldingPredictor if yields(model) else FunctionPredictor)(model, signature)

    def compile(self, model: Any, signature: Signature, *, template: bool) -> bytes:
        """See `Flavor.compile`."""
        raise Invalid("a Python function has no ONNX form", "", "it is served natively")


def _array(made: list[Any]) -> npt.NDArray[Any]:
    """A list of answers as an array; of objects, where they are not plain numbers."""
    try:
        return np.asarray(made)
    except ValueError:
        return np.empty(len(made), dtype=object)


@contextmanager
def _by_value(model: Any) -> Iterator[None]:
    """Pickle the code of the module that a function comes from, unless it is an installed one."""
    inner = model.func if isinstance(model, partial) else model
    module = sys.modules.get(getattr(inner, "__module__", None) or type(inner).__module__)
    if module is None or module.__name__ == "__main__" or _installed(module):
        yield
        return
    cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        cloudpickle.unregister_pickle_by_value(module)


def _installed(module: ModuleType) -> bool:
    file = getattr(module, "__file__", None)
    return file is None or any(Path(file).is_relative_to(folder) for folder in _INSTALLED)


PYTHON = PythonFlavor()
