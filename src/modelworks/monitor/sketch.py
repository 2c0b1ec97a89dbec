"""The sketch of a window: counts and sums of one model version, which add up over any span of time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from modelworks.core.measure import FEATURE_BINS, LABELS, OUTPUT_BINS, Counts, pack, unpack

_SUMS = 5
_HEAD = _SUMS * 8
_OUTPUT_CELLS = LABELS * OUTPUT_BINS


@dataclass(frozen=True, eq=False)
class Sketches:
    """Sketches of any number of windows, stacked.

    Attributes:
        sums: float64, shape (windows, 5): rows, labelled rows, sum of the main score, sum of the loss of the
            labelled rows and of its square. The loss is log loss (nats) or the squared error.
        counts: Feature and output counts, windows being the first dimension.
    """

    sums: npt.NDArray[np.float64]
    counts: Counts

    def __len__(self) -> int:
        return len(self.sums)

    @property
    def output(self) -> npt.NDArray[np.int64]:
        """Counts of the main score whatever became of the rows, shape (windows, OUTPUT_BINS)."""
        total: npt.NDArray[np.int64] = self.counts.outputs.sum(axis=1)
        return total

    def merge(self, which: npt.NDArray[np.int64], groups: int) -> Sketches:
        """Add windows up by group: `which` is the group of each window, shape (windows,)."""
        sums = np.zeros((groups, _SUMS))
        features = np.zeros((groups, *self.counts.features.shape[1:]), np.int64)
        outputs = np.zeros((groups, *self.counts.outputs.shape[1:]), np.int64)
        np.add.at(sums, which, self.sums)
        np.add.at(features, which, self.counts.features)
        np.add.at(outputs, which, self.counts.outputs)
        return Sketches(sums, Counts(features, outputs))

    def pack(self) -> list[bytes]:
        """Each window as bytes: the sums as little-endian float64, then the counts (see `core.measure.pack`)."""
        cells = np.concatenate(
            [self.counts.features.reshape(len(self), -1), self.counts.outputs.reshape(len(self), -1)], axis=1
        )
        sums = self.sums.astype("<f8")
        return [sums[row].tobytes() + packed for row, packed in enumerate(pack(cells))]

    @classmethod
    def unpack(cls, packed: Sequence[bytes], features: int) -> Sketches:
        """The inverse of `pack` for windows of models with that many features."""
        cells = unpack([content[_HEAD:] for content in packed], features * FEATURE_BINS + _OUTPUT_CELLS)
        sums = np.frombuffer(b"".join(content[:_HEAD] for content in packed), "<f8").reshape(-1, _SUMS)
        return cls(
            sums.copy(),
            Counts(
                cells[:, :-_OUTPUT_CELLS].reshape(-1, features, FEATURE_BINS),
                cells[:, -_OUTPUT_CELLS:].reshape(-1, LABELS, OUTPUT_BINS),
            ),
        )


def features_of(packed: bytes) -> int:
    """The number of features of a packed window."""
    width = packed[_HEAD]
    return ((len(packed) - _HEAD - 1) // width - _OUTPUT_CELLS) // FEATURE_BINS
