"""What is different between two versions of a dataset: columns, rows by key, distributions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from modelworks.core.schema import Kind
from modelworks.data import versions
from modelworks.data.profile import shift
from modelworks.data.version import VERSION, DatasetVersion
from modelworks.stores.tables import Tables

_SAMPLE = 1_000_000
"""Rows that are looked at to tell a distribution; of more, as many are drawn."""


@dataclass(frozen=True)
class Diff:
    """What changed from one version to another.

    Attributes:
        before: The one version.
        after: The other.
        columns: Column to what became of it: ``"added"``, ``"removed"``, or its old and new declaration.
        rows: ``before``, ``after``, ``added``, ``removed``, ``changed``; without a key a changed row is one
            removed and one added.
        changes: Column to the number of rows with the same key whose value is another.
        shift: Column to how much its distribution moved: see `profile.shift`; the largest first.
    """

    before: str
    after: str
    columns: Mapping[str, Any] = field(default_factory=dict)
    rows: Mapping[str, int] = field(default_factory=dict)
    changes: Mapping[str, int] = field(default_factory=dict)
    shift: Mapping[str, float] = field(default_factory=dict)


def diff(tables: Tables, before: DatasetVersion, after: DatasetVersion, key: str | None) -> Diff:
    """Compare two versions of one dataset.

    Args:
        tables: Where the rows are.
        before: The one version.
        after: The other.
        key: Column that names a row; ``None`` without one.

    Raises:
        NotFound: the rows of one are not kept any more.
    """
    old, new = versions.rows(tables, before), versions.rows(tables, after)
    columns: dict[str, Any] = {}
    for name in dict.fromkeys([*before.columns, *after.columns]):
        was, is_ = before.columns.get(name), after.columns.get(name)
        if was is None or is_ is None:
            columns[name] = "added" if was is None else "removed"
        elif was != is_:
            columns[name] = {"before": was, "after": is_}
    common = [name for name in after.columns if name in before.columns]
    counts = {"before": before.rows, "after": after.rows}
    changes: dict[str, int] = {}
    if before.epoch == after.epoch:  # nothing has left the table between them
        more = after.rows - before.rows
        counts |= {"added": max(more, 0), "removed": max(-more, 0), "changed": 0}
    elif key is None:
        counts |= {**_multisets(old, new, common), "changed": 0}
    else:
        found, changes = _by_key(old, new, key, [name for name in common if name != key])
        counts |= found
    moved = {
        name: round(shift(_some(old, name), _some(new, name), Kind(after.columns[name]["kind"])), 4)
        for name in common
        if name != key
    }
    return Diff(
        f"{before.dataset}@{before.version}",
        f"{after.dataset}@{after.version}",
        columns,
        counts,
        changes,
        dict(sorted(moved.items(), key=lambda one: -one[1])),
    )


def _some(rows: pl.LazyFrame, name: str) -> pl.Series:
    values = rows.select(name).collect()[name]
    return values if len(values) <= _SAMPLE else values.sample(_SAMPLE, seed=0)


def _by_key(
    old: pl.LazyFrame, new: pl.LazyFrame, key: str, columns: list[str]
) -> tuple[dict[str, int], dict[str, int]]:
    there = pl.struct(columns).hash().alias("\x00row") if columns else pl.lit(0, pl.UInt64).alias("\x00row")
    was, is_ = (rows.select(key, VERSION, there).unique(key).collect() for rows in (old, new))
    both = was.join(is_, on=key, how="inner", suffix="\x00new")
    other = both.filter(pl.col("\x00row") != pl.col("\x00row\x00new")).select(key)
    counts = {"added": len(is_) - len(both), "removed": len(was) - len(both), "changed": len(other)}
    if not len(other):
        return counts, {}
    pairs = (
        old.join(other.lazy(), on=key, how="semi")
        .unique(key)
        .join(new.join(other.lazy(), on=key, how="semi").unique(key), on=key, suffix="\x00new")
    )
    differ = [pl.col(name).ne_missing(pl.col(f"{name}\x00new")).sum().alias(name) for name in columns]
    sums = pairs.select(differ).collect().row(0, named=True)
    return counts, {name: count for name, count in sorted(sums.items(), key=lambda one: -one[1]) if count}


def _multisets(old: pl.LazyFrame, new: pl.LazyFrame, columns: list[str]) -> dict[str, int]:
    hashed = pl.struct(columns).hash().alias("row")
    was, is_ = (rows.select(hashed).group_by("row").len().collect() for rows in (old, new))
    both = was.join(is_, on="row", how="full", coalesce=True, suffix="_new").fill_null(0)
    more = both["len_new"].cast(pl.Int64) - both["len"].cast(pl.Int64)
    return {"added": int(more.clip(0).sum()), "removed": int((-more).clip(0).sum())}
