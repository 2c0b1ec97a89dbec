"""The making line's verb: train a definition."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from modelworks.core.clock import Clock, system_clock
from modelworks.core.ref import Segment
from modelworks.models.definition import Definition
from modelworks.models.package import Package
from modelworks.registry.gates.evidence import Need
from modelworks.registry.station import RegistryStation
from modelworks.stores import Stores
from modelworks.train import trainer
from modelworks.train.candidate import Candidate


@dataclass(frozen=True)
class TrainStation:
    """Training on one machine.

    Attributes:
        stores: Where runs and artifacts rest.
        registry: Where models that are logged by hand become versions.
        artifacts_root: Folder of the artifact store, into which workers write.
        workers: Processes that train at a time.
        clock: Gives the time.
    """

    stores: Stores
    registry: RegistryStation
    artifacts_root: Path
    workers: int
    clock: Clock = system_clock

    def train(
        self,
        definition: Definition,
        frame: pl.DataFrame,
        *,
        time: str,
        segments: Collection[Segment] | None = None,
        champions: Mapping[Segment, Package] | None = None,
        needs: Sequence[Need[Any]] = (),
        skip: Collection[Segment] = (),
        as_of: datetime | None = None,
    ) -> Iterator[Candidate]:
        """Train segments and yield the candidates; see `trainer.train`."""
        return trainer.train(
            definition,
            frame,
            time=time,
            artifacts_root=self.artifacts_root,
            workers=self.workers,
            segments=segments,
            champions=champions,
            needs=needs,
            skip=skip,
            as_of=as_of,
        )

    def close(self) -> None:
        """Stop the workers that wait for the next training."""
        trainer.close()
