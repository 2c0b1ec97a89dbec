"""A small ledger with registered champions, and days of predictions and outcomes for the monitor's tests."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from sqlalchemy import insert

from modelworks.core.batch import Batch
from modelworks.core.measure import Reference
from modelworks.core.schema import Field, Kind
from modelworks.models.package import Package, Proof
from modelworks.models.signature import Label, Signature, Task
from modelworks.monitor.window import _OUTCOMES
from modelworks.stores import Stores, open_stores
from modelworks.stores.ledger.portable import upsert
from modelworks.stores.ledger.tables import deployments, model_versions

START = datetime(2024, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
MODEL = "delay"
_UTC = pl.Datetime("us", "UTC")
_PREDICTIONS: dict[str, Any] = {
    "id": pl.String,
    "time": _UTC,
    "event_time": _UTC,
    "model": pl.String,
    "segment": pl.String,
    "version": pl.Int64,
    "key": pl.String,
    "inputs": pl.String,
    "output": pl.Float64,
    "outputs": pl.String,
}


def signature(task: Task = "binary", classes: tuple[Label, ...] = (0, 1)) -> Signature:
    fields = (Field("wind", Kind.NUMBER, True), Field("rain", Kind.BOOL), Field("day", Kind.TEXT, True))
    return Signature(fields, task, classes)


def rows(rng: np.random.Generator, n: int, wind: float = 0.0) -> list[dict[str, Any]]:
    """Rows as a caller sends them."""
    return [
        {
            "wind": None if rng.random() < 0.1 else float(np.float32(rng.normal(wind, 1))),
            "rain": bool(rng.random() < 0.3),
            "day": str(rng.choice(["Mon", "Tue", "Sun"])),
            "other": "not an input",
        }
        for _ in range(n)
    ]


def batch(sent: Sequence[Mapping[str, Any]]) -> Batch:
    """Rows in the layout of `signature`."""
    numbers = [[np.nan if row["wind"] is None else row["wind"], float(row["rain"])] for row in sent]
    texts = np.empty((len(sent), 1), dtype=object)
    texts[:, 0] = [row["day"] or "" for row in sent]
    return Batch(np.array(numbers, np.float32).reshape(len(sent), 2), texts)


def score(sent: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """What the model answers: the chance that it happens."""
    wind = np.array([row["wind"] or 0.0 for row in sent])
    return np.float32(1 / (1 + np.exp(-wind)))


class World:
    """Stores with champions that can be asked.

    Args:
        folder: Where to.
        segments: Texts of their segments.
        task: Of all models.
        classes: Their labels.
    """

    def __init__(
        self,
        folder: Path,
        segments: Sequence[str] = ("UA", "AA"),
        task: Task = "binary",
        classes: tuple[Label, ...] = (0, 1),
        promised: Mapping[str, float] | None = None,
    ) -> None:
        self.stores: Stores = open_stores(folder)
        self.rng = np.random.default_rng(0)
        self.signature = signature(task, classes)
        self.references: dict[tuple[str, int], Reference] = {}
        self.made = 0
        for segment in segments:
            self.register(segment, 1, promised or {"log_loss": 0.62, "rmse": 1.0})

    def register(
        self, segment: str, version: int, promised: Mapping[str, float], wind: float = 0.0, bare: bool = False
    ) -> None:
        """A new champion, made of rows with that mean wind."""
        before = rows(self.rng, 300, wind)
        made = Reference.build(batch(before), score(before))
        self.references[segment, version] = made
        digest = None if bare else self.stores.artifacts.put(made.to_bytes())
        package = Package(
            self.signature, "sklearn", "0" * 64, None, Proof(0, None, 1e-4), digest, "env", "code"
        )
        row = {"model": MODEL, "segment": segment, "version": version, "package": package.to_json()}
        row |= {"run": f"{segment}-{version}", "metrics": promised, "rows_filter": {}, "created": START}
        deployed = {"model": MODEL, "segment": segment, "champion": version, "previous": None, "strategy": {}}
        deployed |= {"reason": "", "revision": len(self.references), "updated": START}
        with self.stores.ledger.write() as db:
            db.execute(insert(model_versions).values(row))
            upsert(db, deployments, [deployed])

    def predict(
        self,
        sent: Sequence[Mapping[str, Any]],
        event: Sequence[datetime],
        segment: str = "UA",
        version: int = 1,
        answered: datetime | None = None,
        output: Sequence[float | None] | None = None,
        outputs: Sequence[str] | None = None,
        keys: Sequence[str] | None = None,
        arms: Sequence[str] | None = None,
    ) -> list[str]:
        """Log predictions; returns their ids."""
        ids = [f"{self.made + n:026x}-0" for n in range(len(sent))]
        self.made += len(sent)
        frame = pl.DataFrame(
            {
                "id": ids,
                "time": [answered or moment for moment in event],
                "event_time": list(event),
                "model": [MODEL] * len(sent),
                "segment": [segment] * len(sent),
                "version": [version] * len(sent),
                "key": list(keys) if keys is not None else [f"k{name}" for name in ids],
                "inputs": [json.dumps(row) for row in sent],
                "output": score(sent).astype(float).tolist() if output is None else list(output),
                "outputs": list(outputs) if outputs is not None else [""] * len(sent),
            },
            schema=_PREDICTIONS,
        )
        if arms is not None:
            frame = frame.with_columns(arm=pl.Series(list(arms)))
        self.stores.tables.append("predictions", frame)
        return ids

    def tell(self, outcomes: Sequence[Mapping[str, Any]]) -> None:
        """Log outcomes: dicts with ``prediction_id`` or ``key``, ``value`` or ``label``, ``time``, ``received``."""
        schema = {**_OUTCOMES, "model": pl.String, "time": _UTC}
        full = [{name: one.get(name) for name in schema} for one in outcomes]
        self.stores.tables.append("outcomes", pl.DataFrame(full, schema=schema))

    def day(
        self,
        number: int,
        n: int = 40,
        segment: str = "UA",
        wind: float = 0.0,
        flipped: bool = False,
        version: int = 1,
    ) -> None:
        """A day of predictions, and their outcomes in the evening."""
        begin = START + number * DAY
        sent = rows(self.rng, n, wind)
        moments = [begin + timedelta(minutes=int(m)) for m in np.sort(self.rng.integers(0, 1400, n))]
        ids = self.predict(sent, moments, segment, version)
        happened = self.rng.random(n) < (1 - score(sent) if flipped else score(sent))
        evening = begin + timedelta(hours=23, minutes=50)
        self.tell(
            [
                {"prediction_id": name, "value": float(came), "time": moment, "received": evening}
                for name, came, moment in zip(ids, happened, moments, strict=True)
            ]
        )
