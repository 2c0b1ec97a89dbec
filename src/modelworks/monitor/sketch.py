"""The sketch of a window: counts and sums of one model version, which add up over any span of time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from modelworks.core.measure import OUTPUT_BINS, WIDTH

Counts = npt.NDArray[np.int64]
_SUMS = ("rows", "labelled", "output", "loss", "loss_squared")


@dataclass(frozen=True)
class Sketches:
    """Sketches of any number of windows, stacked.

    Attributes:
        sums: float64, shape (windows, 5): rows, labelled rows, sum of the main score, sum of the loss of the
            labelled rows and of its square. The loss is log loss (nats) or the squared error.
        features: Counts, shape (windows, features, WIDTH).
        output: Counts of the main score, shape (windows, OUTPUT_BINS).
        labels: Counts of the main score of rows without and with the event, shape (windows, 2, OUTPUT_BINS).
    """

    sums: npt.NDArray[np.float64]
    features: Counts
    output: Counts
    labels: Counts

    def __len__(self) -> int:
        return len(self.sums)

    def merge(self, which: npt.NDArray[np.int64], groups: int) -> Sketches:
        """Add windows up by group: `which` is the group of each window, shape (windows,)."""

        def added(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
            total = np.zeros((groups, *values.shape[1:]), values.dtype)
            np.add.at(total, which, values)
            return total

        return Sketches(added(self.sums), added(self.features), added(self.output), added(self.labels))

    def pack(self) -> list[bytes]:
        """Each window as bytes: the sums as float64, then the counts as int32, little-endian."""
        counts = np.concatenate(
            [self.features.reshape(len(self), -1), self.output, self.labels.reshape(len(self), -1)], axis=1
        ).astype("<i4")
        sums = self.sums.astype("<f8")
        return [sums[row].tobytes() + counts[row].tobytes() for row in range(len(self))]

    @classmethod
    def unpack(cls, packed: Sequence[bytes]) -> Sketches:
        """The inverse of `pack`; all windows must have the same number of features."""
        if not packed:
            return cls(
                np.zeros((0, len(_SUMS))), np.zeros((0, 0, WIDTH), np.int64), np.zeros((0, OUTPUT_BINS), np.int64),
                np.zeros((0, 2, OUTPUT_BINS), np.int64),
            )  # fmt: skip
        head = len(_SUMS) * 8
        features = ((len(packed[0]) - head) // 4 - 3 * OUTPUT_BINS) // WIDTH
        kind = np.dtype(
            [
                ("sums", "<f8", len(_SUMS)), ("features", "<i4", (features, WIDTH)),
                ("output", "<i4", OUTPUT_BINS), ("labels", "<i4", (2, OUTPUT_BINS)),
            ]
        )  # fmt: skip
        table = np.frombuffer(b"".join(packed), dtype=kind)
        return cls(
            table["sums"].copy(),
            table["features"].astype(np.int64),
            table["output"].astype(np.int64),
            table["labels"].astype(np.int64),
        )
