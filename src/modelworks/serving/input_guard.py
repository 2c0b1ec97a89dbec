"""The input guard: what is odd about rows, by what the training of the version that answers them saw."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Literal

import numpy as np
import numpy.typing as npt
import orjson

from modelworks.core.batch import Floats, Texts
from modelworks.core.errors import BadValue, ModelworksError
from modelworks.core.measure import Reference
from modelworks.core.seen import Seen
from modelworks.deploy.inputs import Inputs, Oddity
from modelworks.models.package import Package
from modelworks.models.signature import Signature
from modelworks.stores.artifacts import Artifacts

_log = logging.getLogger("modelworks.serving")
_WHY: Mapping[str, str] = {
    "missing": "it has no value, and always had one when the model was trained",
    "unknown": "the training never saw this text there",
    "out_of_range": "it is beyond what the training saw",
}


@dataclass(frozen=True, slots=True)
class Odd:
    """One value that the training did not see.

    Attributes:
        row: Position of its row.
        column: Its column.
        kind: What is odd; ``"cut"`` of an answer that was not given to its end.
        refused: Whether it is refused for that.
    """

    row: int
    column: str
    kind: Oddity | Literal["cut"]
    refused: bool

    def told(self, row: int) -> BadValue:
        """The same as what is told of a request, where it is row `row`."""
        return BadValue(row, self.column, self.kind, _WHY[self.kind])


@dataclass(frozen=True)
class Guard:
    """Looks at rows in the layout of one version.

    Attributes:
        takes: What the version takes.
        policy: What is done about what is odd.
        read: Reads what its training saw, once; ``None`` where nobody knows.
    """

    takes: Signature
    policy: Inputs
    read: Callable[[], Seen | None]

    def under(self, policy: Inputs) -> Guard:
        """The same with another policy."""
        return self if policy == self.policy else Guard(self.takes, policy, self.read)

    def usual(self, numbers: Sequence[float], texts: Sequence[str]) -> bool:
        """Whether nothing is odd about one row, for which a loop is quicker than arrays are.

        A number that is missing, or within float32's precision of a bound, is left to `odd`.
        """
        bounds, words = self._bounds
        try:
            for value, (low, high) in zip(numbers, bounds, strict=True):
                if not low <= value <= high:
                    return False
        except TypeError:
            return False
        return all(texts[place] in known for place, known in words)

    def odd(self, numbers: Floats, texts: Texts) -> list[Odd] | None:
        """What is odd; ``None`` if nothing is, which costs two operations on arrays for all rows together.

        Args:
            numbers: As in a `Batch`.
            texts: As in a `Batch`.
        """
        low, high, words = self._usual
        # Clipped to the same bytes: nothing is beyond its bounds; a NaN stays one, and is looked at where it matters.
        clipped = np.minimum(np.maximum(numbers, low), high)
        if clipped.tobytes() == numbers.tobytes() and not (self._gaps and np.isnan(numbers).any()):
            for place, known in words:
                if not known.issuperset(texts[:, place].tolist()):
                    break
            else:
                return None
        return self._odd(numbers, texts) or None

    def _odd(self, numbers: Floats, texts: Texts) -> list[Odd]:
        low, high, words = self._usual
        found: list[Odd] = []
        with np.errstate(invalid="ignore"):
            beyond = (numbers < low) | (numbers > high)
        looked: list[tuple[Oddity, npt.NDArray[np.bool_]]] = [("out_of_range", beyond)]
        if self._gaps:
            strict = {field.name for field in self.takes.inputs if not field.nullable}
            looked.append(("missing", np.isnan(numbers) & [name in strict for name in self.takes.numbers]))
        for kind, which in looked:
            found += [
                self._one(row, self.takes.numbers[place], kind) for row, place in np.argwhere(which).tolist()
            ]
        for place, known in words:
            name = self.takes.texts[place]
            column = texts[:, place].tolist()
            found += [self._one(row, name, "unknown") for row, text in enumerate(column) if text not in known]
        return found

    def _one(self, row: int, column: str, kind: Oddity) -> Odd:
        return Odd(row, column, kind, self.policy.action(kind) == "reject")

    @cached_property
    def _gaps(self) -> bool:
        """Whether anybody wants to know of a number that is missing and never was."""
        return self.policy.missing == "flag" and any(not field.nullable for field in self.takes.inputs)

    @cached_property
    def _bounds(self) -> tuple[list[tuple[float, float]], Sequence[tuple[int, frozenset[str]]]]:
        """What `_usual` says, as plain numbers."""
        low, high, words = self._usual
        return list(zip(low.tolist(), high.tolist(), strict=True)), words

    @cached_property
    def _usual(self) -> tuple[Floats, Floats, Sequence[tuple[int, frozenset[str]]]]:
        """Bounds of the numbers, shape (numbers,), and the known texts by place."""
        none = np.full(len(self.takes.numbers), np.inf, np.float32)
        seen = self.read()
        if seen is None or len(seen.lows) != len(none) or len(seen.texts) != len(self.takes.texts):
            return -none, none, ()
        low, high = -none, none
        if self.policy.out_of_range != "pass":
            low, high = _widened(seen, self.policy.margin)
        words = [(place, known) for place, known in enumerate(seen.texts) if known is not None]
        return low, high, words if self.policy.unknown != "pass" else ()


def guard_of(package: Package, artifacts: Artifacts, policy: Inputs) -> Guard:
    """The guard of a version."""
    return Guard(package.signature, policy, partial(_seen, package.reference, artifacts))


def flags(odd: Sequence[Odd]) -> bytes:
    """What is odd of one row, as it is answered and logged: JSON, never the value itself."""
    return orjson.dumps([{"column": one.column, "kind": one.kind} for one in odd])


def _seen(reference: str | None, artifacts: Artifacts) -> Seen | None:
    if reference is None:
        return None
    try:
        return Reference.from_bytes(artifacts.get(reference)).seen
    except ModelworksError as error:  # a version that answers is worth more than one that is guarded
        _log.warning("requests are not held against what a training saw: %s", error)
        return None


def _widened(seen: Seen, margin: float) -> tuple[Floats, Floats]:
    """Numbers that a training saw none of are bounded by nothing."""
    lows, highs = (one.astype(np.float64) for one in (seen.lows, seen.highs))
    beyond = np.nan_to_num((highs - lows) * margin)
    low: npt.NDArray[np.float64] = np.where(np.isnan(lows), -np.inf, lows - beyond)
    high: npt.NDArray[np.float64] = np.where(np.isnan(highs), np.inf, highs + beyond)
    with np.errstate(over="ignore"):
        return low.astype(np.float32), high.astype(np.float32)
