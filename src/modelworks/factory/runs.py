"""Verbs of runs: what was tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modelworks.core.plain import to_json
from modelworks.core.verbs import verb
from modelworks.factory.root import Plain, Root
from modelworks.pipelines import report
from modelworks.track.entry import read_batch
from modelworks.track.offer import Offer, take, told


class Runs(Root):
    """Verbs of runs: what was tried."""

    @verb("GET", "/api/runs")
    def runs(
        self, where: str = "", model: str | None = None, limit: int = 50, deleted: bool = False
    ) -> Plain:
        """The runs that a query asks for, ``metrics.auc > 0.8 order by metrics.auc desc``; else the newest."""
        return report.runs(self.tracking, where, model, limit, deleted)

    @verb("GET", "/api/experiments")
    def experiments(self, limit: int = 100, deleted: bool = False) -> Plain:
        """Experiments, the newest first, with the number of their runs."""
        return report.experiments(self.tracking, limit, deleted)

    @verb("GET", "/api/run")
    def run(self, id: str) -> Plain:
        """One run: parameters, metrics, artifacts, where it came from, what it made."""
        return report.run(self.tracking, id)

    @verb("GET", "/api/course")
    def course(self, id: str, metric: str | None = None, points: int = 0) -> Plain:
        """The courses of a run's metrics, point by point, or so many points of each."""
        return report.course(self.tracking, id, metric, points)

    @verb("GET", "/api/compare")
    def compare(self, ids: str) -> Plain:
        """Runs side by side, by their ids with commas between them, and in what they differ."""
        return self.tracking.compare([one.strip() for one in ids.split(",") if one.strip()])

    @verb("GET", "/api/table")
    def table(self, run: str, name: str, limit: int = 20) -> Plain:
        """The first rows of a table that a run has kept."""
        return self.tracking.table(run, name, limit)

    @verb("POST", "/api/track")
    def track(
        self,
        entries: Sequence[Mapping[str, Any]],
        session: str | None = None,
        begin: int = 0,
        over: bool = False,
    ) -> Plain:
        """Take what runs say; a session numbers its entries, so that none is taken twice."""
        given = {"entries": list(entries), "session": session, "begin": begin, "over": over}
        return self.tracking.take(read_batch(to_json(given)))

    @verb("POST", "/api/log_model")
    def log_model(
        self, run: str, name: str, flavor: str, signature: Mapping[str, Any], model: str, rows: str
    ) -> Plain:
        """Make a version of a model that a run has fitted elsewhere; it and its example were uploaded before."""
        get = self.stores.artifacts.get
        sent = Offer(flavor, get(model), dict(signature), get(rows))
        pickles = self.config.settings.server_pickles == "accept"
        version = take(self.stores, self.clock, run, name, sent, pickles=pickles)
        self.audited("log_model", str(version.ref), {"run": run, "flavor": flavor})
        return told(version)

    @verb("POST", "/api/runs/delete")
    def delete_runs(self, ids: Sequence[str]) -> Plain:
        """Put runs out of sight, their children with them."""
        self.audited("delete_runs", ", ".join(ids))
        return {"deleted": self.tracking.delete(ids)}

    @verb("POST", "/api/runs/restore")
    def restore_runs(self, ids: Sequence[str]) -> Plain:
        """Bring deleted runs back, their children with them."""
        self.audited("restore_runs", ", ".join(ids))
        return {"restored": self.tracking.restore(ids)}
