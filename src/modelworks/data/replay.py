"""Rows of the quarantine, corrected and taken in again: as one version, and out of the quarantine, or nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson
import polars as pl

from modelworks.core.clock import new_id
from modelworks.core.errors import Invalid, NotFound
from modelworks.data import quarantine, versions
from modelworks.data.contract import as_typed
from modelworks.data.dataset import Dataset
from modelworks.data.delivery import Delivery
from modelworks.data.ingest import ingest
from modelworks.data.quarantine import Choice
from modelworks.data.sources.port import Part
from modelworks.data.streams.messages import columns_of
from modelworks.data.undo import Stores
from modelworks.data.version import VERSION, IngestReport


def replay(
    dataset: Dataset,
    stores: Stores,
    choice: Choice,
    values: Mapping[str, Any],
    corrected: Mapping[str, Mapping[str, Any]],
) -> IngestReport:
    """Hold rows of the quarantine against the contract again; those that fit now come in.

    Those that still do not fit stay, with the reason of now. A row whose key has come since, with another row,
    stays as well: it is older than what is there.

    Args:
        dataset: Whose quarantine.
        stores: Where it is.
        choice: Which lines.
        values: Column to a value that every row gets.
        corrected: Id of a line to the row that it should be.

    Raises:
        NotFound: no line is chosen that has a row.
        Invalid: a line that is corrected is not among those chosen.
        Conflict: somebody else replays the same lines.
    """
    lines = quarantine.lines(stores.tables, dataset.name, choice)
    unknown = corrected.keys() - set(lines["id"])
    if unknown:
        raise Invalid(
            f"the quarantine of {dataset.name} has no line {sorted(unknown)[0]}",
            "it was replayed, or another was meant",
            f"'modelworks data quarantine {dataset.name}' lists those there are",
        )
    without = len(lines)
    lines = lines.filter(pl.col("row").is_not_null())
    without -= len(lines)
    if not len(lines):
        raise NotFound(
            f"there is nothing to replay in the quarantine of {dataset.name}",
            "no line that has a row is chosen",
            f"'modelworks data quarantine {dataset.name}' lists those there are",
        )
    notes = [f"{without:,} lines have no row: what they came with could not be read"] if without else []
    objects = [
        {**(corrected.get(id) or orjson.loads(row)), **values} for id, row in lines.select("id", "row").rows()
    ]
    rows = columns_of([dict.fromkeys(dataset.contract), *objects])[1:]
    older = _older(dataset, stores, rows, lines)
    if older.any():
        notes.append(f"{older.sum():,} rows stay: a newer row with their key has come since")
        rows, lines = rows.filter(~older), lines.filter(~older)
    if not len(rows):
        return IngestReport(dataset.name, notes=tuple(notes))
    delivery = Delivery(Part(f"replay:{new_id()}", ""), rows, lines=lines)
    report = ingest(dataset, stores, [delivery])
    return replace(report, notes=(*notes, *report.notes))


def _older(dataset: Dataset, stores: Stores, rows: pl.DataFrame, lines: pl.DataFrame) -> pl.Series:
    """Which rows have a key that is there with a row which came later than they did."""
    never = pl.Series("older", [False] * len(rows), pl.Boolean)
    key = dataset.key
    if key is None or dataset.same_key != "replace":
        return never
    keys = as_typed(rows, dataset.contract).select(key)
    there = stores.tables.find(versions.table_of(dataset.name), keys.drop_nulls().unique(), [key, VERSION])
    if not len(there):
        return never
    newest = there.group_by(key).agg(pl.col(VERSION).max().alias("there"))
    came = keys.with_columns(lines["version"].alias("came")).join(
        newest, on=key, how="left", maintain_order="left"
    )
    return came.select((pl.col("there") > pl.col("came")).fill_null(value=False).alias("older"))["older"]


def parse(lines: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Corrected lines, as `modelworks data quarantine --out` writes them: an id and a row each.

    Raises:
        Invalid: one is something else.
    """
    found: dict[str, Mapping[str, Any]] = {}
    for line in lines:
        id, row = line.get("id"), line.get("row")
        if not isinstance(id, str) or not isinstance(row, Mapping):
            raise Invalid(
                "a corrected line has no id, or no row",
                f"got {str(dict(line))[:200]}",
                'write {"id": "...", "row": {...}}, as \'modelworks data quarantine --out\' does',
            )
        found[id] = row
    return found
