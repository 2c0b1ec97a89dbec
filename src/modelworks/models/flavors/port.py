"""The port of flavors: how a framework's models are recognised, stored, loaded, asked and compiled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from modelworks.core.batch import Batch
from modelworks.core.schema import Field
from modelworks.models.layout import to_batch
from modelworks.models.predictor import Predictor
from modelworks.models.signature import Label, Signature, Task

if TYPE_CHECKING:
    from modelworks.models.layout import Columns

Answers = tuple[Task, tuple[Label, ...]]
"""The task, and the labels in the order of the probabilities."""

_FEW = 8


@dataclass(frozen=True)
class Example:
    """Rows that a model can answer, for a flavor to find out what it answers.

    Attributes:
        inputs: The features, in order.
        columns: The rows, a frame or arrays by name.
        y: Their targets, shape (rows,), where they are known.
    """

    inputs: tuple[Field, ...]
    columns: Columns
    y: npt.NDArray[Any] | None = None

    @property
    def takes(self) -> Signature:
        """A signature of the inputs alone."""
        return Signature(self.inputs, "other")

    def rows(self) -> Batch:
        """The first few rows."""
        columns: Any = {field.name: self.columns[field.name] for field in self.inputs}
        few = {name: getattr(values, "iloc", values)[:_FEW] for name, values in columns.items()}
        return to_batch(few, self.takes)

    def labels(self, number: int) -> tuple[Label, ...]:
        """The labels in sorted order, where the targets have that many; numbers from 0 otherwise."""
        found = [] if self.y is None else np.unique(self.y).tolist()
        return tuple(found if len(found) == number else range(number))


class Flavor(Protocol):
    """One framework.

    Attributes:
        name: Its name in the catalog.
        pickled: Whether the stored form is a pickle. Loading one runs whatever is in it, so it is only done
            for what this factory itself has written.
    """

    name: str
    pickled: bool

    def accepts(self, model: Any) -> bool:
        """Whether `model` is one of this framework's, told by its type, without importing the framework."""
        ...

    def inputs(self, model: Any) -> tuple[Field, ...] | None:
        """What the model itself says that it takes; ``None`` where it does not."""
        ...

    def answers(self, model: Any, example: Example) -> Answers:
        """What the model answers.

        Raises:
            Invalid: nothing that could be served.
        """
        ...

    def dump(self, model: Any, signature: Signature) -> bytes:
        """The model as bytes.

        Raises:
            Invalid: it cannot be stored.
        """
        ...

    def load(self, content: bytes) -> Any:
        """A model that answers as the dumped one did; it need not be of the same class."""
        ...

    def predictor(self, model: Any, signature: Signature) -> Predictor:
        """The model, ready to answer batches."""
        ...

    def compile(self, model: Any, signature: Signature, *, template: bool) -> bytes:
        """The model as an ONNX graph: see `modelworks.models.compile`.

        Args:
            model: The fitted model.
            signature: What it takes and gives.
            template: Whether a graph of the same structure may be filled, instead of a conversion from scratch.

        Raises:
            Invalid: it cannot be compiled; the reason is for users to read.
        """
        ...


def kinds_of(model: Any, library: str) -> Sequence[str]:
    """Names of the classes of a library that a model is an instance of, its own first."""
    return [
        kind.__name__ for kind in type(model).__mro__ if kind.__module__.partition(".")[0] == library
    ]  # fmt: skip


def numbered(number: int) -> list[str]:
    """Names for columns that have none."""
    return [f"f{place}" for place in range(number)]
