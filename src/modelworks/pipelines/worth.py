"""What rows of a dataset would be worth, by a function of rows: it sees them as the prediction log would hold them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from modelworks.core.ref import Ref
from modelworks.monitor.value import Worth
from modelworks.pipelines.context import Stations
from modelworks.pipelines.look_back import LookBack
from modelworks.pipelines.project import Model
from modelworks.train import evaluate


def looked_at(stations: Stations, model: Model, version: int | None = None) -> list[str]:
    """The columns that such a function may look at: of the model's dataset, as far as they reach the log in plain.

    Args:
        stations: The belt.
        model: Whose value.
        version: Of its dataset; the newest by default.
    """
    if not isinstance(model.value, Worth):
        return []
    dataset = stations.project.dataset(model.definition.dataset)
    there = stations.data.version_of(Ref(dataset.name, at=version)).columns
    return [
        name
        for name, field in dataset.contract.items()
        if name != model.definition.target and not field.sensitive and name in there
    ]


def as_logged(inputs: pl.Series, truth: npt.NDArray[Any], times: npt.NDArray[Any]) -> pl.DataFrame:
    """Rows of a dataset as `Value.each` takes them.

    Args:
        inputs: What is sent of each, JSON.
        truth: Targets, numbers or texts, shape (rows,).
        times: Event times in microseconds, shape (rows,).
    """
    texts = truth.dtype == object
    return pl.DataFrame({"inputs": inputs}).with_columns(
        value=pl.lit(None, pl.Float64) if texts else pl.Series(truth.astype(float)),
        label=pl.Series(truth.astype(str)) if texts else pl.lit(None, pl.String),
        event_time=pl.Series(times).cast(pl.Datetime("us", "UTC")),
    )


def held_out(worth: Worth, back: LookBack, columns: Sequence[str]) -> dict[str, Any]:
    """What a version's answers to the rows that judged it are worth, beside no answers; as a card says it.

    Args:
        worth: By what.
        back: The rows.
        columns: See `looked_at`.

    Raises:
        Invalid: that cannot be told.
    """
    held = back.held_out
    inputs = pl.DataFrame({name: held.column(name) for name in columns}).select(
        pl.struct(pl.exclude(pl.String), pl.col(pl.String).replace("", None)).struct.json_encode()
    )
    told = worth.of(as_logged(inputs.to_series(), held.truth, back.times))
    answers = evaluate.main(held.signature, held.scores).astype(np.float64)
    return {
        "unit": worth.unit,
        "function": getattr(worth.function, "__name__", "a function"),
        "rows": len(held),
        "model": float(told(answers).sum()),
        "never": float(told(np.full(len(held), np.nan)).sum()),
    }
