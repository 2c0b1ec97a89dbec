"""The port of flavors: how a framework's models are stored, loaded and asked."""

from __future__ import annotations

from typing import Any, Protocol

from modelworks.models.predictor import Predictor
from modelworks.models.signature import Signature


class Flavor(Protocol):
    """One framework."""

    name: str

    def accepts(self, model: Any) -> bool:
        """Whether `model` is one of this framework's."""
        ...

    def dump(self, model: Any) -> bytes:
        """The model as bytes.

        Raises:
            Invalid: it cannot be stored.
        """
        ...

    def load(self, content: bytes) -> Any:
        """The inverse of `dump`; only for what this factory itself has written."""
        ...

    def predictor(self, model: Any, signature: Signature) -> Predictor:
        """The model, ready to answer batches."""
        ...

    def compile(self, model: Any, signature: Signature, *, template: bool) -> bytes:
        """The model as an ONNX graph: see `modelworks.models.compile`.

        Args:
            model: The fitted model.
            signature: What it takes and gives.
            template: Whether a graph of the same structure may be filled, instead of a conversion from scratch.

        Raises:
            Invalid: it cannot be compiled; the reason is for users to read.
        """
        ...
