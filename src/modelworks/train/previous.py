"""The version that a model goes on from: its fitted model, and the rows that it has not seen."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from modelworks.core.errors import NotReady
from modelworks.data.version import VERSION
from modelworks.models.flavors import FLAVORS
from modelworks.models.package import Package
from modelworks.registry.model_version import ModelVersion
from modelworks.stores.artifacts import Artifacts
from modelworks.train.columns import Columns


@dataclass(frozen=True)
class Previous:
    """A version that a training of this factory has made.

    Attributes:
        ref: Its reference, in full.
        package: The model.
        dataset_version: What it learned from.
        since: Where the rows begin from which it, and those that it went on from, have learned; a moment.
        until: Where they end, microseconds since 1970.
    """

    ref: str
    package: Package
    dataset_version: int
    since: str
    until: int

    @classmethod
    def of(cls, version: ModelVersion) -> Previous:
        """A version that was trained on rows of a dataset, as what is gone on from."""
        assert version.dataset_version is not None
        until = datetime.fromisoformat(version.rows_filter["time <"])
        return cls(
            str(version.ref),
            version.package,
            version.dataset_version,
            str(version.rows_filter["time >="]),
            round(until.timestamp() * 1e6),
        )


def original(previous: Previous, artifacts: Artifacts) -> Any:
    """Its fitted model, a copy of its own for whoever goes on from it."""
    package = previous.package
    return FLAVORS[package.flavor].load(artifacts.get(package.native))


def unseen(
    columns: Columns, rows: npt.NDArray[np.int64], time: npt.NDArray[np.int64], previous: Previous
) -> npt.NDArray[np.int64]:
    """Places of the rows from which neither it nor one before it has learned.

    A row that came late, or was corrected, is one of a newer dataset version, and unseen whatever its time.

    Args:
        columns: Where the rows are.
        rows: Those to learn from.
        time: Their times, microseconds since 1970.
        previous: What is gone on from.

    Raises:
        NotReady: there is none.
    """
    seen = (columns.raw[VERSION][rows] <= previous.dataset_version) & (time < previous.until)
    if seen.all():
        raise NotReady(f"none of its {len(rows)} rows to learn from is new since {previous.ref}")
    return np.flatnonzero(~seen)
