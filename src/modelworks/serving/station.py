"""Serve's verbs: predict, tell outcomes, refresh, drain, find, recent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson

from modelworks.core.errors import Invalid, ModelworksError
from modelworks.core.plain import to_json
from modelworks.serving import forget, log_search, outcomes, prediction_log
from modelworks.serving.data_plane import DataPlane
from modelworks.serving.declared import Declared
from modelworks.serving.features import OnlineFeatures
from modelworks.serving.fleet import Fleet
from modelworks.serving.log_search import Wanted
from modelworks.serving.native.pools import Pools
from modelworks.serving.paths import PREDICT
from modelworks.serving.stream import Stream
from modelworks.stores import Stores


class ServeStation:
    """Answers in this process, with the same data plane as the server.

    Args:
        stores: Ledger, tables, artifacts, spool.
        max_body: Largest request body, bytes.
        memory: Bytes that loaded models may take together; 0 for any.
        log_sync: ``"fsync"`` has the log on the disk before an answer leaves; see the setting ``server.log_sync``.

    Raises:
        Invalid: `log_sync` is not known.
    """

    def __init__(
        self, stores: Stores, max_body: int = 16 * 1024 * 1024, memory: int = 0, log_sync: str = "none"
    ) -> None:
        if log_sync not in ("none", "fsync"):
            raise Invalid(f"server.log_sync is {log_sync!r}", "", "use none or fsync")
        self.stores = stores
        self._sync = log_sync == "fsync"
        self._max_body = max_body
        self._memory = memory
        self._pools: Pools | None = None

    def share(self, processes: int) -> None:
        """Be one of so many processes that have the memory for models together; to be said before anything is asked."""
        self._memory = self._memory and max(self._memory // processes, 1)

    def apart(self, memory: int = 0, environments: Path | None = None) -> None:
        """Answer with models that are not compiled in processes of their own; to be said before anything is asked.

        Args:
            memory: Bytes that one of these may have; 0 for half of the machine's.
            environments: Where environments of their own are kept.
        """
        self._pools = Pools(self.stores.artifacts, memory, environments)

    @cached_property
    def plane(self) -> DataPlane:
        """The data plane: give it to `serve.server.run`."""
        fleet = Fleet(self.stores.ledger, self.stores.artifacts, memory=self._memory, pools=self._pools)
        features = OnlineFeatures(self.stores.ledger, self.stores.tables)
        return DataPlane(fleet, self.stores.spool, self._max_body, features, self._sync)

    def predict(self, model: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Answer rows, each by its segment's champion; logged like those of the server.

        Args:
            model: Its name, or ``name[segment]``.
            rows: Values by column.

        Returns:
            ``{"model", "predictions": [{"id", "version", "segment", "output"}]}``.

        Raises:
            NotFound: there is no such model, or nothing answers for a row's segment.
            NotReady: nothing of the model is live.
            Invalid: a row cannot be answered as it is.
        """
        self.plane.refresh()
        result = self.plane.results(
            [(PREDICT + quote(model, safe="").encode(), to_json({"rows": list(rows)}))]
        )[0]
        if isinstance(result, ModelworksError):
            raise result
        answer: dict[str, Any] = orjson.loads(result)
        return answer

    def stream(self, model: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
        """Answer rows piece by piece: each as ``{"row", "piece"}``, at last what `predict` would have answered.

        Raises:
            ModelworksError: as `predict`; also in the middle. What was given then is in the log, as cut off.
        """
        self.plane.refresh()
        stream = Stream(self.plane, (PREDICT + quote(model, safe="").encode(), to_json({"rows": list(rows)})))
        step = stream.begin
        try:
            while some := step():
                for row, piece in some:
                    yield {"row": row, "piece": orjson.loads(piece)}
                step = stream.take
            yield orjson.loads(stream.finish())
        finally:
            stream.cut()  # if it was not finished

    def outcomes(self, outcomes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Tell what really happened; see `POST /outcomes`.

        Raises:
            Invalid: one of them is not an outcome; none is taken then.
        """
        told: dict[str, Any] = orjson.loads(self.plane.tell(to_json({"outcomes": list(outcomes)})))
        return told

    def needed(self, declared: Declared) -> Sequence[str]:
        """The columns that a model's computed features are computed from."""
        features = self.plane.features
        if features is None or declared.dataset is None or not declared.features:
            return ()
        return features.needed(declared.dataset, declared.features)

    def refresh(self) -> bool:
        """Follow the ledger now; true if anything changed."""
        return self.plane.refresh()

    def drain(self) -> int:
        """Move what was logged into the tables; returns the number of rows."""
        return prediction_log.drain(self.stores, self._sync)

    def forget(self, models: Sequence[str], column: str | None, value: str) -> forget.Gone:
        """Take a subject out of the log: see `serving.forget`."""
        return forget.forget(self.stores, models, column, value)

    def find(self, prediction_id: str) -> dict[str, Any] | None:
        """A logged prediction, or ``None``."""
        return log_search.find(self.stores, prediction_id)

    def outcomes_of(self, prediction: Mapping[str, Any]) -> list[dict[str, Any]]:
        """What was told of a logged prediction; see `outcomes.found`."""
        return outcomes.found(
            self.stores.tables, prediction["id"], prediction["model"], prediction.get("key")
        )

    def recent(
        self,
        model: str | None = None,
        limit: int = 50,
        since: datetime | None = None,
        until: datetime | None = None,
        caller: str | None = None,
        request: str | None = None,
    ) -> list[dict[str, Any]]:
        """The newest predictions, the newest first; see `Wanted`."""
        return log_search.recent(self.stores, Wanted(model, limit, since, until, caller, request))

    def close(self) -> None:
        """Let go of the log's files."""
        if "plane" in self.__dict__:
            self.plane.close()
