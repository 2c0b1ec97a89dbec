"""What a prediction is worth: by what was answered and what came, or by a function of the row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import orjson
import polars as pl

from modelworks.core.errors import Invalid
from modelworks.train.environment import source_of

Floats = npt.NDArray[np.floating[Any]]
Doubles = npt.NDArray[np.float64]


class Value(Protocol):
    """What predictions are worth."""

    @property
    def unit(self) -> str:
        """What is counted, for instance ``"EUR"``."""

    @property
    def rule(self) -> str:
        """Tells this way of counting from any other: a digest."""

    def each(self, rows: pl.DataFrame, happened: Doubles, output: Doubles) -> Doubles:
        """What each row is worth, shape (n,).

        Args:
            rows: With ``inputs`` (JSON), ``value`` and ``label`` (the truth), ``event_time``.
            happened: Whether the event of a binary model came, shape (n,); NaN where that is not known.
            output: What was answered, shape (n,); NaN for nothing.

        Raises:
            Invalid: that cannot be told.
        """


@dataclass(frozen=True)
class Payoff:
    """The value of each kind of answer of a binary model, in `unit`.

    Attributes:
        tp: Acted, and the event came.
        fp: Acted, and it did not come.
        fn: Did not act, and the event came.
        tn: Did not act, and it did not come.
        unit: What is counted, for instance ``"EUR"``.
    """

    tp: float = 0.0
    fp: float = 0.0
    fn: float = 0.0
    tn: float = 0.0
    unit: str = "EUR"

    @property
    def rule(self) -> str:
        """Tells this way of counting from any other."""
        return _digest(repr(self))

    @property
    def threshold(self) -> float:
        """The probability from which acting has the higher expected payoff.

        Acting pays ``p tp + (1-p) fp``, waiting ``p fn + (1-p) tn``; they are equal at
        ``(tn - fp) / ((tn - fp) + (tp - fn))``. Source: Elkan, The Foundations of Cost-Sensitive
        Learning, IJCAI 2001, equation 2.
        """
        gain, cost = self.tp - self.fn, self.tn - self.fp
        if gain + cost <= 0:
            return 0.0 if gain > 0 else 1.0
        return float(np.clip(cost / (gain + cost), 0.0, 1.0))

    def each(self, _rows: pl.DataFrame | None, happened: npt.NDArray[Any], output: Floats) -> Doubles:
        """What acting wherever `output` reaches the threshold is worth, by row; see `Value`.

        Where nothing was answered nobody acts; where it is not known what came, it is NaN.
        """
        with np.errstate(invalid="ignore"):
            act = output >= self.threshold
        event = happened == 1
        worth = np.where(act, np.where(event, self.tp, self.fp), np.where(event, self.fn, self.tn))
        return np.where(np.isnan(happened.astype(np.float64)), np.nan, worth)

    def total(self, happened: npt.NDArray[Any], probability: Floats) -> float:
        """The payoff of acting wherever `probability` reaches the threshold.

        Args:
            happened: Whether the event came, shape (n,), 0 or 1.
            probability: Predicted probability of the event, shape (n,).
        """
        return float(self.each(None, happened, probability).sum())


@dataclass(frozen=True)
class Worth:
    """What each prediction is worth, by a function of yours.

    Attributes:
        function: Takes a pandas frame, a row each whose truth is known: the inputs as they were sent, ``output`` (the
            probability or the number that was answered, NaN where nothing was), ``truth`` (a number, or a text) and
            ``time``. Gives a number a row.
        unit: What is counted, for instance ``"EUR"``.
    """

    function: Callable[[Any], Any]
    unit: str = "EUR"

    @property
    def rule(self) -> str:
        """Tells this way of counting from any other, by the function's source."""
        return _digest(self.unit + source_of(self.function))

    def each(self, rows: pl.DataFrame, _happened: Doubles | None, output: Doubles) -> Doubles:
        """What the function says; see `Value`.

        Raises:
            Invalid: it fails, or gives something else than a finite number a row.
        """
        return self.of(rows)(output)

    def of(self, rows: pl.DataFrame) -> Callable[[Doubles], Doubles]:
        """What the function says of many answers to the same rows, which are read once; as `each`."""
        # pandas takes long to load, and is needed where there is such a function alone.
        import pandas as pd

        frame = pd.DataFrame([orjson.loads(text) for text in rows["inputs"]], index=range(len(rows)))
        truth: Any = rows["value"] if rows["label"].null_count() == len(rows) else rows["label"]
        truth, time = truth.to_numpy(), rows["event_time"].to_numpy()
        return lambda output: self._told(frame.assign(output=output, truth=truth, time=time))

    def _told(self, frame: Any) -> Doubles:
        name = getattr(self.function, "__name__", "the function")
        fix = f"let {name} of mw.Worth give a number for each row of the frame that it is given"
        try:
            worth = np.asarray(self.function(frame), np.float64)
        except Exception as error:
            raise Invalid(
                "what predictions are worth cannot be told",
                f"{name} raised {type(error).__name__}: {error}"[:500],
                fix,
            ) from error
        if worth.shape != (len(frame),) or not np.isfinite(worth).all():
            odd = f"shape {worth.shape}" if worth.shape != (len(frame),) else "what is not finite"
            raise Invalid("what predictions are worth cannot be told", f"{name} gave {odd}", fix)
        return worth


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:32]
