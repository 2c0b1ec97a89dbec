"""Taking a subject's predictions, and what became of them, out of the log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from modelworks.core.plain import has_value
from modelworks.serving.prediction_log import alone
from modelworks.serving.redaction import Redaction, key_of
from modelworks.serving.spool import OUTCOMES, PREDICTIONS
from modelworks.stores import Stores


@dataclass(frozen=True)
class Gone:
    """What the log lost.

    Attributes:
        rows: Predictions and outcomes.
        names: What the predictions went by: their ids, and their keys.
    """

    rows: int
    names: frozenset[str]


def forget(stores: Stores, models: Sequence[str], column: str | None, text: str) -> Gone:
    """Take a subject's predictions and outcomes out of the tables; drain first.

    Args:
        stores: Where they are.
        models: Of which models.
        column: The input that names the subject; ``None`` where the predictions' key does.
        text: Its value.
    """
    with alone(stores.spool):
        mine = _mine(stores, models, column, text)
        ids = mine["id"]
        gone = len(stores.tables.remove(PREDICTIONS, ids.to_frame(), ["id"])) if len(ids) else 0
        gone += _outcomes(stores, models, ids, text if column is None else None)
        for name in (PREDICTIONS, OUTCOMES) if gone else ():
            stores.tables.vacuum(name, [], 0)
    return Gone(gone, frozenset(ids) | frozenset(mine["key"].drop_nulls()))


def _mine(stores: Stores, models: Sequence[str], column: str | None, text: str) -> pl.DataFrame:
    """Id and key of the subject's predictions."""
    if not stores.tables.exists(PREDICTIONS):
        return pl.DataFrame(schema={"id": pl.String, "key": pl.String})
    rows = stores.tables.scan(PREDICTIONS).filter(pl.col("model").is_in(list(models)))
    if column is None:
        return rows.filter(pl.col("key") == text).select("id", "key").collect()
    found = rows.select("id", "key", "inputs").collect()
    with stores.ledger.read() as db:
        key = key_of(db)
    meant = [text, *([] if not key else [Redaction({}, key).hashed(text)])]  # it may be there as a hash
    mine = [any(has_value(row, column, one) for one in meant) for row in found["inputs"]]
    return found.select("id", "key").filter(pl.Series(mine, dtype=pl.Boolean))


def _outcomes(stores: Stores, models: Sequence[str], ids: pl.Series, key: str | None) -> int:
    if not stores.tables.exists(OUTCOMES):
        return 0
    mine = pl.col("prediction_id").is_in(ids.implode())
    if key is not None:
        mine |= (pl.col("key") == key) & (pl.col("model").is_null() | pl.col("model").is_in(list(models)))
    rows = stores.tables.scan(OUTCOMES).filter(mine).select("prediction_id", "key", "received").collect()
    return len(stores.tables.remove(OUTCOMES, rows, ["key"])) if len(rows) else 0
