"""The stations that a pipeline works with, built once by the composition root."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from modelworks.core.clock import Clock
from modelworks.data.station import DataStation
from modelworks.deploy.station import DeployStation
from modelworks.learn.station import LearnStation
from modelworks.monitor.station import MonitorStation
from modelworks.pipelines.project import Project
from modelworks.registry.station import RegistryStation
from modelworks.serving.station import ServeStation
from modelworks.stores import Stores

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


def silent(_what: str, _done: int, _total: int) -> None:
    """Report progress to nobody."""


@dataclass(frozen=True)
class Stations:
    """One project's belt.

    Attributes:
        following: Datasets whose streams this process takes in as they come.
    """

    stores: Stores
    project: Project
    clock: Clock
    artifacts_root: Path
    workers: int
    data: DataStation
    registry: RegistryStation
    deploy: DeployStation
    serve: ServeStation
    monitor: MonitorStation
    learn: LearnStation
    following: set[str] = field(default_factory=set)
