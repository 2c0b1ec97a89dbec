"""From a batch to the one matrix of numbers that gradient-boosted trees take, texts as codes of categories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from modelworks.core.batch import Batch, Floats
from modelworks.core.errors import Invalid
from modelworks.models.signature import Signature

Categories = tuple[str | float, ...]
"""Texts, or numbers."""


@dataclass(frozen=True)
class Column:
    """One column of the matrix.

    Attributes:
        text: Whether it is made of a text input; of a number otherwise.
        place: Which of the text inputs, or of the numbers, it is made of.
        categories: The values whose position is the code; ``None`` for a number as it is.
    """

    text: bool
    place: int
    categories: Categories | None

    @cached_property
    def codes(self) -> dict[str | float, int]:
        """Code of each category."""
        return {value: code for code, value in enumerate(self.categories or ())}


@dataclass(frozen=True)
class Matrix:
    """What is put where. A category that is not among those of the fit is a missing value: NaN."""

    columns: tuple[Column, ...]

    @cached_property
    def _numbers(self) -> tuple[list[int], list[int]] | None:
        """Columns and places of the numbers; ``None`` where all of them, in order, are the whole matrix."""
        plain = [(at, one.place) for at, one in enumerate(self.columns) if one.categories is None]
        if [(at, at) for at in range(len(self.columns))] == plain:
            return None
        return [at for at, _ in plain], [place for _, place in plain]

    def of(self, batch: Batch) -> Floats:
        """The matrix of a batch: float32, shape (rows, columns)."""
        if self._numbers is None and batch.numbers.shape[1] == len(self.columns):
            return batch.numbers
        made: Floats = np.empty((len(batch), len(self.columns)), dtype=np.float32)
        to, where = self._numbers or ([*range(len(self.columns))],) * 2
        made[:, to] = batch.numbers[:, where]
        for at, column in enumerate(self.columns):
            if column.categories is not None:
                values = (batch.texts if column.text else batch.numbers)[:, column.place].tolist()
                codes = column.codes
                made[:, at] = [codes.get(value, np.nan) for value in values]
        return made


def matrix(
    signature: Signature, names: Sequence[str], categories: Sequence[Categories | None], library: str
) -> Matrix:
    """Which inputs the columns of a model are made of.

    Args:
        signature: What the model takes.
        names: Its columns as the library knows them: the names of the inputs, or others for all inputs in order.
        categories: Those of each column; ``None`` where its numbers are taken as they are.
        library: For messages.

    Raises:
        Invalid: the columns are not the inputs, or a text has no categories.
    """
    inputs = [field.name for field in signature.inputs]
    known = {name.replace(" ", "_"): name for name in inputs} | {name: name for name in inputs}
    if all(name in known for name in names):
        wanted = [known[name] for name in names]
    elif len(names) == len(inputs):
        wanted = inputs
    else:
        raise Invalid(
            f"the {library} model has {len(names)} columns, the definition {len(inputs)} features",
            f"it was fitted on {', '.join(names[:10])}",
            "fit it on the features as they come, or name only those that it takes",
        )
    columns = []
    for name, known_values in zip(wanted, categories, strict=True):
        text = name in signature.texts
        if text and known_values is None:
            raise Invalid(
                f"the {library} model takes {name!r} as a number, but it is a text",
                "it was fitted on codes of which it does not know the meaning",
                f"fit it on X.astype({{{name!r}: 'category'}}), so that it keeps the categories",
            )
        place = (signature.texts if text else signature.numbers).index(name)
        columns.append(Column(text, place, known_values))
    return Matrix(tuple(columns))
