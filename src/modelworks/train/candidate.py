"""A candidate: what training one segment brought, for the gates to judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from modelworks.core.ref import Segment
from modelworks.models.package import Package
from modelworks.registry.gates.evidence import Need


@dataclass(frozen=True)
class Paired:
    """Candidate against champion on the same held-out rows.

    Attributes:
        loss: What is compared row by row: ``"log_loss"`` or ``"squared_error"``.
        mean: Mean of candidate's loss - champion's loss; below 0 the candidate is better.
        standard_error: Of that mean, sd / sqrt(rows); ``None`` for a single row.
        rows: Number of rows.
    """

    loss: Literal["log_loss", "squared_error"]
    mean: float
    standard_error: float | None
    rows: int


@dataclass(frozen=True)
class Candidate:
    """The result of training one segment.

    Attributes:
        segment: Which.
        status: ``"failed"`` leaves the segment to its parent (or to the champion it has).
        started: When, UTC.
        ended: When, UTC.
        error: Why it failed, one line; ``None`` where it did not.
        params: What the fit was given.
        metrics: Values on the held-out rows; ``None`` where a metric is undefined there.
        champion_metrics: The champion's on the same rows; ``None`` where there is none to score.
        paired: See `Paired`.
        rows_trained: Rows that the fit saw.
        rows_held_out: Rows that judge it.
        rows_filter: Which rows the fit saw: the segment's column values, ``"time >="`` and ``"time <"``.
        package: The model; ``None`` where it failed.
        origins: What it was made from besides rows, code and environment: nodes of lineage, each with what it did.
        tags: Short texts to be found by.
        artifacts: Digests of further artifacts by name, for instance ``"traceback"``.
        warnings: What the libraries warned of, each once.
        seconds: Wall time by stage.
        transient: Whether it failed for a reason that may pass.
        tries: How often it was begun.
        evidence: What the gates need beside that, and what was found (see `train.evidence`).
        total: Segments in the same training, this one included.
        share: Of the training's work, how much is behind when this one is, between 0 and 1.
    """

    segment: Segment
    status: Literal["done", "failed"]
    started: datetime
    ended: datetime
    error: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    champion_metrics: Mapping[str, float | None] | None = None
    paired: Paired | None = None
    rows_trained: int = 0
    rows_held_out: int = 0
    rows_filter: Mapping[str, Any] = field(default_factory=dict)
    package: Package | None = None
    origins: tuple[tuple[str, str], ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    artifacts: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    transient: bool = False
    tries: int = 1
    evidence: Mapping[Need[Any], Any] = field(default_factory=dict)
    total: int = 1
    share: float = 1.0
