"""A contract that has changed since the rows came that are there: what may become of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from modelworks.core.errors import Conflict
from modelworks.core.schema import Field
from modelworks.data.checks import in_order
from modelworks.data.checks.port import raw
from modelworks.data.dataset import Dataset


def changed(
    dataset: Dataset, before: Mapping[str, Mapping[str, Any]], rows: pl.LazyFrame, count: int
) -> list[str]:
    """Hold a contract against the rows that are there: what they do not fit is refused, for they are not lost.

    Args:
        dataset: As it is declared now.
        before: Its contract when the newest rows came.
        rows: The rows that are there.
        count: How many.

    Returns:
        What a person should know.

    Raises:
        Conflict: a column has another type, or rules that rows which are there break.
    """
    notes = []
    old = {name: Field.from_json(one) for name, one in before.items()}
    for name, field in dataset.contract.items():
        if name not in old:
            notes.append(f"the column {name} is new: the {count:,} rows from before have no value in it")
        elif old[name].kind is not field.kind:
            raise Conflict(
                f"the column {name} of dataset {dataset.name!r} cannot become {_kind(field)}",
                f"the rows that are there hold it as {old[name].kind}",
                "give the column, or the dataset, a new name",
            )
    notes += [
        f"the column {name} is not in the contract any more" for name in old if name not in dataset.contract
    ]
    for name, many in _breaks(dataset, old, rows).items():
        if dataset.contract[name].on_breach == "warn":
            notes.append(f"{many:,} rows from before break the new rules of {name}")
            continue
        raise Conflict(
            f"the contract of dataset {dataset.name!r} cannot become narrower in {name}",
            f"{many:,} of the {count:,} rows that are there do not fit it",
            f"correct these rows first, let {name} be wider, or say on_breach='warn'",
        )
    return notes


def _kind(field: Field) -> str:
    return f"{'an' if field.kind.startswith('i') else 'a'} {field.kind}"


def _breaks(dataset: Dataset, old: Mapping[str, Field], rows: pl.LazyFrame) -> dict[str, int]:
    """Columns whose rules changed, to the number of rows that are there and break them."""
    there = rows.collect_schema().names()
    fields = [
        field
        for name, field in dataset.contract.items()
        if name in old and name in there and _rules(field) != _rules(old[name])
    ]
    counts = {}
    for field in fields:
        broken = [rule for check in in_order() if (rule := check.breaks(field)) is not None]
        typed = rows.select(pl.col(field.name), pl.col(field.name).alias(raw(field.name)))
        many = typed.select(pl.any_horizontal(broken).fill_null(value=False).sum()).collect().item()
        if many:
            counts[field.name] = int(many)
    return counts


def _rules(field: Field) -> dict[str, Any]:
    return {name: value for name, value in field.to_json().items() if name not in ("on_breach", "sensitive")}
