"""The rows that a model version was made of and judged with, looked at again.

A version says of which dataset version its rows are, and at which moment those begin that were held out. So
nothing about them has to be worked out while it is trained: whoever wants to know looks when it is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from modelworks.core.clock import from_microseconds, microseconds
from modelworks.core.errors import NotFound
from modelworks.core.ref import Ref
from modelworks.core.schema import Kind
from modelworks.models import packaging
from modelworks.models.layout import to_batch
from modelworks.pipelines.context import Stations
from modelworks.pipelines.train import frame, time_of
from modelworks.registry.model_version import ModelVersion
from modelworks.train.columns import Columns, write
from modelworks.train.evidence import HeldOut
from modelworks.train.segments import TARGET, TIME, select

_QUANTILES = (0.0, 0.05, 0.5, 0.95, 1.0)
_BINS = 16
_TOP = 6
Values = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class LookBack:
    """What was found.

    Attributes:
        held_out: The rows that judged it, answered again by the version, and by the other one.
        trained: Number of rows that it learned from.
        times: Event times of the held-out rows, microseconds, shape (rows,).
        first: Event time of the first of them that it learned from, UTC.
        until: Event time of the first that was held out.
        inputs: Of each input what the rows hold that it learned from, in few numbers.
        outside: Input to the held-out rows whose value none of these had: below the least, above the most,
            an unseen text, or missing where nothing was.
    """

    held_out: HeldOut
    trained: int
    times: npt.NDArray[np.int64]
    first: datetime
    until: datetime
    inputs: Mapping[str, Mapping[str, Any]]
    outside: Mapping[str, int]


def look_back(
    stations: Stations,
    version: ModelVersion,
    beside: ModelVersion | None = None,
    more: Sequence[str] = (),
) -> LookBack:
    """Look at the rows of a version again.

    Args:
        stations: The belt.
        version: Whose rows.
        beside: Another version that is to answer the held-out rows as well, where it can.
        more: Further columns of the dataset.

    Raises:
        NotFound: nothing says which rows they were, or they are not kept any more.
        Invalid: the dataset lacks a column by now.
    """
    theirs = [] if beside is None else [field.name for field in beside.package.signature.inputs]
    there = [] if version.dataset is None else _known(stations, version.dataset, theirs)
    with rows_of(stations, version, [*more, *there]) as (columns, begin, cut):
        time = columns.raw[TIME]
        learned, held = np.arange(begin, cut), np.arange(cut, len(time))
        if not len(held):
            raise NotFound(
                f"the rows that judged {version.ref} are not in {version.dataset} any more", "", ""
            )
        kept = {name: columns.values(name, held) for name in columns.raw if name not in (TIME, TARGET)}
        truth = columns.values(TARGET, held)
        inputs, outside = {}, {}
        for field in version.package.signature.inputs:
            values = columns.values(field.name, learned)
            inputs[field.name] = _profile(values)
            outside[field.name] = _outside(values, kept[field.name], field.kind)
    predictor = packaging.load(version.package, stations.stores.artifacts)
    batch = to_batch(kept, version.package.signature)
    champion = None
    if beside is not None and all(name in kept for name in theirs):
        takes = beside.package.signature
        other = packaging.load(beside.package, stations.stores.artifacts)
        champion = takes, other.predict(to_batch(kept, takes))
    seen = HeldOut(
        version.package.signature,
        truth,
        predictor.predict(batch),
        batch,
        kept.__getitem__,
        version.package,
        stations.stores.artifacts,
        from_microseconds(time[-1]),
        champion,
        None if beside is None else beside.package.signature,
    )
    first, until = from_microseconds(time[begin]), from_microseconds(time[cut])
    return LookBack(seen, len(learned), time[cut:], first, until, inputs, outside)


@contextmanager
def rows_of(
    stations: Stations, version: ModelVersion, more: Sequence[str] = ()
) -> Iterator[tuple[Columns, int, int]]:
    """The rows that a version was made of and judged with, in the order of time.

    Args:
        stations: The belt.
        version: Whose rows.
        more: Further columns of the dataset.

    Returns:
        Its inputs, its target and `more`; the first row that it learned from, and the first that was held out.

    Raises:
        NotFound: nothing says which rows they were, or they are not kept any more.
        Invalid: the dataset lacks a column by now.
    """
    model = stations.project.models.get(version.model)
    if model is None or version.dataset is None or "time <" not in version.rows_filter:
        raise NotFound(f"it is not known which rows {version.ref} was made of", "", "")
    names = tuple(field.name for field in version.package.signature.inputs)
    definition = replace(model.definition, features=names, window=None)
    wanted = list(dict.fromkeys([*definition.per, *more]))
    source = stations.data.version_of(Ref(version.dataset, at=version.dataset_version))
    found = frame(stations, definition, [version.segment], {source.dataset: source.version}, wanted)
    rows = select(definition, found, time=time_of(stations, definition), extra=wanted).frame.sort(
        TIME, maintain_order=True
    )
    with TemporaryDirectory(prefix="modelworks-look-") as folder:
        columns = Columns(write(rows, Path(folder, "rows.arrow")))
        bounds = (version.rows_filter.get("time >=", ""), version.rows_filter["time <"])
        begin, cut = (int(np.searchsorted(columns.raw[TIME], _microseconds(one))) for one in bounds)
        yield columns, begin, cut


def _known(stations: Stations, dataset: str, names: Sequence[str]) -> list[str]:
    declared = stations.project.dataset(dataset)
    return [name for name in names if name in declared.contract or name in declared.features]


def _profile(values: Values) -> dict[str, Any]:
    """One input in few numbers: missing values, and quantiles with a histogram, or the commonest texts."""
    if values.dtype.kind == "O":
        names, counts = np.unique(values.astype(str), return_counts=True)
        order = [at for at in np.argsort(-counts, kind="stable") if names[at]]
        missing = int((values == "").sum())
        top = [(str(names[at]), int(counts[at])) for at in order[:_TOP]]
        return {"missing": missing, "rows": len(values), "distinct": len(order), "top": top}
    numbers = values.astype(np.float64)
    there = numbers[~np.isnan(numbers)]
    told: dict[str, Any] = {"missing": len(numbers) - len(there), "rows": len(numbers)}
    if not len(there):
        return told | {"distinct": 0, "quantiles": [], "counts": []}
    quantiles = np.quantile(there, _QUANTILES, method="nearest")
    counts, _ = np.histogram(there, bins=_BINS, range=(quantiles[0], quantiles[-1]))
    return told | {
        "distinct": len(np.unique(there)),
        "quantiles": quantiles.tolist(),
        "counts": counts.tolist(),
    }


def _outside(learned: Values, held: Values, kind: Kind) -> int:
    if kind is Kind.TEXT:
        return int((~np.isin(held.astype(str), np.unique(learned.astype(str)))).sum())
    before, after = learned.astype(np.float64), held.astype(np.float64)
    there = before[~np.isnan(before)]
    if not len(there):
        return int((~np.isnan(after)).sum())
    beyond = (after < there.min()) | (after > there.max())
    if len(there) == len(before):
        beyond |= np.isnan(after)
    return int(beyond.sum())


def _microseconds(text: str) -> int:
    return microseconds(datetime.fromisoformat(text)) if text else 0
