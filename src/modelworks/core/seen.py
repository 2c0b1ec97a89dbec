"""What the rows of a training held: how far numbers went, and which texts there were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from modelworks.core.batch import Floats

MOST = 1_000
"""Different texts of a column up to which they are kept; one with more is no category, anything may come there."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What a model learned from and was judged by, column by column, in the order of a batch.

    Attributes:
        lows: float32, shape (numbers,): the smallest value; NaN where there was none.
        highs: The largest.
        texts: For each text the values, ``""`` for a missing one; ``None`` where there were more than `MOST`.
    """

    lows: Floats
    highs: Floats
    texts: tuple[frozenset[str] | None, ...]

    @classmethod
    def of(
        cls, columns: Mapping[str, npt.NDArray[Any]], numbers: Sequence[str], texts: Sequence[str]
    ) -> Seen:
        """Read it off arrays by column name, of at least one row."""
        lows: Floats = np.full(len(numbers), np.nan, np.float32)
        highs = lows.copy()
        for place, name in enumerate(numbers):
            values = np.asarray(columns[name]).astype(np.float32, copy=False)
            lows[place], highs[place] = np.fmin.reduce(values), np.fmax.reduce(values)
        return cls(lows, highs, tuple(_different(columns[name]) for name in texts))

    def to_bytes(self) -> bytes:
        """As bytes."""
        listed = [None if one is None else sorted(one) for one in self.texts]
        numbers = (one.astype("<f4").tobytes() for one in (self.lows, self.highs))
        return msgspec.msgpack.encode((*numbers, listed))

    @classmethod
    def from_bytes(cls, content: bytes) -> Seen:
        """The inverse of `to_bytes`.

        Raises:
            msgspec.DecodeError: it is something else.
            ValueError: its parts do not fit together.
        """
        kept = msgspec.msgpack.decode(content, type=tuple[bytes, bytes, list[list[str] | None]])
        lows, highs = (np.frombuffer(one, "<f4").astype(np.float32) for one in kept[:2])
        if len(lows) != len(highs):
            raise ValueError("what was seen has bounds for different columns")
        return cls(lows, highs, tuple(None if one is None else frozenset(one) for one in kept[2]))


def _different(values: npt.NDArray[Any]) -> frozenset[str] | None:
    found = {value if isinstance(value, str) else "" for value in set(np.asarray(values).tolist())}
    return frozenset(found) if len(found) <= MOST else None
