"""What a version's columns hold, in few numbers: made once, kept with the version."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from sqlalchemy import delete, select

from modelworks.core.plain import plain
from modelworks.core.schema import Kind
from modelworks.data import versions
from modelworks.data.version import DatasetVersion
from modelworks.stores.ledger import Ledger
from modelworks.stores.ledger.portable import upsert
from modelworks.stores.ledger.tables import dataset_profiles
from modelworks.stores.tables import Tables

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
BINS = 20
"""Bins of a histogram, of equal width between the quantiles 0.01 and 0.99; what is beyond is in the outer ones."""
TOP = 10
"""Commonest values that are kept of a text or truth column."""
_EXACT = 1_000_000
"""Rows up to which distinct values are counted; of more, about."""
_NUMBERS = (Kind.NUMBER, Kind.INTEGER, Kind.TIME)


def of(ledger: Ledger, tables: Tables, version: DatasetVersion) -> dict[str, Any]:
    """The profile of a version, by column.

    Returns:
        For each column ``kind``, ``nulls``, ``distinct`` (about), and for numbers and times ``mean``,
        ``quantiles`` (at `QUANTILES`), ``edges`` and ``counts`` of a histogram; for texts ``top``, pairs of value
        and rows, the commonest first. Times are ISO texts.

    Raises:
        NotFound: its rows are not kept any more.
    """
    p = dataset_profiles.c
    with ledger.read() as db:
        mine = (p.dataset == version.dataset) & (p.version == version.version)
        kept: dict[str, Any] | None = db.scalar(select(p.columns).where(mine))
    if kept is not None:
        return kept
    rows = versions.rows(tables, version)
    made: dict[str, Any] = plain(
        {
            name: column(rows.select(name).collect()[name], Kind(field["kind"]))
            for name, field in version.columns.items()
        }
    )
    with ledger.write() as db:
        new = {"dataset": version.dataset, "version": version.version, "columns": made}
        upsert(db, dataset_profiles, [new])
    return made


def drop(ledger: Ledger, dataset: str) -> None:
    """Forget the profiles of a dataset: its versions do not hold what they held."""
    with ledger.write() as db:
        db.execute(delete(dataset_profiles).where(dataset_profiles.c.dataset == dataset))


def column(values: pl.Series, kind: Kind) -> dict[str, Any]:
    """The profile of one column: see `of`."""
    there = values.drop_nulls()
    exact = len(there) <= _EXACT
    distinct = there.n_unique() if exact else int(there.to_frame().select(pl.all().approx_n_unique()).item())
    told: dict[str, Any] = {"kind": str(kind), "nulls": values.null_count(), "distinct": distinct}
    if kind not in _NUMBERS:
        counts = there.cast(pl.String).value_counts().sort(["count", values.name], descending=[True, False])
        return told | {"top": counts.head(TOP).rows()}
    numbers = numeric(there)
    if not len(numbers):
        return told | {"mean": None, "quantiles": [None] * len(QUANTILES), "edges": [], "counts": []}
    ordered = np.sort(numbers)
    quantiles = ordered[[round(share * (len(ordered) - 1)) for share in QUANTILES]]
    low, high = (ordered[round(share * (len(ordered) - 1))] for share in (0.01, 0.99))
    edges = np.linspace(low, high, BINS + 1)[1:-1] if high > low else np.array([low])
    told |= {
        "mean": float(numbers.mean()),
        "quantiles": quantiles.tolist(),
        "edges": edges.tolist(),
        "counts": counts_in(numbers, edges).tolist(),
    }
    if kind is Kind.TIME:
        told["mean"] = _moment(told["mean"])
        told["quantiles"] = [_moment(value) for value in told["quantiles"]]
    return told


def numeric(values: pl.Series) -> npt.NDArray[np.float64]:
    """Values without nulls as floats; times as microseconds since 1970, UTC."""
    numbers = values.drop_nulls()
    if numbers.dtype.is_temporal():
        numbers = numbers.dt.epoch("us")
    return numbers.cast(pl.Float64).to_numpy()


def counts_in(
    numbers: npt.NDArray[np.float64], edges: npt.NDArray[np.float64] | Sequence[float]
) -> npt.NDArray[np.int64]:
    """Rows below the first edge, between each two, and from the last one on: one more than there are edges."""
    bins = np.searchsorted(np.asarray(edges, np.float64), numbers, side="right")
    return np.bincount(bins, minlength=len(edges) + 1)


def shift(before: pl.Series, after: pl.Series, kind: Kind) -> float:
    """How much a column's distribution moved: population stability index over ten bins, and one for nulls.

    Bins are deciles of `before`, or its nine commonest values and the others. Below 0.1 it is the same for
    most purposes, above 0.25 another. Source: Yurdakul, Statistical Properties of Population Stability Index
    (2018); half a row is added to every bin, so that an empty one makes it large and not infinite.
    """
    if not len(before) or not len(after):
        return 0.0
    if kind in _NUMBERS:
        there = numeric(before)
        edges = np.unique(np.quantile(there, np.arange(1, 10) / 10) if len(there) else np.empty(0))
        old, new = (counts_in(numeric(one), edges).tolist() for one in (before, after))
    else:
        texts = [one.drop_nulls().cast(pl.String) for one in (before, after)]
        common = column(before, kind)["top"][:9]
        names = [value for value, _ in common]
        old, new = ([int((one == name).sum()) for name in names] for one in texts)
        old.append(len(texts[0]) - sum(old))
        new.append(len(texts[1]) - sum(new))
    old.append(before.null_count())
    new.append(after.null_count())
    total = 0.0
    for a, b in zip(old, new, strict=True):
        if a or b:
            share_a = (a + 0.5) / (len(before) + 0.5 * len(old))
            share_b = (b + 0.5) / (len(after) + 0.5 * len(old))
            total += (share_b - share_a) * math.log(share_b / share_a)
    return total


def _moment(microseconds: float) -> Any:
    return pl.Series([round(microseconds)]).cast(pl.Datetime("us", "UTC"))[0]
