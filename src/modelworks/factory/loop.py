"""Verbs of the loop: what was seen of the models, and what follows."""

from __future__ import annotations

from collections.abc import Sequence

from modelworks.core.duration import moment
from modelworks.core.verbs import verb
from modelworks.factory.root import Plain, Root
from modelworks.pipelines import apply as applying
from modelworks.pipelines import report
from modelworks.pipelines import simulate as simulating
from modelworks.pipelines.context import Progress, silent


class Loop(Root):
    """Verbs of the loop: what was seen of the models, and what follows."""

    @verb("GET", "/api/monitor")
    def monitor(self, model: str, segment: str | None = None, days: int = 28) -> Plain:
        """Volume, drift and performance of a model over the last days."""
        return report.monitor(self.stations, model, segment, days)

    @verb("GET", "/api/alerts")
    def alerts(self, model: str | None = None, open_only: bool = True, limit: int = 100) -> Plain:
        """Alerts, the newest first."""
        return self.stations.monitor.alerts(model, open_only, limit)

    @verb("GET", "/api/decisions")
    def decisions(self, model: str | None = None, limit: int = 50) -> Plain:
        """What the factory decided about retraining, and why."""
        return self.stations.learn.decisions(model, limit)

    @verb("POST", "/api/plan")
    def plan(self, model: str | None = None) -> Plain:
        """What the policies would do now: which segments would be trained, and why. Changes nothing."""
        return applying.plan(self.stations, model)

    @verb("POST", "/api/apply")
    def apply(self, model: str | None = None, progress: Progress = silent) -> Plain:
        """One turn of the loop: ingest, watch, decide, train, judge, bring out."""
        self.audited("apply", model or "all models")
        told = applying.apply(self.stations, model, progress)
        self.news()
        return told

    @verb("POST", "/api/simulate")
    def simulate(
        self,
        model: str,
        policies: Sequence[str] = (),
        since: str | None = None,
        until: str | None = None,
        every: str = "1d",
        delay: str | None = None,
        progress: Progress = silent,
    ) -> Plain:
        """What policies of retraining would have done with the past of a model, side by side. Changes nothing."""
        now = self.stations.clock()
        return simulating.simulate(
            self.stations,
            self.project.model(model),
            policies,
            since=None if since is None else moment(since, now),
            until=None if until is None else moment(until, now),
            every=every,
            delay=delay,
            progress=progress,
        )

    @verb("POST", "/api/observe")
    def observe(self, model: str | None = None) -> Plain:
        """Bring monitoring up to date with the predictions and outcomes so far."""
        return applying.observe(self.stations, model)
