"""A dataset as users declare it: a source and a contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from modelworks.core.errors import Invalid
from modelworks.core.ref import check_name
from modelworks.core.schema import ColumnSpec, Field, Kind, as_field
from modelworks.data.features.definition import Expression, Feature
from modelworks.data.sources.port import Source
from modelworks.data.streams.port import Stream
from modelworks.data.version import VERSION

SameKey = Literal["replace", "quarantine", "add"]
"""What happens when a row comes whose key is there already."""


@dataclass(frozen=True, init=False)
class Dataset:
    """A named table with a contract.

    Attributes:
        name: Its name.
        source: Where its rows come from.
        contract: Its columns, in order, by name.
        key: Column whose value names a row; ``None`` without one.
        time: Column of the event time; ``None`` without one.
        same_key: What a row does whose key is there already: see `SameKey`.
        features: What is computed from its columns, by name.
    """

    name: str
    source: Source | Stream
    contract: Mapping[str, Field]
    key: str | None
    time: str | None
    same_key: SameKey
    features: Mapping[str, Feature]

    def __init__(
        self,
        name: str,
        *,
        source: Source | Stream,
        contract: Mapping[str, ColumnSpec],
        key: str | None = None,
        time: str | None = None,
        same_key: SameKey = "replace",
        features: Mapping[str, str | Feature] | None = None,
    ) -> None:
        """Declare a dataset.

        Args:
            name: Its name.
            source: Where its rows come from, for instance ``mw.Files("data/*.parquet")`` or
                ``mw.Nats("FLIGHTS")``.
            contract: Column name to type: ``str``, ``float``, ``int``, ``bool``, ``datetime``, or
                ``mw.Number(...)``, ``mw.Text(...)``, ``mw.Bool()``, ``mw.Time()``.
            key: Column whose value names a row.
            time: Column of the event time.
            same_key: What happens when a row comes whose key is there already: ``"replace"`` the older row (a
                correction), send the new one to ``"quarantine"``, or ``"add"`` it beside the other.
            features: Computed columns, the same in training and serving: a SQL expression over the row,
                ``mw.AsOf(...)`` or ``mw.Rolling(...)``.

        Raises:
            Invalid: a column without a known type, a reserved name, a key or time column that the
                contract lacks, an unknown `same_key`.
        """
        check_name(name, "dataset name")
        fields = {column: as_field(column, spec) for column, spec in contract.items()}
        if not fields:
            raise Invalid(f"dataset {name!r} has an empty contract", "", "name its columns and their types")
        if VERSION in fields:
            raise Invalid(
                f"the column {VERSION} of dataset {name!r} is taken", "Modelworks keeps it", "rename it"
            )
        for role, column in (("key", key), ("time", time)):
            if column is not None and column not in fields:
                raise Invalid(
                    f"the {role} column {column!r} of dataset {name!r} is not in its contract",
                    f"the contract has {', '.join(fields)}",
                    "correct the name, or add the column to the contract",
                )
        if time is not None and fields[time].kind is not Kind.TIME:
            raise Invalid(
                f"the time column {time!r} of dataset {name!r} holds no times",
                f"the contract says {fields[time].kind}",
                "declare it as mw.Time()",
            )
        if same_key not in get_args(SameKey):
            raise Invalid(
                f"dataset {name!r} has same_key={same_key!r}",
                "",
                f"choose one of {', '.join(get_args(SameKey))}",
            )
        made = {
            feature: Expression(how) if isinstance(how, str) else how
            for feature, how in (features or {}).items()
        }
        for attribute, value in (
            ("name", name),
            ("source", source),
            ("contract", fields),
            ("key", key),
            ("time", time),
            ("same_key", same_key),
            ("features", made),
        ):
            object.__setattr__(self, attribute, value)

    @property
    def streamed(self) -> bool:
        """Whether its rows come from a stream, which can be followed."""
        return isinstance(self.source, Stream)
