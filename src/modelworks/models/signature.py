"""What a model takes and what it gives: the contract between the making line and its callers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from modelworks.core.schema import Field, Kind

Task = Literal["binary", "multiclass", "regression", "other"]
"""``"other"``: what is answered is not numbers but plain data, for instance a list of named entities."""
Label = str | int | float | bool


@dataclass(frozen=True)
class Signature:
    """Inputs and output of a model version.

    Attributes:
        inputs: The features, in the order of the definition.
        task: What is predicted.
        classes: The labels, in the column order of the probabilities; ``()`` where there are none.
        streams: Whether answers come piece by piece.
    """

    inputs: tuple[Field, ...]
    task: Task
    classes: tuple[Label, ...] = ()
    streams: bool = False

    @property
    def numbers(self) -> tuple[str, ...]:
        """Names of the numeric inputs (numbers, integers, booleans), in order."""
        return tuple(field.name for field in self.inputs if field.kind is not Kind.TEXT)

    @property
    def texts(self) -> tuple[str, ...]:
        """Names of the text inputs, in order."""
        return tuple(field.name for field in self.inputs if field.kind is Kind.TEXT)

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "inputs": _as_json(self.inputs),
            "task": self.task,
            "classes": list(self.classes),
            **({"streams": True} if self.streams else {}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Signature:
        """The inverse of `to_json`."""
        inputs = tuple(Field.from_json(f) for f in data["inputs"])
        return cls(inputs, data["task"], tuple(data["classes"]), bool(data.get("streams", False)))


@lru_cache(maxsize=4_096)
def _as_json(inputs: tuple[Field, ...]) -> list[dict[str, Any]]:
    """Hundreds of segments share their inputs; what is returned is only ever read."""
    return [field.to_json() for field in inputs]
