"""Features of the rows that are asked for: computed here as they were for the training."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime

import orjson
import polars as pl

from modelworks.core.errors import Invalid, ModelworksError
from modelworks.core.schema import Field
from modelworks.data.contract import as_typed
from modelworks.data.features.compute import needs
from modelworks.data.frames import Frames
from modelworks.data.streams.messages import columns_of
from modelworks.stores.ledger import Ledger
from modelworks.stores.tables import Tables

_log = logging.getLogger("modelworks.serving")


class OnlineFeatures:
    """Adds features to requests.

    The pasts that features look into are held in memory, and are brought up to date beside the traffic.

    Args:
        ledger: What is declared.
        tables: The rows that features look into.
    """

    def __init__(self, ledger: Ledger, tables: Tables) -> None:
        self._frames = Frames(ledger, tables)

    def refresh(self) -> None:
        """Bring what is held up to date with the newest versions."""
        self._frames.declare()
        for dataset, keys in self._frames.held():
            try:
                self._frames.past(dataset, keys)
            except ModelworksError as error:  # what is held stays
                _log.warning("features of %s are not up to date: %s", dataset, error)

    def add(self, dataset: str, names: Sequence[str], body: bytes) -> bytes:
        """A request's body with features in each of its rows, in the place of what was sent by their names.

        A row without a time is one of now. A body that is no request stays as it is: who decodes it says why.

        Args:
            dataset: Whose features.
            names: Which.
            body: ``{"rows": [...]}``.

        Raises:
            Invalid: a row lacks a column that a feature is computed from.
            NotReady: a dataset that a feature looks into has no version yet.
        """
        try:
            request = orjson.loads(body)
            rows = request["rows"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return body
        if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
            return body
        declared = self._frames.declared()[dataset]
        wanted = self.needed(dataset, names)
        for name in wanted:
            if any(name not in row for row in rows):
                raise _lacks("a row", name, wanted)
        time = [declared.time] if declared.time else []
        now = datetime.now(UTC).isoformat()
        sent = [
            {name: row.get(name, now if name in time else None) for name in (*wanted, *time)} for row in rows
        ]
        frame = columns_of(sent) if wanted or time else pl.DataFrame({"": [None] * len(rows)})
        found = self.frame(dataset, names, frame)
        told = found.to_dicts()
        for row, more in zip(rows, told, strict=True):
            row.update(more)
        return orjson.dumps(request)

    def needed(self, dataset: str, names: Sequence[str]) -> tuple[str, ...]:
        """The columns that features are computed from."""
        declared = self._frames.declared()[dataset]
        return tuple(needs(declared.features, list(names), declared.columns))

    def frame(self, dataset: str, names: Sequence[str], rows: pl.DataFrame) -> pl.DataFrame:
        """Features of the rows of a frame; without a column of the time they are rows of now.

        Raises:
            Invalid: a column is not there that a feature is computed from.
            NotReady: a dataset that a feature looks into has no version yet.
        """
        declared = self._frames.declared()[dataset]
        wanted = self.needed(dataset, names)
        for name in wanted:
            if name not in rows.columns:
                raise _lacks("the table", name, wanted)
        time = [declared.time] if declared.time else []
        if time and time[0] not in rows.columns:
            rows = rows.with_columns(pl.lit(datetime.now(UTC)).alias(time[0]))
        contract = {name: Field.from_json(declared.columns[name]) for name in (*wanted, *time)}
        typed = as_typed(rows, contract) if contract else rows
        return self._frames.add(typed, declared, names, self._frames.held_past).select(names)


def _lacks(what: str, name: str, wanted: Sequence[str]) -> Invalid:
    return Invalid(
        f"{what} has no {name!r}",
        f"features of it are computed from {', '.join(wanted)}",
        f"send {name!r} with every row; null where it is not known",
    )
