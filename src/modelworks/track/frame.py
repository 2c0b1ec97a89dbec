"""Runs as a frame: a row a run, a column for each parameter, metric and tag."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import polars as pl

_OWN: dict[str, Any] = {
    "id": pl.String, "name": pl.String, "experiment": pl.String, "segment": pl.String, "kind": pl.String,
    "status": pl.String, "parent": pl.String, "note": pl.String, "error": pl.String,
    "started": pl.Datetime("us", "UTC"), "ended": pl.Datetime("us", "UTC"), "duration": pl.Float64,
}  # fmt: skip


def frame(told: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """The frame of what a search returned; what a run has of itself stands in front."""
    columns = [
        pl.Series(
            name, [_own(run[name]) if name in ("started", "ended") else run[name] for run in told], dtype=kind
        )
        for name, kind in _OWN.items()
    ]
    for group in ("params", "metrics", "tags"):
        for name in dict.fromkeys(name for run in told for name in run[group]):
            values = [run[group].get(name) for run in told]
            columns.append(_series(f"{group}.{name}", values))
    return pl.DataFrame(columns)


def _own(moment: datetime | str | None) -> datetime | None:
    return datetime.fromisoformat(moment) if isinstance(moment, str) else moment


def _series(name: str, values: list[Any]) -> pl.Series:
    """Numbers where all are, booleans where all are, texts otherwise."""
    given = [value for value in values if value is not None]
    if all(isinstance(value, bool) for value in given) and given:
        return pl.Series(name, values, dtype=pl.Boolean)
    if all(
        isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63 for value in given
    ):
        return pl.Series(name, values, dtype=pl.Int64 if given else pl.Null)
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in given):
        return pl.Series(name, values, dtype=pl.Float64, strict=False)
    return pl.Series(name, [None if value is None else str(value) for value in values], dtype=pl.String)
