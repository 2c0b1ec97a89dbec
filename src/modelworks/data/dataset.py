"""A dataset as users declare it: a source and a contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import polars as pl

from modelworks.core.defined import note
from modelworks.core.errors import Invalid
from modelworks.core.ref import check_name
from modelworks.core.schema import ColumnSpec, Field, Kind, as_field
from modelworks.data.checks.port import BatchRule, RowRule, Rule
from modelworks.data.checks.row import Rule as SqlRule
from modelworks.data.contract import TYPES
from modelworks.data.features.definition import Expression, Feature
from modelworks.data.sources.port import Incremental, Source
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
        rules: What has to hold beyond single columns.
    """

    name: str
    source: Source | Incremental | Stream
    contract: Mapping[str, Field]
    key: str | None
    time: str | None
    same_key: SameKey
    features: Mapping[str, Feature]
    rules: tuple[Rule, ...]

    def __init__(
        self,
        name: str,
        *,
        source: Source | Incremental | Stream,
        contract: Mapping[str, ColumnSpec],
        key: str | None = None,
        time: str | None = None,
        same_key: SameKey = "replace",
        features: Mapping[str, str | Feature] | None = None,
        rules: Sequence[str | Rule] = (),
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
            rules: What has to hold beyond single columns: a SQL expression or ``mw.Rule(...)`` over a row,
                ``mw.Fresh(...)``, ``mw.Rows(...)`` or ``mw.Steady(...)`` over all that comes in at once.

        Raises:
            Invalid: a column without a known type, a reserved name, a key or time column that the
                contract lacks, an unknown `same_key`, a rule about what the dataset lacks.
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
            if column is not None and fields[column].sensitive:
                raise Invalid(
                    f"the {role} column {column!r} of dataset {name!r} cannot be sensitive",
                    "predictions are joined with what became of them by it, and forgotten by it",
                    "use a key that says nothing of a person",
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
        if isinstance(source, Incremental) and source.again and (key is None or same_key == "add"):
            raise Invalid(
                f"dataset {name!r} would get all rows of its source again whenever one changes",
                "the source has no cursor, and the dataset no key that tells rows apart",
                "name a column that grows with cursor=, or the key",
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
            ("rules", _rules(name, rules, fields, key, time)),
        ):
            object.__setattr__(self, attribute, value)
        note(self)

    @property
    def row_rules(self) -> list[RowRule]:
        """Its rules over the columns of a row."""
        return [rule for rule in self.rules if isinstance(rule, RowRule)]

    @property
    def batch_rules(self) -> list[BatchRule]:
        """Its rules over all that comes in at once."""
        return [rule for rule in self.rules if isinstance(rule, BatchRule)]

    @property
    def streamed(self) -> bool:
        """Whether its rows come from a stream, which can be followed."""
        return isinstance(self.source, Stream)


def _rules(
    name: str, given: Sequence[str | Rule], fields: Mapping[str, Field], key: str | None, time: str | None
) -> tuple[Rule, ...]:
    """A dataset's rules, after a look whether they can be applied to it."""
    empty = pl.DataFrame(schema={column: TYPES[field.kind] for column, field in fields.items()})
    found: list[Rule] = []
    for one in given:
        rule = SqlRule(one) if isinstance(one, str) else one
        if isinstance(rule, RowRule):
            try:
                kind = empty.select(rule.broken.alias("broken")).schema["broken"]
            except pl.exceptions.PolarsError as error:
                says = str(error).split("\n")[0]
                raise Invalid(
                    f"a rule of dataset {name!r} cannot be applied: {rule.says}",
                    says,
                    f"it may use {', '.join(fields)}",
                ) from error
            if kind != pl.Boolean:
                raise Invalid(
                    f"a rule of dataset {name!r} is not true or false: {rule.says}",
                    f"it gives {kind}",
                    "write a comparison",
                )
        elif isinstance(rule, BatchRule):
            rule.watches(fields, key, time)
        else:
            raise Invalid(
                f"dataset {name!r} has a rule that is none: {rule!r}",
                "",
                "use a SQL expression, mw.Rule(...), mw.Fresh(...), mw.Rows(...) or mw.Steady(...)",
            )
        found.append(rule)
    return tuple(found)
