"""What answers the rows of a batch, chosen once for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import polars as pl

from modelworks.core.ref import Segment, parse_segment, segment_text
from modelworks.core.schema import Field
from modelworks.deploy.inputs import Inputs
from modelworks.deploy.log import Log
from modelworks.models.package import Package
from modelworks.models.signature import Signature
from modelworks.serving.columns import merge
from modelworks.serving.declared import Declared

Form = Literal["number", "classes", "json"]
"""What the column ``output`` holds: a number; the likeliest label, with a probability for each; JSON."""

OWN = ("row", "segment", "version", "output", "error", "flags")
"""Columns that every answer has."""


@dataclass(frozen=True)
class Version:
    """A version that answers."""

    version: int
    package: Package

    @property
    def signature(self) -> Signature:
        """What it takes and gives."""
        return self.package.signature


@dataclass(frozen=True)
class Scoring:
    """What answers, chosen once for all rows of a batch.

    Attributes:
        declared: The model.
        routed: Whether each row goes to its segment's version; else all go to the only one.
        versions: What answers, by segment.
    """

    declared: Declared
    routed: bool
    versions: Mapping[Segment, Version]

    @cached_property
    def form(self) -> Form:
        """What all answers have in common."""
        tasks = {one.signature.task for one in self.versions.values()}
        if tasks <= {"binary", "regression"}:
            return "number"
        return "classes" if tasks == {"multiclass"} else "json"

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Every label that any version knows, where a label is answered."""
        if self.form != "classes":
            return ()
        known = (str(label) for one in self.versions.values() for label in one.signature.classes)
        return tuple(dict.fromkeys(known))

    @cached_property
    def schema(self) -> dict[str, Any]:
        """The columns of the answers."""
        output = pl.Float32 if self.form == "number" else pl.String
        return {
            "segment": pl.String,
            "version": pl.Int32,
            "output": output,
            **{f"probability_{label}": pl.Float32 for label in self.classes},
            "error": pl.String,
            "flags": pl.String,
        }

    @cached_property
    def nullable(self) -> frozenset[str]:
        """The inputs that may be missing: as the server merges the versions that are live."""
        declared = self.declared
        signatures = [one.signature for one in self.versions.values()]
        may = declared.nullable(signatures)
        columns = merge(signatures, declared.per if self.routed else (), None, None, may, {})
        return frozenset(one.name for one in columns if one.nullable)

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Every column that any version, or the way to it, needs."""
        names = [one.name for version in self.versions.values() for one in version.signature.inputs]
        return tuple(dict.fromkeys([*(self.declared.per if self.routed else ()), *names]))

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        declared = self.declared
        return {
            "declared": {
                **vars(declared),
                "contract": [one.to_json() for one in declared.contract],
                "holdout": None,  # all rows are answered by the model
            },
            "routed": self.routed,
            "versions": {
                segment_text(segment): {"version": one.version, "package": one.package.to_json()}
                for segment, one in self.versions.items()
            },
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Scoring:
        """The inverse of `to_json`."""
        told = data["declared"]
        lists = {name: tuple(told[name]) for name in ("per", "features")}
        contract = tuple(Field.from_json(one) for one in told["contract"])
        policies = {"inputs": Inputs.from_json(told["inputs"]), "log": Log.from_json(told["log"])}
        versions = {
            parse_segment(segment): Version(one["version"], Package.from_json(one["package"]))
            for segment, one in data["versions"].items()
        }
        return cls(Declared(**{**told, **lists, **policies, "contract": contract}), data["routed"], versions)
