"""The loss of every row of champions, in the order in which the truths came."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from modelworks.core.ref import Segment, parse_segment
from modelworks.monitor.versions import Versions
from modelworks.monitor.window import Key, joined, losses, read_outcomes, read_predictions, told_since
from modelworks.stores.tables import Tables


def streams(
    tables: Tables, versions: Versions, model: str, champions: Collection[Key], now: datetime, days: int
) -> dict[Segment, npt.NDArray[np.float64]]:
    """Losses of what champions answered in the last `days` before `now`, each of shape (outcomes,).

    Args:
        tables: With ``predictions`` and ``outcomes``.
        versions: What is known of them.
        model: Name of the model.
        champions: Those that answer.
        now: Later events are left out.
        days: How far back.
    """
    if not champions or not tables.exists("predictions"):
        return {}
    known, since = versions.of(model, champions), now - timedelta(days=days)
    event = pl.col("event_time")
    rows = read_predictions(tables, model, (event >= since) & (event < now))
    rows = joined(rows, read_outcomes(tables, model, told_since(since, rows)))
    rows = rows.filter(pl.col("received").is_not_null()).sort("received", "id")
    rows = rows.with_columns(loss=pl.Series(losses(rows, known), dtype=pl.Float64)).filter(
        pl.col("loss").is_not_nan()
    )
    return {
        parse_segment(str(segment)): part["loss"].to_numpy()
        for (segment,), part in rows.partition_by("segment", as_dict=True, maintain_order=True).items()
    }
