"""What goes on from where it was left, into tables: streams and sources with a cursor, a version at each step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import Event

from modelworks.core.errors import ModelworksError, Unavailable
from modelworks.data.dataset import Dataset
from modelworks.data.delivery import from_source, from_stream
from modelworks.data.ingest import ingest
from modelworks.data.sources.port import Incremental
from modelworks.data.standing import cursor, positions
from modelworks.data.streams.port import Reader, Stream, Taken
from modelworks.data.undo import Stores
from modelworks.data.version import IngestReport

Said = Callable[[IngestReport | ModelworksError], None]
"""Is told of every version, and of what is in the way."""

_PATIENCE = 10.0
"""Seconds after which a stream that has more to give, and does not, counts as stuck."""
_WAITS = (0.5, 30.0)
"""Seconds before a stream that failed is opened again: at first, and at most."""


def drain(dataset: Dataset, stream: Stream, stores: Stores) -> IngestReport:
    """Take in all that waits in a stream now.

    Raises:
        Unavailable: it does not answer, or stops before its end; what came by then is taken in.
        Conflict: another process takes it in as well.
    """
    reports = []
    with _opened(dataset, stream, stores) as reader:
        while (behind := reader.behind) > 0:
            taken = reader.take(min(stream.rows, behind), _PATIENCE)
            if taken is None and reader.behind >= behind:
                raise Unavailable(
                    f"{stream} has {behind:,} more messages, but does not give them", "", "try again"
                )
            if taken is not None:
                reports.append(take(dataset, stores, taken))
    return _sum(dataset, reports)


def catch_up(dataset: Dataset, source: Incremental, stores: Stores, accept: bool = False) -> IngestReport:
    """Take in all that has come since a source was left, in steps of bounded size; each is a version.

    Raises:
        Unavailable: it does not answer; what came by then is taken in.
        Invalid: it has no such table or column.
        Conflict: another process takes it in as well.
    """
    reports, more = [], True
    while more:
        since = cursor(dataset.name, stores, source.name)
        found = source.increment(stores.root, since)
        if found is None:
            break
        report = ingest(dataset, stores, [from_source(source.name, found)], accept=accept)
        reports.append(replace(report, notes=(*report.notes, *found.notes)))
        more = found.more and not report.refused
    return _sum(dataset, reports)


def follow(dataset: Dataset, stream: Stream, stores: Stores, stop: Event, said: Said) -> None:
    """Take in what comes, as it comes, until told to stop; opened again, ever more slowly, when it fails.

    Args:
        dataset: Where to.
        stream: Where from.
        stores: Where the rows go.
        stop: Set by another thread to end it; what was taken by then is committed.
        said: Is told of every version, and of errors.
    """
    wait = _WAITS[0]
    while not stop.is_set():
        try:
            with _opened(dataset, stream, stores) as reader:
                while not stop.is_set():
                    taken = reader.take(stream.rows, stream.seconds)
                    if taken is not None:
                        said(take(dataset, stores, taken))
                        wait = _WAITS[0]
        except ModelworksError as error:
            said(error)
            stop.wait(wait)
            wait = min(2 * wait, _WAITS[1])


@contextmanager
def _opened(dataset: Dataset, stream: Stream, stores: Stores) -> Iterator[Reader]:
    reader = stream.open(lambda names: positions(dataset.name, stores, names), dataset.contract)
    try:
        yield reader
    finally:
        reader.close()


def take(dataset: Dataset, stores: Stores, taken: Taken) -> IngestReport:
    """Take in what a reader gave, as one version.

    Raises:
        Conflict: it is not what comes next; another process took it in.
    """
    return ingest(dataset, stores, [from_stream(piece) for piece in taken.slices], taken.lost)


def _sum(dataset: Dataset, reports: list[IngestReport]) -> IngestReport:
    """Several as one."""
    if not reports:
        return IngestReport(dataset.name)
    reasons: Counter[str] = Counter()
    warnings: Counter[str] = Counter()
    for report in reports:
        reasons.update(report.reasons)
        warnings.update(report.warnings)
    return replace(
        reports[-1],
        parts=max(report.parts for report in reports),
        rows_read=sum(report.rows_read for report in reports),
        rows_added=sum(report.rows_added for report in reports),
        rows_replaced=sum(report.rows_replaced for report in reports),
        rows_quarantined=sum(report.rows_quarantined for report in reports),
        reasons=dict(reasons.most_common()),
        failed={part: why for report in reports for part, why in report.failed.items()},
        offered={name: how for report in reports for name, how in report.offered.items()},
        warnings=dict(warnings),
        lost=tuple(dict.fromkeys(word for report in reports for word in report.lost)),
        notes=tuple(dict.fromkeys(note for report in reports for note in report.notes)),
        seconds=sum(report.seconds for report in reports),
    )
