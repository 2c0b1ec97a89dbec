"""A predictor answers a batch; how it was loaded (compiled or native) does not show."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from modelworks.core.batch import Batch
from modelworks.core.errors import Invalid
from modelworks.models.signature import Signature


class Predictor(Protocol):
    """One loaded model version."""

    def predict(self, batch: Batch) -> npt.NDArray[Any]:
        """Answer every row of a batch.

        Returns:
            float32, shape (rows, classes): probabilities in the order of the signature's classes;
            for a regression, float32, shape (rows, 1): the values;
            for the task "other", object, shape (rows, 1): plain data, as JSON can hold it.
        """
        ...


@runtime_checkable
class Streaming(Predictor, Protocol):
    """One that gives its answers piece by piece, and joined (see `whole`) where it is asked for them at once."""

    def stream(self, batch: Batch) -> Generator[tuple[int, Any], None, None]:
        """Answer the rows of a batch one after the other.

        Yields:
            The position of a row, and the next piece of its answer: plain data, as JSON can hold it.
        """
        ...


@runtime_checkable
class Learning(Predictor, Protocol):
    """One whose model goes on learning, row by row."""

    def learn(self, batch: Batch, truth: Sequence[Any]) -> npt.NDArray[Any]:
        """Answer each row of a batch, then learn from it, before the next.

        Source: test-then-train, the prequential evaluation of Dawid, "Statistical Theory: The Prequential
        Approach", JRSS A 147 (1984); Gama, Sebastiao and Rodrigues, "On evaluating stream learning algorithms",
        Machine Learning 90 (2013).

        Args:
            batch: The rows, in the order in which they are to be learned.
            truth: What each of them turned out to be, as the targets of the fit were.

        Returns:
            The answers, each given before its row was learned; as `predict` gives them.
        """
        ...


def whole(pieces: Sequence[Any]) -> Any:
    """The answer that pieces make: of texts one text, of anything else a list; ``""`` of none."""
    return "".join(pieces) if all(isinstance(piece, str) for piece in pieces) else list(pieces)


def shaped(answers: Any, signature: Signature, rows: int) -> npt.NDArray[Any]:
    """What a framework answered, in the shape that `Predictor.predict` promises.

    Args:
        answers: Values, shape (rows,) or (rows, 1); probabilities, shape (rows, classes); of two classes also
            that of the second alone, shape (rows,) or (rows, 1); anything, one a row, for the task "other".
        signature: What the model gives.
        rows: How many were asked.

    Raises:
        Invalid: the shape is none of these.
    """
    if signature.task == "other":
        return _plain(answers, rows)
    scores = np.asarray(answers, dtype=np.float32)
    width = len(signature.classes) or 1
    if signature.task == "binary" and scores.size == rows and scores.shape[:1] == (rows,):
        second = scores.reshape(rows)
        return np.column_stack([np.float32(1) - second, second])
    if scores.shape == (rows,) and width == 1:
        return scores.reshape(rows, 1)
    if scores.shape != (rows, width):
        raise Invalid(
            f"the model gives an array of shape {scores.shape}",
            f"of {rows} rows with {width} {'classes' if signature.classes else 'value'} it is {(rows, width)}",
            "let it give one row of numbers for each row it is asked",
        )
    return scores


def watched(answer: Any) -> float:
    """The number by which a plain answer is watched: itself, or how many items a list has; NaN for any other."""
    if isinstance(answer, int | float | np.number):
        return float(answer)
    return float(len(answer)) if isinstance(answer, list | tuple) else float("nan")


def _plain(answers: Sequence[Any], rows: int) -> npt.NDArray[np.object_]:
    if isinstance(answers, np.ndarray):
        answers = (answers[:, 0] if answers.ndim == 2 and answers.shape[1] == 1 else answers).tolist()
    if len(answers) != rows:
        raise Invalid(
            f"the model gives {len(answers)} answers for {rows} rows", "", "let it give one for each row"
        )
    return plain_column(answers)


def plain_column(answers: Sequence[Any]) -> npt.NDArray[np.object_]:
    """Plain answers as `Predictor.predict` gives them, shape (rows, 1); also such as are lists of one length."""
    column = np.empty((len(answers), 1), dtype=object)
    for row, answer in enumerate(answers):
        column[row, 0] = answer
    return column
