"""Model versions as rows of the ledger, and back."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, Row, Table, and_

from modelworks.core.ref import Ref, parse_segment, segment_text
from modelworks.models.package import Package
from modelworks.registry.model_version import ModelVersion

Key = tuple[str, str]
"""Model and segment as text, as they stand in the ledger."""


def key(ref: Ref) -> Key:
    """The model and segment of a reference."""
    return ref.name, segment_text(ref.segment)


def at(table: Table, ref: Ref) -> ColumnElement[bool]:
    """The condition that picks the rows of a reference's model and segment."""
    return and_(table.c.model == ref.name, table.c.segment == segment_text(ref.segment))


def near(table: Table, keys: Collection[Key]) -> ColumnElement[bool]:
    """A condition that picks the rows of `keys`, and perhaps a few of other pairs of the same names.

    Comparing pairs, ``(model, segment) IN (VALUES ...)``, is exact, but SQLite then reads the whole table.
    """
    names, texts = {name for name, _ in keys}, {text for _, text in keys}
    return and_(table.c.model.in_(names), table.c.segment.in_(texts))


def to_row(version: ModelVersion) -> dict[str, Any]:
    """What is stored of a version; the ledger makes null of numbers that JSON lacks."""
    return {
        "model": version.model,
        "segment": segment_text(version.segment),
        "version": version.version,
        "run": version.run,
        "package": version.package.to_json(),
        "metrics": dict(version.metrics),
        "dataset": version.dataset,
        "dataset_version": version.dataset_version,
        "rows_filter": dict(version.rows_filter),
        "created": version.created,
        "archived": version.archived,
    }


def from_row(row: Row[Any]) -> ModelVersion:
    """The inverse of `to_row`."""
    return ModelVersion(
        row.model,
        parse_segment(row.segment),
        row.version,
        row.run,
        Package.from_json(row.package),
        row.metrics,
        row.dataset,
        row.dataset_version,
        row.rows_filter,
        row.created,
        row.archived,
    )
