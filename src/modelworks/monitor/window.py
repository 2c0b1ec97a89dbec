"""Windows: predictions of whole UTC days, joined with their outcomes and sketched for every version."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property

import numpy as np
import numpy.typing as npt
import orjson
import polars as pl

from modelworks.core.batch import Batch
from modelworks.core.measure import Reference, count
from modelworks.models.signature import Label, Signature, Task
from modelworks.monitor.logged import Layout, batch_of
from modelworks.monitor.performance import log_losses
from modelworks.monitor.sketch import Sketches
from modelworks.stores.tables import Tables

DAY = timedelta(days=1)
SLACK = timedelta(days=3)
"""How much earlier than its event an outcome may say it happened: clocks differ, some things show early."""
_SLICE = 65_536
"""Rows that are sketched at once, whole windows: few enough for the processor's caches."""
_SKEW = timedelta(seconds=5)
"""How much the clocks of servers may differ."""
_OUTCOMES: dict[str, pl.DataType | type[pl.DataType]] = {
    "prediction_id": pl.String,
    "key": pl.String,
    "received": pl.Datetime("us", "UTC"),
    "value": pl.Float64,
    "label": pl.String,
}
_TIME: dict[str, pl.DataType | type[pl.DataType]] = {"time": pl.Datetime("us", "UTC")}
_COLUMNS = ("id", "time", "event_time", "segment", "version", "key", "inputs", "output", "outputs")

Key = tuple[str, int]
"""Segment text and version."""
Read = Callable[[pl.DataFrame, Layout], Batch]
"""Gives the inputs of rows in a layout."""


@dataclass(frozen=True, eq=False)
class Known:
    """What must be known of a version to sketch what it answered, and to judge it.

    Attributes:
        signature: Inputs and output.
        reference: The bins, and how they were filled when it was made.
        promised: Its loss at validation; NaN where it was not measured.
        unseen: Inputs that are sensitive, so that the log does not hold them: nothing is said of their shift.
    """

    signature: Signature
    reference: Reference
    promised: float = float("nan")
    unseen: frozenset[str] = frozenset()

    @cached_property
    def layout(self) -> Layout:
        """See `Layout`."""
        return self.signature.numbers, self.signature.texts, self.signature.task

    @cached_property
    def features(self) -> tuple[str, ...]:
        """Names in the order of the counts."""
        return self.signature.numbers + self.signature.texts

    @cached_property
    def outputs_alone(self) -> Known:
        """The same version of which inputs are not looked at."""
        return replace(
            self, signature=replace(self.signature, inputs=()), reference=self.reference.outputs_alone()
        )


def read_predictions(tables: Tables, model: str, where: pl.Expr) -> pl.DataFrame:
    """A model's predictions, the columns that monitoring needs; not what challengers answered silently."""
    scan = tables.scan("predictions").filter(pl.col("model") == model, where)
    if "arm" in scan.collect_schema():
        scan = scan.filter(pl.col("arm").ne_missing("shadow"))
    else:
        scan = scan.with_columns(arm=pl.lit(None, pl.String))
    return scan.select(*_COLUMNS, "arm").collect()


def read_outcomes(tables: Tables, model: str, where: pl.Expr) -> pl.DataFrame:
    """Outcomes that may be of a model's predictions; none where there is no such table yet."""
    if not tables.exists("outcomes"):
        return pl.DataFrame(schema=_OUTCOMES | _TIME)
    scan = tables.scan("outcomes")
    if "label" not in scan.collect_schema():
        scan = scan.with_columns(label=pl.lit(None, pl.String))
    mine = pl.col("model").is_null() | (pl.col("model") == model)
    return scan.filter(mine, where).select(*_OUTCOMES, *_TIME).collect()


def told_since(moment: datetime, predictions: pl.DataFrame) -> pl.Expr:
    """The condition for outcomes of `predictions`, all of what happened since `moment`.

    When it happened says whoever tells, whose clock may be years off; so what a server received since it answered
    the first of them is read in any case.
    """
    first = predictions["time"].min()
    told = pl.col("time") >= moment - SLACK
    return told | (pl.col("received") >= first - _SKEW) if isinstance(first, datetime) else told


def named(ids: pl.Series, keys: pl.Series) -> pl.Expr:
    """The condition for predictions of these ids or keys; ids sort by time, so bounds of them leave out files."""
    mine = pl.col("id").is_in(ids.implode())
    if len(ids):
        mine &= pl.col("id").is_between(pl.lit(ids.min()), pl.lit(ids.max()))
    return mine | pl.col("key").is_in(keys.implode()) if len(keys) else mine


def joined(predictions: pl.DataFrame, outcomes: pl.DataFrame) -> pl.DataFrame:
    """Each prediction with its truth: ``value``, or ``label`` where that is text, and when it was ``received``.

    Null if it is not known.

    An outcome by id is the truth of that prediction. A key names one row of the dataset, so an outcome by key
    is the truth of every prediction of that row. Of several outcomes for one prediction the one received last
    counts; the order in which they stand in the table does not matter.
    """

    def last(by: str, of: str) -> pl.DataFrame:
        mine = outcomes.join(
            predictions.select(of), left_on=by, right_on=of, how="semi", maintain_order="left"
        )
        # What was received in the same microsecond by two servers has no order, but always the same one.
        kept = mine.sort("received", "value", "label").unique(by, keep="last", maintain_order=True)
        return kept.select(
            by, *(pl.col(name).alias(f"{by}_{name}") for name in ("received", "value", "label"))
        )

    later = pl.col("prediction_id_received").is_null() | (
        pl.col("key_received") > pl.col("prediction_id_received")
    )
    return (
        predictions.join(
            last("prediction_id", "id"),
            left_on="id",
            right_on="prediction_id",
            how="left",
            maintain_order="left",
        )
        .join(last("key", "key"), on="key", how="left", maintain_order="left")
        .select(
            *predictions.columns,
            *(
                pl.when(later & pl.col("key_received").is_not_null())
                .then(f"key_{name}")
                .otherwise(f"prediction_id_{name}")
                .alias(name)
                for name in ("received", "value", "label")
            ),
        )
    )


def sketched(
    rows: pl.DataFrame, known: Mapping[Key, Known], read: Read | None = None
) -> list[tuple[pl.DataFrame, Sketches]]:
    """Sketch rows by segment, version and UTC day; rows of versions that are not known are left out.

    Args:
        rows: From `joined`.
        known: The versions.
        read: Gives the inputs of some of the rows in a layout; out of their column ``inputs`` by default.

    Returns:
        For each `Layout` the windows (columns segment, version, day) and their sketches, in the same order.
    """
    made = []
    keys = ["segment", "version"]
    rows = rows.with_columns(pl.col("event_time").dt.truncate("1d").alias("day"))
    for layout in dict.fromkeys(entry.layout for entry in known.values()):
        mine = [(key, entry) for key, entry in known.items() if entry.layout == layout]
        versions = pl.DataFrame(
            [key for key, _ in mine], {"segment": pl.String, "version": pl.Int64}, orient="row"
        )
        part = rows.join(versions.with_row_index("of"), on=keys, how="inner").sort("of", "day")
        if len(part):
            part = part.with_columns(window=pl.struct("of", "day").rle_id())
            windows = part.select(*keys, "day").unique(maintain_order=True)
            made.append((windows, sketch(part, [entry for _, entry in mine], read)))
    return made


def sketch(rows: pl.DataFrame, known: Sequence[Known], read: Read | None = None) -> Sketches:
    """Sketch rows of versions of one layout.

    Args:
        rows: From `joined`, ordered by version and window: ``of`` is the place of the version in `known`, ``window``
            that of the window among all, so that none between the first and the last is left out.
        known: The versions.
        read: See `sketched`.
    """
    first = np.flatnonzero(np.diff(rows["window"].to_numpy().astype(np.int64), prepend=-1))
    begins = first[np.unique(np.searchsorted(first, np.arange(0, len(rows), _SLICE), side="right") - 1)]
    ends = [*begins[1:].tolist(), len(rows)]
    return Sketches.joined(
        [_sketch(rows[begin:end], known, read) for begin, end in zip(begins.tolist(), ends, strict=True)]
    )


def _sketch(rows: pl.DataFrame, known: Sequence[Known], read: Read | None) -> Sketches:
    """`sketch` of rows that fit into the caches."""
    layout = known[0].layout
    of, window = (rows[name].to_numpy().astype(np.int64) for name in ("of", "window"))
    known = known[of[0] : of[-1] + 1]
    of, window = of - of[0], window - window[0]
    windows = int(window[-1]) + 1
    output = rows["output"].to_numpy().astype(np.float64)
    happened, loss = _TRUTHS[layout[2]](rows, of, [entry.signature.classes for entry in known])
    unseen = known[0].unseen
    counts = count(
        [entry.reference for entry in known],
        of,
        batch_of(rows["inputs"], layout, unseen) if read is None else read(rows, layout),
        output,
        happened,
        window,
        windows,
    )
    counts.features[:, [name in unseen for name in known[0].features], :] = 0
    labelled = ~np.isnan(loss)
    loss = np.where(labelled, loss, 0.0)
    each = (np.ones(len(rows)), labelled.astype(np.float64), output, loss, np.square(loss))
    return Sketches(np.stack([np.bincount(window, weights, windows) for weights in each], axis=1), counts)


def happened(rows: pl.DataFrame, signature: Signature) -> npt.NDArray[np.float64]:
    """Whether the event of a binary model came, for rows from `joined`, shape (rows,); NaN where that is not known."""
    return _TRUTHS[signature.task](rows, np.zeros(len(rows), np.int64), [signature.classes])[0]


def losses(rows: pl.DataFrame, known: Mapping[Key, Known]) -> npt.NDArray[np.float64]:
    """The loss of rows from `joined`, shape (rows,); NaN where the truth or the version is not known."""
    return truths_of(rows, known)[1]


def truths_of(
    rows: pl.DataFrame, known: Mapping[Key, Known]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """What came of rows from `joined`, and their loss, both of shape (rows,); NaN where that is not known.

    What came is 1 where the event of a binary model did, 0 where it did not; the value of a regression; of others NaN.
    """
    came, loss = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    rows = rows.with_row_index("place")
    for task in sorted({entry.signature.task for entry in known.values()}):
        mine = [(key, entry) for key, entry in known.items() if entry.signature.task == task]
        versions = pl.DataFrame(
            [key for key, _ in mine], {"segment": pl.String, "version": pl.Int64}, orient="row"
        ).with_row_index("of")
        part = rows.join(versions, on=["segment", "version"], how="inner", maintain_order="left")
        of = part["of"].to_numpy().astype(np.int64)
        classes = [entry.signature.classes for _, entry in mine]
        place = part["place"].to_numpy()
        happened, loss[place] = _TRUTHS[task](part, of, classes)
        if task in ("binary", "regression"):
            came[place] = happened if task == "binary" else part["value"].to_numpy().astype(np.float64)
    return came, loss


# -- truth: whether it happened (or the answer was right), and the loss; both NaN where it is not known ------

_Truth = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


def _binary(rows: pl.DataFrame, of: npt.NDArray[np.int64], classes: Sequence[tuple[Label, ...]]) -> _Truth:
    """The event is the second class; a truth that is text where classes are numbers, or not, is none."""
    events = [labels[1] for labels in classes]
    numbers = np.array([np.nan if isinstance(event, str) else float(event) for event in events])[of]
    value = rows["value"].to_numpy().astype(np.float64)
    happened = np.where(np.isnan(value) | np.isnan(numbers), np.nan, value == numbers)
    if any(isinstance(event, str) for event in events):
        texts = pl.Series([event if isinstance(event, str) else None for event in events], dtype=pl.String)[
            of
        ]
        same = (rows["label"] == texts).cast(pl.Float64).to_numpy()  # null, so NaN, where either is missing
        happened = np.where(np.isnan(same), happened, same)
    output = rows["output"].to_numpy().astype(np.float64)
    loss = log_losses(np.where(happened == 1, output, 1.0 - output))
    return happened, np.where(np.isnan(happened), np.nan, loss)


def _multiclass(
    rows: pl.DataFrame, _of: npt.NDArray[np.int64], _classes: Sequence[tuple[Label, ...]]
) -> _Truth:
    """By way of the answer as it was logged: its label, and the probability of every class."""
    right, given = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    for row, (value, label, text) in enumerate(rows.select("value", "label", "outputs").iter_rows()):
        if value is None and label is None:
            continue
        answer = None if text is None else orjson.loads(text)
        if not isinstance(answer, dict):  # a row of the holdout, which is told nothing, or a number
            continue
        names = {label} if label is not None else {f"{value:g}", str(value), str(bool(value)).lower()}
        truth = names & answer["probabilities"].keys()
        given[row] = answer["probabilities"][truth.pop()] if truth else 0.0
        right[row] = given[row] > 0 and given[row] == max(answer["probabilities"].values())
    return right, np.where(np.isnan(right), np.nan, log_losses(given))


def _regression(
    rows: pl.DataFrame, _of: npt.NDArray[np.int64], _classes: Sequence[tuple[Label, ...]]
) -> _Truth:
    value = rows["value"].to_numpy().astype(np.float64)
    return np.full(len(rows), np.nan), np.square(value - rows["output"].to_numpy())


def _other(rows: pl.DataFrame, _of: npt.NDArray[np.int64], _classes: Sequence[tuple[Label, ...]]) -> _Truth:
    """Plain data has no loss that fits all of it."""
    return np.full(len(rows), np.nan), np.full(len(rows), np.nan)


_TRUTHS: Mapping[
    Task, Callable[[pl.DataFrame, npt.NDArray[np.int64], Sequence[tuple[Label, ...]]], _Truth]
] = {
    "binary": _binary,
    "multiclass": _multiclass,
    "regression": _regression,
    "other": _other,
}
