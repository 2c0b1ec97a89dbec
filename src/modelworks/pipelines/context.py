"""The stations that a pipeline works with, built once by the composition root."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from sqlalchemy import Connection

from modelworks.core.clock import Clock
from modelworks.data.station import DataStation
from modelworks.deploy.station import DeployStation
from modelworks.learn.station import LearnStation
from modelworks.monitor.station import MonitorStation
from modelworks.pipelines.project import Project
from modelworks.registry.station import RegistryStation
from modelworks.serving.station import ServeStation
from modelworks.stores import Stores
from modelworks.train.station import TrainStation


class Progress(Protocol):
    """Told of what is being done."""

    def __call__(self, what: str, done: int, total: int, left: float | None = None, /) -> None:
        """What is being done, how much of it is done, how much there is, and in how many seconds all will be."""
        ...


def silent(_what: str, _done: int, _total: int, _left: float | None = None, /) -> None:
    """Report progress to nobody."""


Also = Callable[[Connection], None]
"""Written in the transaction in which something is done, for instance its line of the audit trail."""


def nothing(_db: Connection, /) -> None:
    """Nothing is written besides."""


def turn_of(model: str) -> str:
    """What the lease is called under which a model is watched, decided upon, and learns from outcomes."""
    return f"turn {model}"


@dataclass(frozen=True)
class Stations:
    """One project's belt.

    Attributes:
        following: Datasets whose streams this process takes in as they come.
    """

    stores: Stores
    project: Project
    clock: Clock
    data: DataStation
    registry: RegistryStation
    train: TrainStation
    deploy: DeployStation
    serve: ServeStation
    monitor: MonitorStation
    learn: LearnStation
    following: set[str] = field(default_factory=set)
