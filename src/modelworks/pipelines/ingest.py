"""Rows into datasets, watched: whoever should know that nothing comes, or much of it is bad, is told."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Event
from time import monotonic

from modelworks.core.errors import Conflict, ModelworksError, Unavailable
from modelworks.data.follow import Said
from modelworks.data.version import IngestReport
from modelworks.pipelines.context import Stations

_LOOK_EVERY = 10.0
"""Seconds between two looks at what a stream brought, while nothing changes."""


def ingest(stations: Stations, name: str) -> IngestReport:
    """Take in what is new in a dataset's source.

    Raises:
        ModelworksError: it cannot be; an alert says so.
    """
    try:
        report = stations.data.ingest(stations.project.dataset(name))
    except ModelworksError as error:
        stations.monitor.observe_intake(name, error)
        raise
    stations.monitor.observe_intake(name, report)
    return report


def ingest_all(stations: Stations, names: Sequence[str]) -> list[IngestReport]:
    """Take in what is new in several; a source that does not answer keeps nothing else from going on."""
    reports = []
    for name in names:
        try:
            reports.append(ingest(stations, name))
        except (Unavailable, Conflict) as error:
            reports.append(IngestReport(name, failed={name: str(error)}))
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
