"""A package: everything that is needed to serve a model version, and the proof that it is the same model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from modelworks.models.signature import Signature

KEPT = "kept"
"""Stands for the flavor of a model that has not been read."""


@dataclass(frozen=True)
class Proof:
    """Whether the compiled model answers as the original does, on real held-out rows.

    Attributes:
        rows: Number of rows on which both were compared.
        largest_difference: Largest absolute difference of any output; ``None`` where nothing was compiled.
        tolerance: The difference that was allowed.
        reason: Why the model is served natively; ``""`` where it is served compiled.
    """

    rows: int
    largest_difference: float | None
    tolerance: float
    reason: str = ""


@dataclass(frozen=True)
class Package:
    """What the making line hands over.

    Attributes:
        signature: Inputs and output.
        flavor: Framework of the original, a name in the catalog of flavors.
        native: Digest of the original in the artifact store.
        compiled: Digest of the ONNX graph, ``None`` where it could not be compiled or proven.
        proof: Of the compiled graph against the original.
        reference: Digest of the reference sketch (see ``monitor``): how features and outputs were
            distributed when the model was made; ``None`` where there is none.
        environment: Digest of the list of installed packages and the Python version.
        code: Digest of the source of the definition.
        rows: Digest of the rows that it learned from and was judged by, as its fit saw them; ``""`` where
            they are not known.
    """

    signature: Signature
    flavor: str
    native: str
    compiled: str | None
    proof: Proof
    reference: str | None
    environment: str
    code: str
    rows: str = ""

    @property
    def kept(self) -> bool:
        """Whether it is kept as it came, and cannot be served; the proof says why."""
        return self.flavor == KEPT

    @property
    def served(self) -> str:
        """How it is served: ``"compiled"``, ``"native"``; ``"kept"`` where it is not."""
        return KEPT if self.kept else "native" if self.compiled is None else "compiled"

    def because(self, reason: str) -> Package:
        """The same, with another reason."""
        return replace(self, proof=replace(self.proof, reason=reason))

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {**vars(self), "signature": self.signature.to_json(), "proof": dict(vars(self.proof))}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Package:
        """The inverse of `to_json`."""
        return cls(
            **{**data, "signature": Signature.from_json(data["signature"]), "proof": Proof(**data["proof"])}
        )


def kept(*, files: str, environment: str, code: str, reason: str) -> Package:
    """The package of a model that is kept as it came.

    Args:
        files: Digest of the list of its files.
        environment: See `Package`.
        code: See `Package`.
        reason: Why it cannot be served.
    """
    return Package(
        Signature((), "other"), KEPT, files, None, Proof(0, None, 0.0, reason), None, environment, code
    )
