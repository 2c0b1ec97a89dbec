"""The pools of a server: which worker answers a model, by its flavor and by what it was made with."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil

from modelworks.core.errors import ModelworksError
from modelworks.core.ref import Ref
from modelworks.jobs import fresh
from modelworks.models.package import Package
from modelworks.serving.native.pool import Apart, Limits, Pool
from modelworks.stores.artifacts import Artifacts
from modelworks.track import lock

_log = logging.getLogger("modelworks.serving")


class Pools:
    """See the module.

    Args:
        artifacts: Where models are.
        memory: Bytes that one worker may have; 0 for half of the machine's.
        environments: Where environments of their own are kept, see `jobs.fresh`; ``None`` for none.
    """

    def __init__(self, artifacts: Artifacts, memory: int = 0, environments: Path | None = None) -> None:
        self.artifacts = artifacts
        self._limits = Limits(memory or psutil.virtual_memory().total // 2)
        self._environments = environments
        self._lock = threading.Lock()
        self._pools: dict[tuple[str, Path | None], Pool] = {}
        self._interpreters: dict[str, Path | None] = {}
        self._spent = defaultdict[str, float](float)

    def predictor(self, name: str, package: Package) -> Apart:
        """A model that is answered in a worker process; nothing is loaded yet.

        Args:
            name: How people know it: its reference.
            package: Of a model that is not compiled, and not only kept.
        """
        key = package.flavor, self._interpreter(package.environment)
        with self._lock:
            pool = self._pools.get(key)
            if pool is None:
                pool = self._pools[key] = Pool(*key, self._limits)
        content, spend = (
            partial(self.artifacts.get, package.native),
            partial(self._spend, Ref.parse(name).name),
        )
        return Apart(pool, name, content, package.signature, spend)

    def _spend(self, model: str, seconds: float) -> None:
        with self._lock:
            self._spent[model] += seconds

    def spent(self) -> dict[str, float]:
        """Seconds of the processor that workers have taken so far, by model."""
        with self._lock:
            return dict(self._spent)

    def _interpreter(self, environment: str) -> Path | None:
        """That of an environment which was made for a lock, if it is another one than this process has."""
        if self._environments is None or not environment:
            return None
        if environment not in self._interpreters:
            try:
                document = lock.read(self.artifacts.get(environment))
                here = lock.read(lock.environment(tuple(document["packages"]))[1])
                other = lock.other_versions(document, here)
                place = fresh.made(self._environments, document["python"], lock.requirements(document))
                self._interpreters[environment] = place if other else None
            except (ModelworksError, KeyError, ValueError) as error:
                _log.info("the environment %s cannot be read: %s", environment, error)
                self._interpreters[environment] = None
        return self._interpreters[environment]

    def __iter__(self) -> Iterator[Pool]:
        with self._lock:
            return iter(list(self._pools.values()))

    def tend(self) -> None:
        """Start workers again that have ended."""
        for pool in self:
            pool.tend()

    def close(self) -> None:
        """End all workers."""
        for pool in self:
            pool.close()
