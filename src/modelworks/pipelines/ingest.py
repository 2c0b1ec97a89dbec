"""Rows into datasets, watched: whoever should know that nothing comes, or much of it is bad, is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from threading import Event
from time import monotonic
from typing import Any

import polars as pl

from modelworks.core.errors import Conflict, ModelworksError, Unavailable
from modelworks.data.contract import Rejected
from modelworks.data.follow import Said
from modelworks.data.quarantine import Choice
from modelworks.data.version import IngestReport
from modelworks.pipelines.context import Stations

_LOOK_EVERY = 10.0
"""Seconds between two looks at what a stream brought, while nothing changes."""


def ingest(stations: Stations, name: str, *, accept: bool = False) -> IngestReport:
    """Take in what is new in a dataset's source.

    Args:
        stations: The belt.
        name: The dataset.
        accept: Let in also what its rules over all of it together refuse.

    Raises:
        ModelworksError: it cannot be; an alert says so.
    """
    dataset = stations.project.dataset(name)
    return _watched(stations, name, lambda: stations.data.ingest(dataset, accept=accept))


def push(
    stations: Stations, name: str, rows: Sequence[Mapping[str, Any]] | pl.DataFrame, id: str | None = None
) -> IngestReport:
    """Take in rows that somebody sent: see `DataStation.push`."""
    dataset = stations.project.dataset(name)
    return _watched(stations, name, lambda: stations.data.push(dataset, rows, id), only=Rejected)


def replay(
    stations: Stations,
    name: str,
    choice: Choice,
    values: Mapping[str, Any],
    corrected: Sequence[Mapping[str, Any]],
) -> IngestReport:
    """Take rows of the quarantine in again: see `DataStation.replay`."""
    return stations.data.replay(stations.project.dataset(name), choice, values, corrected)


def _watched(
    stations: Stations,
    name: str,
    take_in: Callable[[], IngestReport],
    only: type[ModelworksError] = ModelworksError,
) -> IngestReport:
    try:
        report = take_in()
    except only as error:
        stations.monitor.observe_intake(name, error)
        raise
    stations.monitor.observe_intake(name, report)
    return report


def ingest_all(stations: Stations, names: Sequence[str]) -> list[IngestReport]:
    """Take in what is new in several; a source that does not answer keeps nothing else from going on."""
    reports = []
    for name in names:
        if name not in stations.following:
            try:
                reports.append(ingest(stations, name))
            except (Unavailable, Conflict) as error:
                reports.append(IngestReport(name, failed={name: str(error)}))
        stations.monitor.observe_overdue(name, stations.data.overdue(stations.project.dataset(name)))
    return reports


def follow(stations: Stations, name: str, stop: Event, said: Said) -> None:
    """Take in what comes of a stream, as it comes, until told to stop.

    Raises:
        Invalid: the dataset's source is no stream.
    """
    looked, failing = 0.0, False

    def hear(told: IngestReport | ModelworksError) -> None:
        nonlocal looked, failing
        failed = isinstance(told, ModelworksError)
        changed = failed != failing or (isinstance(told, IngestReport) and bool(told.lost))
        if changed or monotonic() - looked > _LOOK_EVERY:
            stations.monitor.observe_intake(name, told)
            looked, failing = monotonic(), failed
        said(told)

    stations.data.follow(stations.project.dataset(name), stop, hear)
