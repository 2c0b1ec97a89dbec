"""A dataset version: what one ingest made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

VERSION = "_version"
"""Column of every dataset's table: the version with which a row came in."""


@dataclass(frozen=True)
class DatasetVersion:
    """One version.

    Attributes:
        dataset: Name of the dataset.
        version: Its number, from 1.
        table_version: Version of the Delta table that its rows are read from: those that came up to it.
        epoch: Versions with the same number are read from the same table version.
        rows: Rows in all.
        added: Rows that came with this version.
        replaced: Older rows with the same keys that these took the place of.
        quarantined: Rows of the same ingest that broke the contract.
        sources: What was taken in: uri and fingerprint.
        columns: The contract at that time.
        offered: Columns that came and that it does not know, each with a declaration that would take it in.
        warnings: What was wrong and let in all the same, with the number of rows; 0 of all of them together.
        newest: The latest event time up to this version, UTC; ``None`` without one.
        created: When, UTC.
        digest: Of the files that it was made of; never changes.
        files: Digest of the files that hold its rows now: packing and erasing write them anew.
        erased: Rows of forgotten subjects that it had.
        dropped: Since when its rows are not kept any more; ``None`` while they are.
    """

    dataset: str
    version: int
    table_version: int
    epoch: int
    rows: int
    added: int
    replaced: int
    quarantined: int
    sources: Sequence[Mapping[str, str]]
    columns: Mapping[str, Any]
    offered: Mapping[str, str]
    warnings: Mapping[str, int]
    newest: datetime | None
    created: datetime
    digest: str
    files: str
    erased: int = 0
    dropped: datetime | None = None


@dataclass(frozen=True)
class IngestReport:
    """What an ingest did.

    Attributes:
        dataset: Name of the dataset.
        version: The version it made; ``None`` where there was nothing new.
        parts: Files (or other parts) that were taken in.
        rows_read: Rows that were looked at.
        rows_added: Rows that fit the contract.
        rows_replaced: Older rows with the same keys that these took the place of.
        rows_quarantined: Rows that broke it; they are kept with their reason.
        reasons: Reason to number of rows.
        failed: Parts that could not be read, with the reason. One whose content is bad is quarantined and
            tried again when it changes; one that was out of reach is tried again by the next ingest.
        offered: Columns that the contract does not know, each with a declaration that would take it in; they
            were left out.
        warnings: What was wrong and let in all the same, with the number of rows; 0 of all of them together.
        refused: Why nothing was let in of what came, although it could be read; ``""`` otherwise. The next
            ingest tries again.
        lost: Messages of a stream that were gone before they were read, in words.
        notes: What a person should know: files that changed, an ingest that had been cut off.
        seconds: Wall time.
    """

    dataset: str
    version: int | None = None
    parts: int = 0
    rows_read: int = 0
    rows_added: int = 0
    rows_replaced: int = 0
    rows_quarantined: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    offered: Mapping[str, str] = field(default_factory=dict)
    warnings: Mapping[str, int] = field(default_factory=dict)
    refused: str = ""
    lost: Sequence[str] = ()
    notes: Sequence[str] = ()
    seconds: float = 0.0
