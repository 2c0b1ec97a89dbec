"""Between frames and batches: the one place that says how a missing value looks.

A missing number is NaN, a missing text ``""``: in the frame that a fit sees, in a batch, and in the compiled
graph. Numbers pass through float32, so that the original and the compiled model are given the same values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from modelworks.core.batch import Batch, Floats, Texts
from modelworks.models.signature import Signature

if TYPE_CHECKING:
    import pandas as pd

    Columns = pd.DataFrame | Mapping[str, npt.NDArray[Any]]


def to_batch(columns: Columns, signature: Signature) -> Batch:
    """The rows of a frame, or of arrays by column name, in the layout of a signature."""
    given = {field.name: columns[field.name] for field in signature.inputs}
    rows = len(next(iter(given.values()), ()))
    numbers: Floats = np.empty((rows, len(signature.numbers)), dtype=np.float32)
    for position, name in enumerate(signature.numbers):
        values = given[name]
        if not isinstance(values, np.ndarray):  # pandas has kinds of missing of its own
            values = values.to_numpy(dtype=np.float32, na_value=np.nan)
        numbers[:, position] = values
    texts: Texts = np.empty((rows, len(signature.texts)), dtype=object)
    for position, name in enumerate(signature.texts):
        values = np.asarray(given[name], dtype=object)
        texts[:, position] = [value if isinstance(value, str) else "" for value in values]
    return Batch(numbers, texts)


def to_rows(batch: Batch, signature: Signature) -> list[dict[str, Any]]:
    """The rows of a batch as dicts: numbers first, then texts."""
    numbers, texts = signature.numbers, signature.texts
    return [
        dict(zip(numbers, row, strict=True)) | dict(zip(texts, more, strict=True))
        for row, more in zip(batch.numbers.astype(np.float64).tolist(), batch.texts.tolist(), strict=True)
    ]


def to_frame(batch: Batch, signature: Signature) -> pd.DataFrame:
    """The rows of a batch as the frame that a fit saw: numbers float64, texts object, columns in order.

    Two blocks of memory and a plain index of column names: scikit-learn selects columns again and again, and
    each selection from such a frame costs a fifth less.
    """
    import pandas as pd

    names = [field.name for field in signature.inputs]
    numbers = batch.numbers.astype(np.float64)
    parts = [
        (signature.numbers, pd.DataFrame(numbers, columns=signature.numbers, copy=False)),
        (signature.texts, pd.DataFrame(batch.texts, columns=signature.texts, dtype=object, copy=True)),
    ]
    # An empty part comes last; else the one whose column is the first.
    parts.sort(key=lambda part: names.index(part[0][0]) if part[0] else len(names))
    frame = pd.concat([part for _, part in parts], axis=1)
    if names != [name for part, _ in parts for name in part]:
        frame = frame[names]
    frame.columns = pd.Index(names, dtype=object)
    return frame
