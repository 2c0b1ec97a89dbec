"""How features and outputs were distributed, as counts in bins: small, merged by addition, compared later.

A `Reference` is made with a model version, of its held-out rows. It fixes the bins; the rows that the version
answers later are counted in the same bins (`Reference.count`, or `count` for many versions at once), so that
any two windows of one version are merged by adding their counts, and comparing costs the same for ten rows or
ten million.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from heapq import nsmallest
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from modelworks.core.batch import Batch, Floats
from modelworks.core.errors import Invalid
from modelworks.core.packed import pack, unpack
from modelworks.core.seen import Seen

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

FEATURE_BINS = 11
"""Bins of a feature: ten by quantile (numbers) or nine categories and the others (texts); then "missing"."""
OUTPUT_BINS = 20
"""Bins of the output: equal ones on [0, 1] for probabilities, by quantile for values."""
LABELS = 3
"""Rows of `Counts.outputs`: the event did not happen, it happened, nothing is known of it."""

_CUTS = FEATURE_BINS - 2
_OTHER, _MISSING = FEATURE_BINS - 2, FEATURE_BINS - 1
_VERSION = 1
_BIN_ROWS = 10
"""Rows that a quantile bin gets at least."""
_FEWEST_BINS = 3


@dataclass(frozen=True, eq=False)
class Counts:
    """Rows by bin.

    Attributes:
        features: int64, shape (..., features, `FEATURE_BINS`).
        outputs: int64, shape (..., `LABELS`, `OUTPUT_BINS`).
    """

    features: Ints
    outputs: Ints

    def __add__(self, other: Counts) -> Counts:
        """The counts of both sets of rows together."""
        return Counts(self.features + other.features, self.outputs + other.outputs)


class _Stored(msgspec.Struct, array_like=True):
    """A reference as bytes: raw little-endian arrays and text, nothing that could be executed."""

    version: int
    edges: bytes
    categories: list[list[str]]
    output_edges: bytes
    features: bytes
    outputs: bytes
    seen: bytes | None = None
    judged: bytes | None = None
    main_effects: bytes | None = None


@dataclass(frozen=True, eq=False)
class Reference:
    """The bins of one model version, and how its held-out rows fell into them.

    Features are in the order of a batch: numbers, then texts.

    Attributes:
        edges: float32, shape (numbers, 9): bin i holds what is at or above edge i - 1 and below edge i.
        categories: For each text the up to nine commonest values, the commonest first.
        output_edges: float64, shape (19,), in the same sense.
        features: int64, shape (numbers + texts, 11).
        outputs: int64, shape (20,).
        seen: What all rows of the training held, where that is known; the bins are those of some of them.
        judged: Where the truth was known, of the rows in each bin of the output: in how many the event came (the
            answer was right), sum and sum of squares of their losses; float64, shape (3, 20).
        main_effects: By how much a row's output is higher for being in each bin of a feature, and the variance of
            that; float64, shape (2, numbers + texts, 11). See `core.main_effects`.
    """

    edges: Floats
    categories: tuple[tuple[str, ...], ...]
    output_edges: Doubles
    features: Ints
    outputs: Ints
    seen: Seen | None = None
    judged: Doubles | None = None
    main_effects: Doubles | None = None

    @cached_property
    def held(self) -> Doubles:
        """Rows of each bin of the output, and `judged` of them, shape (4, 20); no rows at all without that."""
        return np.zeros((4, OUTPUT_BINS)) if self.judged is None else np.vstack([self.outputs, self.judged])

    @cached_property
    def rows(self) -> int:
        """Number of rows whose outputs it was made of."""
        return int(self.outputs.sum())

    def outputs_alone(self) -> Reference:
        """The same without the features."""
        return replace(
            self, edges=self.edges[:0], categories=(), features=self.features[:0], main_effects=None
        )

    @classmethod
    def build(
        cls,
        batch: Batch,
        scores: npt.NDArray[Any],
        probabilities: bool | None = None,
        truth: tuple[npt.NDArray[Any], npt.NDArray[Any]] | None = None,
    ) -> Reference:
        """Choose bins for rows, and count the rows.

        Edges are deciles of the values that are there; of few values coarser ones, for a bin of fewer than
        ten rows says nothing that a test could rely on. A value so common that two edges coincide on it gets
        a bin of its own, so that even a constant column can be seen to change.

        Args:
            batch: The rows whose features are counted.
            scores: Main outputs, shape (any,): those of rows that the model has not learned from, which may be
                fewer.
            probabilities: Whether the outputs are probabilities; by default, whether all are in [0, 1].
            truth: Of the same rows as the outputs: whether the event came (or the answer was right), and the loss;
                each of shape (any,).
        """
        scores = np.asarray(scores, np.float64)
        if probabilities is None:
            probabilities = bool(((scores >= 0) & (scores <= 1)).all())
        if probabilities:
            output_edges = np.arange(1, OUTPUT_BINS, dtype=np.float64) / OUTPUT_BINS
        else:
            output_edges = _cuts(np.sort(scores)[None, :], OUTPUT_BINS - 1)[0]
        columns = np.sort(np.ascontiguousarray(batch.numbers.T), axis=1)  # NaN at the end
        edges: Floats = _cuts(columns, _CUTS)
        tallies = [Counter(column) for column in batch.texts.T.tolist()]
        categories = tuple(_commonest(tally) for tally in tallies)
        features = np.concatenate([_number_counts(columns, edges), _text_counts(tallies, categories)])
        bins = _output_bins(output_edges[None], None, scores)
        there = bins >= 0
        outputs = np.bincount(bins[there], minlength=OUTPUT_BINS)
        made = cls(edges, categories, output_edges, features, outputs)
        if truth is None:
            return made
        each = np.stack([truth[0], truth[1], np.square(truth[1])])[:, there]
        judged = [np.bincount(bins[there], one, OUTPUT_BINS) for one in each]
        return replace(made, judged=np.array(judged, np.float64))

    def count(self, batch: Batch, scores: npt.NDArray[Any], y: npt.NDArray[Any] | None = None) -> Counts:
        """Count rows in the bins of this reference.

        Args:
            batch: The rows.
            scores: Main output of each, shape (rows,).
            y: Whether the event happened, 1 or 0, shape (rows,); NaN where it is not known.
        """
        one = np.zeros(len(batch), np.int64)
        counts = count([self], one, batch, scores, y, one, 1)
        return Counts(counts.features[0], counts.outputs[0])

    def bins(self, batch: Batch) -> npt.NDArray[np.uint8]:
        """The bin of every value, shape (numbers + texts, rows)."""
        one = np.zeros(len(batch), np.int64)
        numbers = _number_bins(self.edges[None], None, batch.numbers)
        return np.concatenate([numbers, _text_bins([self], one, batch.texts)])

    def to_bytes(self) -> bytes:
        """As bytes, up to two hundred for each feature."""
        stored = _Stored(
            _VERSION,
            self.edges.astype("<f4").tobytes(),
            [list(values) for values in self.categories],
            self.output_edges.astype("<f8").tobytes(),
            pack(self.features.reshape(1, -1))[0],
            pack(self.outputs.reshape(1, -1))[0],
            None if self.seen is None else self.seen.to_bytes(),
            None if self.judged is None else self.judged.astype("<f8").tobytes(),
            None if self.main_effects is None else self.main_effects.astype("<f4").tobytes(),
        )
        return msgspec.msgpack.encode(stored)

    @classmethod
    def from_bytes(cls, content: bytes) -> Reference:
        """The inverse of `to_bytes`.

        Raises:
            Invalid: `content` is not a reference.
        """
        try:
            stored = msgspec.msgpack.decode(content, type=_Stored)
            if stored.version != _VERSION:
                raise ValueError(f"it is of version {stored.version}, this is {_VERSION}")
            edges = np.frombuffer(stored.edges, "<f4").astype(np.float32).reshape(-1, _CUTS)
            output_edges = (
                np.frombuffer(stored.output_edges, "<f8").astype(np.float64).reshape(OUTPUT_BINS - 1)
            )
            features = len(edges) + len(stored.categories)
            if any(len(values) > _CUTS for values in stored.categories):
                raise ValueError("it has too many categories")
            return cls(
                edges,
                tuple(tuple(values) for values in stored.categories),
                output_edges,
                unpack([stored.features], features * FEATURE_BINS)
                .astype(np.int64)
                .reshape(features, FEATURE_BINS),
                unpack([stored.outputs], OUTPUT_BINS)[0].astype(np.int64),
                None if stored.seen is None else Seen.from_bytes(stored.seen),
                None
                if stored.judged is None
                else np.frombuffer(stored.judged, "<f8").astype(np.float64).reshape(3, OUTPUT_BINS),
                None
                if stored.main_effects is None
                else np.frombuffer(stored.main_effects, "<f4")
                .astype(np.float64)
                .reshape(2, features, FEATURE_BINS),
            )
        except (msgspec.DecodeError, ValueError) as error:
            raise Invalid(
                "this is not a reference sketch", str(error), "train the model again to make one"
            ) from error


def count(
    references: Sequence[Reference],
    of: Ints,
    batch: Batch,
    scores: npt.NDArray[Any],
    y: npt.NDArray[Any] | None,
    group: Ints,
    groups: int,
) -> Counts:
    """Count rows of many model versions at once, each in the bins of its version.

    Args:
        references: Of the versions; all have the same features.
        of: For each row the place of its version in `references`, shape (rows,).
        batch: The rows.
        scores: Main output of each, shape (rows,).
        y: Whether the event happened, 1 or 0, shape (rows,); NaN where it is not known.
        group: What to count together, for each row a number below `groups`, shape (rows,).
        groups: Number of groups.

    Returns:
        Counts with `groups` as the first dimension.
    """
    which = None if len(references) == 1 else of
    edges = np.stack([reference.edges for reference in references])
    outputs = np.stack([reference.output_edges for reference in references])
    bins = np.concatenate(
        [_number_bins(edges, which, batch.numbers), _text_bins(references, of, batch.texts)]
    )
    label = np.full(len(batch), LABELS - 1)
    if y is not None:
        label[y == 0], label[y == 1] = 0, 1
    output = _output_bins(outputs, which, np.asarray(scores, np.float64))
    there = output >= 0
    cells = (label * OUTPUT_BINS + output)[None, there]
    return Counts(
        _tally(bins, group, groups, FEATURE_BINS),
        _tally(cells, group[there], groups, LABELS * OUTPUT_BINS).reshape(groups, LABELS, OUTPUT_BINS),
    )


def _cuts(columns: npt.NDArray[Any], cuts: int) -> npt.NDArray[Any]:
    """Inner edges of bins of about equal counts, shape (columns, cuts); infinite where fewer are needed.

    Args:
        columns: Values in ascending order, NaN last; shape (columns, rows).
        cuts: Largest number of edges.
    """
    kinds, rows = columns.shape
    if not rows or not kinds:
        return np.full((kinds, cuts), np.inf, columns.dtype)
    there = (rows - np.isnan(columns).sum(axis=1))[:, None]
    bins = np.clip(there // _BIN_ROWS, _FEWEST_BINS, cuts + 1)
    number = np.arange(1, cuts + 1)
    edges = np.take_along_axis(columns, np.minimum(number * there // bins, rows - 1), axis=1)
    edges[(number >= bins) | (there == 0)] = np.inf
    again = np.zeros(edges.shape, np.bool_)
    again[:, 1:] = edges[:, 1:] == edges[:, :-1]
    second = again.copy()
    second[:, 1:] &= ~again[:, :-1]
    edges[second] = np.nextafter(edges[second], np.array(np.inf, edges.dtype))
    edges[again & ~second] = np.inf
    edges.sort(axis=1)
    return edges


def _number_counts(columns: Floats, edges: Floats) -> Ints:
    """Counts of sorted columns, NaN last, shape (numbers, 11), by the place of each edge among the values."""
    kinds, rows = columns.shape
    counts = np.zeros((kinds, FEATURE_BINS), np.int64)
    there = rows - np.isnan(columns).sum(axis=1)
    below = np.zeros((kinds, _CUTS + 2), np.int64)
    for column in range(kinds):
        below[column, 1:-1] = np.searchsorted(columns[column, : there[column]], edges[column])
    below[:, -1] = there
    counts[:, :_MISSING] = np.diff(below, axis=1)
    counts[:, _MISSING] = rows - there
    return counts


def _number_bins(edges: Floats, which: Ints | None, numbers: Floats) -> npt.NDArray[np.uint8]:
    """The bin of every value, shape (numbers, rows); `edges` is (versions, numbers, 9)."""
    columns = np.ascontiguousarray(numbers.T)
    bins = np.zeros(columns.shape, np.uint8)
    for cut in range(edges.shape[2]):
        bins += columns >= (edges[0, :, cut, None] if which is None else edges[which, :, cut].T)
    bins[np.isnan(columns)] = _MISSING
    return bins


def _text_bins(
    references: Sequence[Reference], of: Ints, texts: npt.NDArray[np.object_]
) -> npt.NDArray[np.uint8]:
    """The bin of every text, shape (texts, rows): by way of a table of versions by distinct values."""
    bins = np.empty(texts.shape[::-1], np.uint8)
    for column, values in enumerate(texts.T.tolist()):
        codes = {value: code for code, value in enumerate(dict.fromkeys(values))}
        table = np.full((len(references), len(codes)), _OTHER, np.uint8)
        lengths = [len(reference.categories[column]) for reference in references]
        chosen = [codes.get(value, -1) for reference in references for value in reference.categories[column]]
        code = np.array(chosen, np.int64)
        version = np.repeat(np.arange(len(references)), lengths)
        place = np.arange(len(code)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        table[version[code >= 0], code[code >= 0]] = place[code >= 0]
        if "" in codes:
            table[:, codes[""]] = _MISSING
        bins[column] = table[of, np.fromiter(map(codes.__getitem__, values), np.int64, len(values))]
    return bins


def _text_counts(tallies: Sequence[Counter[str]], categories: Sequence[tuple[str, ...]]) -> Ints:
    """Counts of the rows that chose the categories, shape (texts, 11)."""
    counts = np.zeros((len(tallies), FEATURE_BINS), np.int64)
    for text, (tally, chosen) in enumerate(zip(tallies, categories, strict=True)):
        counts[text, : len(chosen)] = [tally[value] for value in chosen]
        counts[text, _MISSING] = tally[""]
        counts[text, _OTHER] = tally.total() - counts[text].sum()
    return counts


def _commonest(tally: Counter[str]) -> tuple[str, ...]:
    found = nsmallest(_CUTS, [(-rows, value) for value, rows in tally.items() if value != ""])
    return tuple(value for _, value in found)


def _output_bins(edges: Doubles, which: Ints | None, scores: Doubles) -> Ints:
    """The bin of every output, shape (rows,); -1 for what is no number. `edges` is (versions, 19)."""
    if which is None:
        bins = np.searchsorted(edges[0], scores, side="right").astype(np.int64)
    else:
        bins = np.zeros(len(scores), np.int64)
        for cut in range(edges.shape[1]):
            bins += scores >= edges[which, cut]
    bins[np.isnan(scores)] = -1
    return bins


def _tally(bins: npt.NDArray[Any], group: Ints, groups: int, size: int) -> Ints:
    """How often each bin occurs: int64, (groups, columns, size); `bins` is (columns, rows), below `size`."""
    columns = len(bins)
    cells = group * (columns * size) + bins + np.arange(columns)[:, None] * size
    return np.bincount(cells.ravel(), minlength=groups * columns * size).reshape(groups, columns, size)
