"""Outcomes: what really happened, told late and in any order, by prediction id or by key."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any

import msgspec
import polars as pl
from msgspec import Meta, Struct

from modelworks.core.clock import microseconds
from modelworks.core.errors import Invalid
from modelworks.serving.columns import MAX_ROWS
from modelworks.serving.replies import undecodable
from modelworks.serving.spool import OUTCOMES, Entry
from modelworks.stores.tables import Tables

SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "prediction_id": pl.String,
    "model": pl.String,
    "key": pl.String,
    "value": pl.Float64,
    "label": pl.String,
    "time": pl.Datetime("us", "UTC"),
    "received": pl.Datetime("us", "UTC"),
}
"""Columns of the table ``outcomes``. A class label that is text is in ``label``, all else in ``value``."""

UNLOGGED = "unlogged-"
"""What ids of predictions begin with that are not in the log."""
_MOST = 10
"""Outcomes of one prediction that are told."""
_Text = Annotated[str, Meta(min_length=1, max_length=500)]
_Id = Annotated[str, Meta(pattern=rf"^({UNLOGGED})?[0-9a-f]{{26}}-[0-9]{{1,6}}$")]


class Outcome(Struct, gc=False):
    """What happened.

    Attributes:
        value: The truth: a number, a boolean, or a class label.
        prediction_id: Of the prediction it belongs to.
        key: Value of the dataset's key column in the predicted row; instead of `prediction_id`.
        model: With `key`: the model meant; ``None`` for every model that predicted it.
        time: When it happened; ``None`` for when it was received.
    """

    value: float | bool | _Text
    prediction_id: _Id | None = None
    key: _Text | int | None = None
    model: Annotated[str, Meta(max_length=100)] | None = None
    time: datetime | None = None

    @property
    def unlogged(self) -> bool:
        """Whether its prediction was left out of the log."""
        return self.prediction_id is not None and self.prediction_id.startswith(UNLOGGED)


class Outcomes(Struct, gc=False):
    """A request body."""

    outcomes: Annotated[list[Outcome], Meta(min_length=1, max_length=MAX_ROWS)]


_DECODER = msgspec.json.Decoder(Outcomes)


def read(body: bytes) -> list[Outcome]:
    """Read a request body.

    Raises:
        Invalid: what is wrong, and with which outcome.
    """
    try:
        found = _DECODER.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise undecodable(error, body) from None
    except UnicodeDecodeError as error:
        raise Invalid("the request body is not UTF-8", str(error), "send JSON in UTF-8") from None
    for number, one in enumerate(found.outcomes):
        if (one.prediction_id is None) == (one.key is None):
            raise Invalid(
                f"outcome {number} cannot be placed",
                "it needs either a 'prediction_id' or a 'key', and not both",
                "correct it",
            )
        if isinstance(one.value, float) and not math.isfinite(one.value):
            raise Invalid(f"outcome {number} has no finite value", "", "send a number that is one")
    return found.outcomes


def found(tables: Tables, prediction_id: str, model: str, key: str | None) -> list[dict[str, Any]]:
    """What was told of a prediction, by its id or by its key, the newest first; of what is in the table."""
    if not tables.exists(OUTCOMES):
        return []
    mine = pl.col("prediction_id") == prediction_id
    if key is not None:
        of_model = pl.col("model").is_null() | (pl.col("model") == model)
        mine |= pl.col("prediction_id").is_null() & (pl.col("key") == key) & of_model
    rows = tables.scan(OUTCOMES).filter(mine).sort("received", descending=True).head(_MOST)
    return rows.collect().to_dicts()


def table(entries: Iterable[Entry]) -> pl.DataFrame:
    """Logged requests as rows of the table ``outcomes``; of one thing told twice in a request the last."""
    columns: dict[str, list[Any]] = {name: [] for name in SCHEMA}
    for entry in entries:
        told = {(one.prediction_id, one.model, str(one.key)): one for one in read(entry.request)}
        for one in told.values():
            if one.unlogged:
                continue
            text = isinstance(one.value, str)
            columns["prediction_id"].append(one.prediction_id)
            columns["model"].append(one.model)
            columns["key"].append(None if one.key is None else str(one.key))
            columns["value"].append(None if text else float(one.value))
            columns["label"].append(one.value if text else None)
            columns["time"].append(entry.time if one.time is None else microseconds(one.time))
            columns["received"].append(entry.time)
    return pl.DataFrame(columns, schema=SCHEMA)
