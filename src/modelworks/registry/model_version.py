"""A model version: a package with its origin, never changed once registered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from modelworks.core.ref import Ref, Segment
from modelworks.models.package import Package

CHAMPION = "champion"
"""Alias of the version that answers; moved only by deploying."""

CHALLENGER = "rollout"
"""Alias of the version that is being rolled out; it follows from the rollouts."""

LATEST = "latest"
"""Stands for the highest version; never stored."""


@dataclass(frozen=True)
class Draft:
    """What is to become a model version.

    Attributes:
        model: Name of the model.
        segment: Its segment.
        run: Id of the run that made it; a run makes at most one version.
        package: The model.
        metrics: Values on the held-out rows; ``None`` where a metric is undefined there.
        dataset: Name of the dataset it learned from, if that is known.
        dataset_version: Version of that dataset.
        rows_filter: Which of its rows the fit saw.
    """

    model: str
    segment: Segment
    run: str
    package: Package
    metrics: Mapping[str, float | None]
    dataset: str | None = None
    dataset_version: int | None = None
    rows_filter: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ref(self) -> Ref:
        """The model and segment it is for."""
        return Ref(self.model, self.segment)


@dataclass(frozen=True)
class ModelVersion:
    """One registered version of one segment's model.

    Attributes:
        model: See `Draft`, as for all that is not named here.
        version: Number within the model and segment, from 1, without gaps.
        created: When it was registered, UTC.
        archived: When it was put away, UTC; ``None`` where it was not.
    """

    model: str
    segment: Segment
    version: int
    run: str
    package: Package
    metrics: Mapping[str, float | None]
    dataset: str | None
    dataset_version: int | None
    rows_filter: Mapping[str, Any]
    created: datetime
    archived: datetime | None = None

    @property
    def ref(self) -> Ref:
        """The reference of exactly this version."""
        return Ref(self.model, self.segment, self.version)


@dataclass(frozen=True)
class ModelSummary:
    """A model at a glance.

    Attributes:
        name: Name of the model.
        dataset: Dataset it learns from; ``None`` for a model that came without a definition.
        target: Column it predicts.
        features: Columns it sees.
        per: Columns whose values make its segments.
        definition: The rest of the definition, as data.
        code: Digest of the definition's source.
        updated: When the definition last changed, UTC.
        segments: Segments that have at least one version, parents included.
        versions: Versions in all segments.
        champions: Segments that have a champion.
    """

    name: str
    dataset: str | None
    target: str | None
    features: tuple[str, ...]
    per: tuple[str, ...]
    definition: Mapping[str, Any]
    code: str
    updated: datetime
    segments: int
    versions: int
    champions: int
