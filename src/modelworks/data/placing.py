"""Rows that come in, among those that are there: what becomes of two with the same key."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import polars as pl

from modelworks.data import versions
from modelworks.data.contract import EARLIER, LATER, refuse
from modelworks.data.dataset import Dataset
from modelworks.data.quarantine import kept
from modelworks.data.version import VERSION
from modelworks.stores.tables import Tables


@dataclass(frozen=True)
class Placed:
    """Rows that found their place among those that are there.

    Attributes:
        good: To add.
        bad: To quarantine.
        older: Rows of earlier versions that these took the place of.
        same: Rows of this version that they took the place of.
        corrected: Messages of a stream that a later one took the place of, before they were added.
    """

    good: pl.DataFrame
    bad: pl.DataFrame
    older: int = 0
    same: int = 0
    corrected: int = 0


def place(
    dataset: Dataset, tables: Tables, good: pl.DataFrame, bad: pl.DataFrame, version: int, now: datetime
) -> Placed:
    """Find rows their place among those with the same key: see `Dataset.same_key`."""
    table, key = versions.table_of(dataset.name), dataset.key
    if key is None or dataset.same_key == "add" or not len(good):
        return Placed(good, bad)

    def refused(rows: pl.DataFrame, says: str) -> list[pl.DataFrame]:
        if not len(rows):
            return []
        bad = refuse(rows.drop(VERSION), key, f"{key} {says}")
        return [kept(bad.with_columns(number=pl.lit(None, pl.Int64)), "", version, now)]

    # Rows of one file were told apart when they were held; several files may come together.
    replace = dataset.same_key == "replace"
    if good[key].hash().n_unique() < len(good):
        stays = good[key].is_last_distinct() if replace else good[key].is_first_distinct()
        bad = pl.concat([bad, *refused(good.filter(~stays), LATER if replace else EARLIER)])
        good = good.filter(stays)
    if not replace:
        there = tables.find(table, good.select(key))
        if len(there):
            bad = pl.concat([bad, *refused(good.join(there, on=key, how="semi"), EARLIER)])
            good = good.join(there, on=key, how="anti", maintain_order="left")
        return Placed(good, bad)
    gone = tables.remove(table, good.select(key), [*dataset.contract, VERSION])
    same = gone.filter(pl.col(VERSION) == version)
    bad = pl.concat([bad, *refused(same, LATER)])
    if not dataset.streamed:
        return Placed(good, bad, len(gone) - len(same), len(same))
    # That a message corrects one that came shortly before is as it should be.
    corrections = bad["reason"].str.ends_with(LATER).fill_null(value=False)
    older, corrected = len(gone) - len(same), int(corrections.sum())
    return Placed(good, bad.filter(~corrections), older, len(same), corrected)
