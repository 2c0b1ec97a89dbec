"""Windows: predictions and outcomes of one day, joined, and sketched for every version that answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from modelworks.core.batch import Batch
from modelworks.core.measure import Reference, count
from modelworks.core.schema import Kind
from modelworks.models.signature import Signature
from modelworks.monitor.performance import row_loss
from modelworks.monitor.sketch import Sketches
from modelworks.stores.tables import Tables

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Known:
    """What must be known of a version to sketch what it answered."""

    signature: Signature
    reference: Reference


def joined(tables: Tables, model: str, start: datetime, end: datetime) -> pl.DataFrame:
    """A model's predictions from `start` until before `end` of event time, each with its outcome or null.

    An outcome names its prediction by id, or by key: then it belongs to the newest prediction with that key.
    Of several outcomes for one prediction the one received last counts.

    Returns:
        The columns of the table ``predictions`` and ``truth``.
    """
    predictions = (
        tables.scan("predictions")
        .filter(pl.col("model") == model, pl.col("event_time") >= start, pl.col("event_time") < end)
        .collect()
    )
    if not tables.exists("outcomes") or not len(predictions):
        return predictions.with_columns(pl.lit(None, pl.Float64).alias("truth"))
    # An outcome is never before its event; a day's slack covers clocks that differ.
    outcomes = tables.scan("outcomes").filter(pl.col("time") >= start - DAY).collect().sort("received")
    newest = outcomes.unique("prediction_id", keep="last") if len(outcomes) else outcomes
    by_id = newest.filter(pl.col("prediction_id").is_not_null()).select(
        pl.col("prediction_id").alias("id"), pl.col("value").alias("truth_id"), pl.col("received").alias("at_id")
    )
    keyed = outcomes.filter(pl.col("key").is_not_null(), pl.col("model").is_null() | (pl.col("model") == model))
    by_key = keyed.unique("key", keep="last").select(
        "key", pl.col("value").alias("truth_key"), pl.col("received").alias("at_key")
    )
    last = predictions.sort("time").unique("key", keep="last").select("id", pl.lit(value=True).alias("last"))
    return (
        predictions.join(by_id, on="id", how="left")
        .join(last, on="id", how="left")
        .join(by_key, on="key", how="left")
        .with_columns(pl.when("last").then("truth_key").alias("truth_key"))
        .with_columns(
            pl.when(pl.col("truth_key").is_not_null() & (pl.col("at_id").is_null() | (pl.col("at_key") > pl.col("at_id"))))
            .then("truth_key")
            .otherwise("truth_id")
            .alias("truth")
        )
        .drop("last", "truth_key", "truth_id", "at_id", "at_key")
    )


def sketched(
    rows: pl.DataFrame, known: Mapping[tuple[str, int], Known]
) -> tuple[list[tuple[str, int, datetime]], Sketches]:
    """Sketch rows by segment, version and UTC day.

    Args:
        rows: From `joined`, of versions that are all in `known`, which share one signature.
        known: By segment text and version.

    Returns:
        The (segment, version, day) of each window, and their sketches.
    """
    rows = rows.with_columns(pl.col("event_time").dt.truncate("1d").alias("day"))
    groups = rows.select("segment", "version", "day").unique(maintain_order=True).with_row_index("group")
    rows = rows.join(groups, on=["segment", "version", "day"], how="left", maintain_order="left")
    windows = [(segment, version, day) for _, segment, version, day in groups.iter_rows()]
    versions = [known[segment, version] for segment, version, _ in windows]
    signature = versions[0].signature
    which = rows["group"].to_numpy().astype(np.int64)
    output = rows["output"].to_numpy().astype(np.float64)
    truth = rows["truth"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    counts = count(
        [entry.reference for entry in versions], which, _batch(rows["inputs"], signature), output, truth, which, len(windows)
    )
    labelled = ~np.isnan(truth)
    loss = np.where(labelled, row_loss(truth, output, probability=signature.task != "regression"), 0.0)
    weights = (np.ones(len(rows)), labelled.astype(float), output, loss, np.square(loss))
    sums = np.stack([np.bincount(which, weight, len(windows)) for weight in weights], axis=1)
    return windows, Sketches(sums, counts)


def _batch(inputs: pl.Series, signature: Signature) -> Batch:
    """The logged inputs in the layout of a signature; what is not there is missing."""
    kinds: Sequence[pl.Field] = [
        pl.Field(field.name, pl.String if field.kind is Kind.TEXT else pl.Boolean if field.kind is Kind.BOOL else pl.Float64)
        for field in signature.inputs
    ]
    table = inputs.str.json_decode(pl.Struct(kinds)).struct.unnest()
    numbers = table.select(pl.col(name).cast(pl.Float32).fill_null(np.nan) for name in signature.numbers)
    texts = table.select(pl.col(name).fill_null("") for name in signature.texts)
    return Batch(
        numbers.to_numpy().astype(np.float32).reshape(len(inputs), len(signature.numbers)),
        np.array(texts.rows(), dtype=object).reshape(len(inputs), len(signature.texts)),
    )
