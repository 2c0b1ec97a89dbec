"""What every verb stands on: a project, opened, its stores, its stations."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from modelworks import config as settings
from modelworks.access import audit
from modelworks.core.clock import Clock, system_clock
from modelworks.core.duration import duration
from modelworks.data.station import DataStation
from modelworks.deploy.station import DeployStation
from modelworks.learn.budget import Budget
from modelworks.learn.station import LearnStation
from modelworks.lineage import receiver
from modelworks.lineage.receiver import Telling
from modelworks.monitor.station import MonitorStation
from modelworks.pipelines import train as training
from modelworks.pipelines.context import Also, Stations
from modelworks.pipelines.load import load_project
from modelworks.pipelines.project import Project
from modelworks.registry.station import RegistryStation
from modelworks.serving.station import ServeStation
from modelworks.stores import Stores, open_stores
from modelworks.track.station import TrackStation
from modelworks.train.station import TrainStation

Plain = Any
"""JSON-able data: what a verb returns, after `plain`."""


class Root:
    """A project, opened; the classes that hold the verbs stand on it.

    Args:
        root: The project's folder, or one inside it.
        clock: Gives the time; a frozen one replays or simulates.
        who: Whose name stands in the audit trail.

    Raises:
        NotFound: there is no project.
        Invalid: its settings or definitions cannot be read.
        Unavailable: a store does not answer.
    """

    def __init__(self, root: Path | str = ".", clock: Clock = system_clock, who: str | None = None) -> None:
        self.config = settings.load(settings.find_root(Path(root)))
        self.clock = clock
        self.who = who or os.environ.get("USER") or "local"

    @cached_property
    def stores(self) -> Stores:
        """The ledger, the tables, the artifacts."""
        chosen = self.config.settings
        stores = open_stores(self.config.state, chosen.ledger_url, chosen.tables_url, chosen.artifacts_url)
        stores.ledger.leases.length = duration(chosen.ledger_lease)
        return stores

    @cached_property
    def project(self) -> Project:
        """What ``factory.py`` defines."""
        return load_project(self.config.root)

    @cached_property
    def tracking(self) -> TrackStation:
        """The runs; they need none of the project's definitions."""
        return TrackStation(self.stores, self.clock)

    @cached_property
    def stations(self) -> Stations:
        """The belt, its definitions declared in the ledger."""
        stores, clock, chosen = self.stores, self.clock, self.config.settings
        stations = Stations(
            stores=stores,
            project=self.project,
            clock=clock,
            data=DataStation(stores.ledger, stores.tables, self.config.root, clock),
            registry=RegistryStation(stores.ledger, clock),
            train=TrainStation(
                artifacts_root=Path(chosen.artifacts_url or self.config.state / "artifacts"),
                scratch=self.config.state / "scratch",
                workers=chosen.train_workers,
                executor=chosen.train_executor,
                address=chosen.train_ray_address,
                retries=chosen.train_retries,
                limit=chosen.train_limit,
            ),
            deploy=DeployStation(stores.ledger, clock),
            serve=ServeStation(
                stores, chosen.server_max_body, chosen.server_model_memory, chosen.server_log_sync
            ),
            monitor=MonitorStation(stores, clock),
            learn=LearnStation(
                stores.ledger, clock, Budget(chosen.learn_trainings or None, chosen.learn_minutes or None)
            ),
        )
        training.declare(stations)
        return stations

    @cached_property
    def _telling(self) -> Telling:
        return Telling(lambda: self.tell_lineage(self.config.settings.lineage_to))

    def tell_lineage(self, to: str, again: bool = False) -> int:
        """Tell a receiver what it was not told of the lineage yet; returns the number of events."""
        chosen = self.config.settings
        token = chosen.lineage_token if to == chosen.lineage_to else ""
        where = to if "://" in to else str(self.config.root / to)
        return receiver.export(
            self.stores.ledger, self.clock, where, chosen.lineage_namespace, token, again=again
        )

    def news(self) -> None:
        """There is something new to tell whoever wants to know of the lineage; does not wait for it."""
        if self.config.settings.lineage_to:
            self._telling.news()

    def now(self) -> datetime:
        """The factory's time."""
        return self.clock()

    def audited(self, what: str, on: str, detail: Mapping[str, Any] | None = None) -> None:
        """Write into the audit trail what is being done, and on what."""
        with self.stores.ledger.write() as db:
            self.auditing(what, on, detail)(db)

    def auditing(self, what: str, on: str, detail: Mapping[str, Any] | None = None) -> Also:
        """The same line, for the transaction in which it is done: what was done is on record, and nothing else."""
        return lambda db: audit.record(db, self.clock(), self.who, what, on, detail or {})

    def close(self) -> None:
        """Stop the workers and give the connections back."""
        training.close()
        if "_telling" in self.__dict__:
            self._telling.close()
        if "stores" in self.__dict__:  # never opened, or they could not be: that was said by who tried
            self.stores.ledger.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()
