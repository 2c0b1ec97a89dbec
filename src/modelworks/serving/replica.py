"""A replica: one model version, loaded and ready to answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from modelworks.core.batch import Batch
from modelworks.core.errors import ModelworksError, Unavailable
from modelworks.core.plain import NUMPY
from modelworks.core.ref import Ref, Segment, segment_text
from modelworks.models.signature import Signature
from modelworks.serving.input_guard import Guard
from modelworks.serving.pieces import Pieces
from modelworks.serving.residency import Resident

Outputs = npt.NDArray[np.float32]
"""Shape (rows, classes) or (rows, 1), as a predictor answers; objects for the task "other"."""

Rows = Sequence[tuple[Any, ...]] | npt.NDArray[Any]
"""Values of some columns, a tuple a row, or as an array."""

_MOST = float(np.finfo(np.float32).max)


class Replica:
    """One model version.

    Attributes:
        ref: Model, segment, version.
        text: The segment's text, ``""`` for the global one.
        signature: What it takes and gives.
        compiled: Whether it is served compiled.
        platform: How it is answered, as the Open Inference Protocol names it.
        guard: Looks at its rows; ``None`` where nobody does.
        lane: Where an event loop gives its rows, since answering them takes time; ``None`` where it takes none.
        discreet: Whether its own words may hold what is sensitive, so that they are not repeated.
        streams: Whether it gives its answers piece by piece.
    """

    def __init__(
        self,
        model: str,
        segment: Segment,
        version: int,
        signature: Signature,
        predictor: Resident,
        compiled: bool,
        guard: Guard | None = None,
        lane: str | None = None,
        discreet: bool = False,
    ) -> None:
        self.ref = Ref(model, segment, version)
        self.version = version
        self.text = segment_text(segment)
        self.signature = signature
        self.predictor = predictor
        self.compiled = compiled
        self.guard = guard
        self.lane = lane
        self.discreet = discreet
        self.streams = signature.streams
        self.platform = "onnxruntime_onnx" if compiled else "modelworks_native"
        tail = b'","version":%d,"segment":%b,"output":' % (version, orjson.dumps(self.text))
        # A template for bytes formatting: a segment's text may hold "%".
        self._item = b'{"id":"%b-%d' + tail.replace(b"%", b"%%") + b"%b}"
        self._binary = signature.task == "binary"
        self._single = self._binary or signature.task == "regression"
        self._column = 1 if self._binary else 0
        self._plain = signature.task == "other"

    def load(self) -> None:
        """Have it in memory before somebody asks.

        Raises:
            Exception: whatever keeps it from being loaded.
        """
        self.predictor.home.load(self.predictor)

    def predict(self, numbers: Rows, texts: Rows) -> Outputs:
        """Answer rows; one with ``None`` for a missing number.

        Raises:
            Unavailable: the model fails on them.
        """
        try:
            outputs: Outputs = self.predictor.predict(_batch(numbers, texts))
        except ModelworksError:
            raise
        except Exception as error:
            raise self.failed(error) from (None if self.discreet else error)
        return outputs

    def stream(self, numbers: Rows, texts: Rows) -> Pieces:
        """Answer rows piece by piece, if it `streams`; what goes wrong is raised by the pieces, as it came.

        Raises:
            ModelworksError: it cannot be loaded.
        """
        return self.predictor.stream(_batch(numbers, texts))

    def failed(self, error: Exception) -> ModelworksError:
        """What is told of an error of the model."""
        if isinstance(error, ModelworksError):
            return error
        said = type(error).__name__ if self.discreet else f"{type(error).__name__}: {error}"
        return Unavailable(f"{self.ref} failed on this input", said, "correct the rows, or roll back")

    def fragments(self, outputs: Outputs) -> list[bytes] | None:
        """The outputs as JSON, one a row; ``None`` if any is not a finite number, or cannot be JSON."""
        if self._plain:
            try:
                return [orjson.dumps(answer, option=NUMPY) for answer in outputs[:, 0].tolist()]
            except TypeError:
                return None
        if self._single:
            if len(outputs) == 1:
                value = outputs.item(self._column)
                return [b"%.9g" % value] if -_MOST <= value <= _MOST else None
            values = outputs[:, self._column].tolist()
            for value in values:
                if not -_MOST <= value <= _MOST:
                    return None
            # 9 digits bring every float32 back as it was.
            return [b"%.9g" % value for value in values]
        if not np.isfinite(outputs).all():
            return None
        classes = self.signature.classes
        return [
            orjson.dumps(
                {"label": classes[best], "probabilities": dict(zip(classes, row, strict=True))}, option=NUMPY
            )
            for best, row in zip(outputs.argmax(axis=1).tolist(), outputs, strict=True)
        ]

    def item(self, request: bytes, row: int, fragment: bytes) -> bytes:
        """One answered row as JSON.

        Args:
            request: Id of the request; the row's is ``REQUEST-ROW``.
            row: Position of the row in the request.
            fragment: Of `fragments`.
        """
        return self._item % (request, row, fragment)


def _batch(numbers: Rows, texts: Rows) -> Batch:
    return Batch(np.asarray(numbers, dtype=np.float32), np.asarray(texts, dtype=object))
