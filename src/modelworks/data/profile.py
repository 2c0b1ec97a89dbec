"""What a version's columns hold, in few numbers: made once, kept with the version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from sqlalchemy import delete, select

from modelworks.core.plain import plain
from modelworks.core.ref import Ref
from modelworks.core.schema import Kind
from modelworks.core.stability import stability
from modelworks.data import versions
from modelworks.data.version import DatasetVersion
from modelworks.stores.ledger import Ledger
from modelworks.stores.ledger.portable import upsert
from modelworks.stores.ledger.tables import dataset_profiles, dataset_versions
from modelworks.stores.tables import Tables

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
BINS = 20
"""Bins of a histogram, of equal width between the quantiles 0.01 and 0.99; what is beyond is in the outer ones."""
TOP = 10
"""Commonest values that are kept of a text or truth column."""
_EXACT = 1_000_000
"""Rows up to which distinct values are counted; of more, about."""
_GREW = 1.1
"""How much larger a dataset may be than the version that its profile is of."""
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


def recent(ledger: Ledger, tables: Tables, dataset: str) -> tuple[DatasetVersion, dict[str, Any]]:
    """A profile of about what a dataset holds now, and the version that it is of.

    One that is kept already does, until the dataset has grown by a tenth: making one reads all rows.

    Raises:
        NotReady: the dataset has no version yet.
    """
    newest = versions.find(ledger, Ref(dataset))
    p, v = dataset_profiles.c, dataset_versions.c
    query = (
        select(dataset_versions, p.columns.label("profile"))
        .join(dataset_profiles, (p.dataset == v.dataset) & (p.version == v.version))
        .where(v.dataset == dataset)
        .order_by(v.version.desc())
        .limit(1)
    )
    with ledger.read() as db:
        found = db.execute(query).mappings().one_or_none()
    if found is None or newest.rows > _GREW * found["rows"]:
        return newest, of(ledger, tables, newest)
    return DatasetVersion(**{name: found[name] for name in found if name != "profile"}), found["profile"]


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


def counts(values: pl.Series, told: Mapping[str, Any]) -> npt.NDArray[np.int64]:
    """Rows of a column by bin of a profile: its histogram, or its commonest values and the others; then nulls.

    Args:
        values: The column.
        told: What `column` says of it, or of another with the same kind.
    """
    if "top" not in told:
        there = counts_in(numeric(values), told["edges"])
    else:
        names = [value for value, _ in told["top"]]
        texts = values.drop_nulls().cast(pl.String)
        found = dict(texts.filter(texts.is_in(names)).value_counts().iter_rows())
        there = np.array(
            [found.get(name, 0) for name in names] + [len(texts) - sum(found.values())], np.int64
        )
    return np.append(there, values.null_count())


def kept_counts(told: Mapping[str, Any], rows: int) -> npt.NDArray[np.int64]:
    """What `counts` gives for the very rows that a profile is of."""
    nulls = told["nulls"]
    if "top" not in told:
        return np.array([*(told["counts"] or [rows - nulls]), nulls], np.int64)
    common = [number for _, number in told["top"]]
    return np.array([*common, rows - nulls - sum(common), nulls], np.int64)


def shift(before: pl.Series, after: pl.Series, kind: Kind) -> float:
    """How much a column's distribution moved: see `stability`; over about ten bins, and one for nulls.

    Bins are deciles of `before`, or its nine commonest values and the others.
    """
    if not len(before) or not len(after):
        return 0.0
    if kind in _NUMBERS:
        there = numeric(before)
        cuts = np.unique(np.quantile(there, np.arange(1, 10) / 10) if len(there) else np.empty(0))
        told: dict[str, Any] = {"edges": cuts}
    else:
        told = {"top": column(before, kind)["top"][:9]}
    return float(stability(counts(before, told), counts(after, told)))


def _moment(microseconds: float) -> Any:
    return pl.Series([round(microseconds)]).cast(pl.Datetime("us", "UTC"))[0]
