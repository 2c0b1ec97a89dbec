"""The signature of a fitted model, read off the rows it was fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from modelworks.core.errors import Invalid
from modelworks.core.schema import Field, Kind
from modelworks.models.flavors import flavor_of
from modelworks.models.flavors.port import Example
from modelworks.models.predictor import Streaming
from modelworks.models.signature import Signature

if TYPE_CHECKING:
    from modelworks.models.layout import Columns

_KINDS = {
    "f": Kind.NUMBER,
    "i": Kind.INTEGER,
    "u": Kind.INTEGER,
    "b": Kind.BOOL,
    "O": Kind.TEXT,
    "U": Kind.TEXT,
}


def signature(columns: Columns, y: npt.NDArray[Any] | None, features: Sequence[str], model: Any) -> Signature:
    """What `model` takes and gives.

    A number may be missing in a request where it was missing in the rows of the fit, a text always: it is
    ``""``, one more category that was not seen.

    Args:
        columns: Rows of the fit, a frame or arrays by name, with the columns `features`.
        y: Their targets, shape (rows,), where they are known: the labels of a model that does not know them.
        features: The inputs, in order.
        model: The fitted model.

    Raises:
        Invalid: a feature holds neither numbers nor texts, or the model's answers cannot be served.
    """
    inputs = tuple(_field(name, np.asarray(columns[name])) for name in features)
    flavor = flavor_of(model)
    made = Signature(inputs, *flavor.answers(model, Example(inputs, columns, y)))
    if made.task != "other":
        return made
    return replace(made, streams=isinstance(flavor.predictor(model, made), Streaming))


def _field(name: str, values: npt.NDArray[Any]) -> Field:
    kind = _KINDS.get(values.dtype.kind)
    if kind is None:
        raise Invalid(
            f"feature {name!r} cannot be an input of a model", f"its values are of type {values.dtype}",
            "use numbers, booleans or texts; turn a time into numbers (hour, weekday) when the data is prepared",
        )  # fmt: skip
    if kind is Kind.TEXT:
        return Field(name, kind, nullable=True)
    return Field(name, kind, nullable=kind is Kind.NUMBER and bool(np.isnan(values).any()))
