"""The composition root: opens a project's stores, builds its stations, and offers every verb of the house.

A verb is a method with plain arguments and a plain result. The CLI, the HTTP API and the SDK are made from
the same list of verbs, so that what one can do the others can.
"""

from __future__ import annotations

from modelworks.core.verbs import VERBS, Route, verb
from modelworks.factory.data import Data
from modelworks.factory.loop import Loop
from modelworks.factory.making import Making
from modelworks.factory.root import Plain
from modelworks.factory.runs import Runs
from modelworks.factory.trail import Trail
from modelworks.factory.using import Using
from modelworks.pipelines import report, upkeep

__all__ = ["VERBS", "Factory", "Route"]


class Factory(Data, Runs, Making, Using, Loop, Trail):
    """One project, opened: every verb of the house."""

    @verb("GET", "/api/status")
    def status(self) -> Plain:
        """What there is: models live, versions, datasets, open alerts, the last decisions."""
        return report.status(self.stations)

    def tidy(self) -> int:
        """Pack small files, and move points of runs, where it is worth it; returns the number of files."""
        self.tracking.tidy()
        return upkeep.tidy(self.stations)
