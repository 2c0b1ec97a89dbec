"""The sketches of many windows, stacked: counts and sums that add up over any span of time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from modelworks.core.measure import FEATURE_BINS, LABELS, OUTPUT_BINS, Counts, Ints
from modelworks.core.packed import pack, unpack

Doubles = npt.NDArray[np.float64]

SUMS = ("rows", "labelled", "output_sum", "loss_sum", "loss_squares")
"""Columns of `Sketches.sums`, and of the ledger's table ``windows``."""
_OUTPUT_CELLS = LABELS * OUTPUT_BINS


@dataclass(frozen=True, eq=False)
class Spread:
    """How much the windows of each group differ among themselves.

    Attributes:
        windows: How many there are, shape (groups,).
        features: Sum over the windows of ``count^2 / rows``, shape (groups, features, `FEATURE_BINS`).
        outputs: The same, shape (groups, `OUTPUT_BINS`).
        loss: Sums over the windows of ``loss^2``, ``loss * labelled``, ``labelled^2`` where loss is a window's
            sum of the loss, shape (groups, 3).
    """

    windows: Ints
    features: Doubles
    outputs: Doubles
    loss: Doubles


@dataclass(frozen=True, eq=False)
class Sketches:
    """Sketches of any number of windows.

    Attributes:
        sums: float64, shape (windows, 5): rows, labelled rows, sum of the main output, sum of the loss of the
            labelled rows, sum of its square. The loss is the log loss (nats), or the squared error.
        counts: Rows by bin, `windows` being the first dimension; what was unpacked is narrower than int64
            until it is merged. Outputs are counted by label: whether the event came; with several classes,
            whether the answer was right; of values none has a label.
    """

    sums: Doubles
    counts: Counts

    def __len__(self) -> int:
        return len(self.sums)

    def take(self, which: Ints) -> Sketches:
        """Some of the windows, by their places."""
        counts = Counts(self.counts.features[which], self.counts.outputs[which])
        return Sketches(self.sums[which], counts)

    @classmethod
    def joined(cls, parts: Sequence[Sketches]) -> Sketches:
        """The windows of some sketches, one after the other."""
        counts = [one.counts for one in parts]
        return cls(
            np.concatenate([one.sums for one in parts]),
            Counts(
                np.concatenate([one.features for one in counts]),
                np.concatenate([one.outputs for one in counts]),
            ),
        )

    def answers(self) -> Sketches:
        """The same without the features."""
        return Sketches(self.sums, Counts(self.counts.features[:, :0], self.counts.outputs))

    def merge(self, group: Ints, groups: int) -> Sketches:
        """Add windows up: `group` is where each belongs, shape (windows,), below `groups`."""
        order = np.argsort(group, kind="stable")
        ordered = group[order]
        starts = np.flatnonzero(np.diff(ordered, prepend=-1))
        merged = Sketches(
            np.zeros((groups, len(SUMS))),
            Counts(
                np.zeros((groups, *self.counts.features.shape[1:]), np.int64),
                np.zeros((groups, LABELS, OUTPUT_BINS), np.int64),
            ),
        )
        if len(self):
            place = ordered[starts]
            merged.sums[place] = np.add.reduceat(self.sums[order], starts)
            merged.counts.features[place] = np.add.reduceat(
                self.counts.features[order], starts, dtype=np.int64
            )
            merged.counts.outputs[place] = np.add.reduceat(self.counts.outputs[order], starts, dtype=np.int64)
        return merged

    def spread(self, group: Ints, groups: int) -> Spread:
        """How much windows differ within a group: `group` is where each belongs, as for `merge`."""
        order = np.argsort(group, kind="stable")
        ordered = group[order]
        starts = np.flatnonzero(np.diff(ordered, prepend=-1))
        place = ordered[starts]

        def added(values: npt.NDArray[Any]) -> Doubles:
            total = np.zeros((groups, *values.shape[1:]))
            if len(values):
                total[place] = np.add.reduceat(values[order], starts)
            return total

        each = 1 / np.maximum(self.sums[:, 0], 1).astype(np.float32)
        outputs = self.counts.outputs.sum(axis=1, dtype=np.float32)
        labelled, loss = self.sums[:, 1], self.sums[:, 3]
        return Spread(
            np.bincount(group, minlength=groups),
            added(np.square(self.counts.features, dtype=np.float32) * each[:, None, None]),
            added(np.square(outputs) * each[:, None]),
            added(np.column_stack([np.square(loss), loss * labelled, np.square(labelled)])),
        )

    def moves(self, group: Ints, groups: int, features: Doubles, outputs: Doubles) -> Doubles:
        """Sum over the windows of a group of ``(sum of scores)^2 / rows``, shape (groups, features + 1), outputs last.

        Args:
            group: Where each window belongs, as for `merge`.
            groups: Number of groups.
            features: The score of each bin, shape (groups, features, `FEATURE_BINS`); NaN where it has none, which
                leaves its rows out.
            outputs: The same, shape (groups, `OUTPUT_BINS`).
        """
        total = np.zeros((groups, features.shape[1] + 1))
        for column in range(features.shape[1] + 1):
            if column < features.shape[1]:
                counts, scores = self.counts.features[:, column], features[:, column]
            else:
                counts, scores = self.counts.outputs.sum(axis=1), outputs
            there = np.isfinite(scores)
            if there.any():
                summed = np.einsum("wb,wb->w", counts, np.where(there, scores, 0.0)[group])
                rows = np.einsum("wb,wb->w", counts, there[group].astype(np.float64))
                each = np.square(summed) / np.maximum(rows, 1.0)
                total[:, column] = np.bincount(group, each, groups)
        return total

    def pack(self) -> list[bytes]:
        """The counts of each window as bytes, a byte a cell where no count is above 255."""
        cells = [self.counts.features.reshape(len(self), -1), self.counts.outputs.reshape(len(self), -1)]
        return pack(np.concatenate(cells, axis=1))

    @classmethod
    def unpack(cls, sums: Doubles, packed: Sequence[bytes], features: int) -> Sketches:
        """The inverse of `pack`; all windows have that number of features.

        Raises:
            ValueError: one has not.
        """
        split = features * FEATURE_BINS
        cells = unpack(packed, split + _OUTPUT_CELLS)
        counts = Counts(
            cells[:, :split].reshape(-1, features, FEATURE_BINS),
            cells[:, split:].reshape(-1, LABELS, OUTPUT_BINS),
        )
        return cls(sums, counts)


def outputs_alone(packed: Sequence[bytes]) -> npt.NDArray[Any]:
    """The output counts of packed windows, of any number of features: (windows, LABELS, OUTPUT_BINS)."""
    tails = [content[:1] + content[-_OUTPUT_CELLS * content[0] :] for content in packed]
    return unpack(tails, _OUTPUT_CELLS).reshape(-1, LABELS, OUTPUT_BINS)
