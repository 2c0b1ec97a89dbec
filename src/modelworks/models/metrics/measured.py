"""Several metrics of one model's answers."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from modelworks.models.metrics import METRICS
from modelworks.models.signature import Signature


def metrics(
    names: Sequence[str], signature: Signature, y: npt.NDArray[Any], scores: npt.NDArray[np.float32]
) -> Mapping[str, float | None]:
    """Each metric on the given rows; ``None`` where it is undefined there.

    Args:
        names: Names in the catalog of metrics.
        signature: Of the model that gave the scores.
        y: Truth, shape (rows,).
        scores: Shape (rows, classes), or (rows, 1) for a regression.
    """
    values: dict[str, float | None] = {}
    if signature.task == "other":  # the metrics of the house compare numbers
        return dict.fromkeys(names)
    for name in names:
        with warnings.catch_warnings():  # an undefined metric is said by its value
            warnings.simplefilter("ignore")
            value = float(METRICS[name](y, scores, signature.classes))
        values[name] = value if math.isfinite(value) else None
    return values
