"""The making line's verb: train a definition."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from modelworks.core.duration import duration
from modelworks.core.ref import Segment
from modelworks.jobs.executors import Executor
from modelworks.models.definition import Definition
from modelworks.models.package import Package
from modelworks.registry.gates.evidence import Need
from modelworks.train import trainer
from modelworks.train.candidate import Candidate
from modelworks.train.previous import Previous
from modelworks.train.tuning import Tuned


@dataclass(frozen=True)
class TrainStation:
    """Where and how segments are trained.

    Attributes:
        artifacts_root: Folder of the artifact store, into which workers write.
        scratch: Folder for what lives as long as a training.
        workers: Workers that train at a time; 0 for one a core of the executor.
        executor: Name in the catalog of executors.
        address: Where the executor's cluster answers.
        retries: How often a segment is begun again that failed for a passing reason.
        limit: How long a segment may take; ``""`` for as long as it needs.
    """

    artifacts_root: Path
    scratch: Path
    workers: int = 0
    executor: str = "processes"
    address: str = ""
    retries: int = 1
    limit: str = ""

    def pool(self) -> Executor:
        """Where this machine or cluster trains.

        Raises:
            NotReady: what the executor needs is not installed.
        """
        return trainer.executor_of(self.executor, self.address)

    def train(
        self,
        definition: Definition,
        frame: pl.DataFrame,
        *,
        time: str,
        segments: Collection[Segment] | None = None,
        champions: Mapping[Segment, Package] | None = None,
        needs: Sequence[Need[Any]] = (),
        tuned: Mapping[Segment, Tuned] | None = None,
        previous: Mapping[Segment, Previous] | None = None,
        skip: Collection[Segment] = (),
        as_of: datetime | None = None,
        idle: Callable[[], None] | None = None,
        made_with: str | None = None,
        begun: Callable[[trainer.Begun], None] | None = None,
    ) -> Iterator[Candidate]:
        """Train segments and yield the candidates; see `trainer.train`."""
        limit = definition.limit or self.limit
        return trainer.train(
            definition,
            frame,
            time=time,
            artifacts_root=self.artifacts_root,
            scratch=self.scratch,
            workers=self.workers,
            segments=segments,
            champions=champions,
            needs=needs,
            tuned=tuned,
            previous=previous,
            skip=skip,
            as_of=as_of,
            executor=self.pool(),
            retries=self.retries if definition.retries is None else definition.retries,
            limit=duration(limit).total_seconds() if limit else None,
            idle=idle,
            made_with=made_with,
            begun=begun,
        )
