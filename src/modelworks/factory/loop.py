"""Verbs of the loop: what was seen of the models, and what follows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from modelworks.core.duration import duration, moment
from modelworks.core.verbs import verb
from modelworks.factory.root import Plain, Root
from modelworks.monitor.channels.port import Channel
from modelworks.pipelines import apply as applying
from modelworks.pipelines import joint as jointly
from modelworks.pipelines import notify as notifying
from modelworks.pipelines import report
from modelworks.pipelines import simulate as simulating
from modelworks.pipelines import slices as slicing
from modelworks.pipelines import value as valuing
from modelworks.pipelines.context import Progress, silent


class Loop(Root):
    """Verbs of the loop: what was seen of the models, and what follows."""

    @verb("GET", "/api/monitor")
    def monitor(
        self, model: str, segment: str | None = None, days: int | None = None, by: str = "day"
    ) -> Plain:
        """Volume, drift and performance of a model over the last days (28; 366 by month)."""
        return report.monitor(self.stations, model, segment, days, by)

    @verb("GET", "/api/monitor/joint")
    def joint_drift(self, model: str, segment: str | None = None, days: int | None = None) -> Plain:
        """Whether what a segment was asked lately can be told from its training, all inputs together."""
        return jointly.joint(self.stations, model, segment, days)

    @verb("GET", "/api/monitor/slices")
    def slices(self, model: str, column: str, segment: str | None = None, days: int | None = None) -> Plain:
        """How good a model's answers were by the value of a column, each beside all other rows."""
        return slicing.slices(self.stations, model, column, segment, days)

    @verb("GET", "/api/value")
    def value(
        self,
        model: str | None = None,
        since: str | None = None,
        until: str | None = None,
        by: str = "month",
    ) -> Plain:
        """What models bring beside their holdouts, less what computing cost; of one its months and segments too."""
        now = self.stations.clock()
        return valuing.value(
            self.stations,
            model,
            since=None if since is None else moment(since, now),
            until=None if until is None else moment(until, now),
            by=by,
            cpu_hour=self.config.settings.value_cpu_hour,
        )

    @verb("GET", "/api/alerts")
    def alerts(
        self,
        model: str | None = None,
        open_only: bool = True,
        limit: int = 100,
        incident: int | None = None,
    ) -> Plain:
        """Alerts, the newest first."""
        return self.stations.monitor.alerts(model, open_only, limit, incident)

    @verb("GET", "/api/incidents")
    def incidents(self, open_only: bool = True, limit: int = 100) -> Plain:
        """Alerts of one cause taken together, the newest first."""
        return self.stations.monitor.incidents(open_only, limit)

    @verb("POST", "/api/alerts/acknowledge")
    def acknowledge(self, alert: int, incident: bool = False) -> Plain:
        """Say that you look after an alert, or all of its incident."""
        line = self.auditing("acknowledge", f"alert:{alert}", {"incident": incident})
        mine = {"acknowledged": self.clock(), "acknowledged_by": self.who}
        return self.stations.monitor.mark(alert, incident, line, **mine)

    @verb("POST", "/api/alerts/snooze")
    def snooze(self, alert: int, lasting: str = "1d", incident: bool = False) -> Plain:
        """Let nobody be told of an alert, or of all of its incident, for a while."""
        line = self.auditing("snooze", f"alert:{alert}", {"lasting": lasting, "incident": incident})
        return self.stations.monitor.mark(alert, incident, line, snoozed=self.clock() + duration(lasting))

    @verb("POST", "/api/alerts/resolve")
    def resolve(self, alert: int, incident: bool = False) -> Plain:
        """Close an alert, or all of its incident; what is still so opens another one."""
        line = self.auditing("resolve", f"alert:{alert}", {"incident": incident})
        return self.stations.monitor.mark(alert, incident, line, closed=self.clock())

    @verb("POST", "/api/alerts/test")
    def test_channels(self) -> Plain:
        """Send a message to every channel that alerts go to: by channel nothing, or why it did not get there."""
        return notifying.try_out(self.stations, self._channels)

    def notify(self) -> Plain:
        """Tell the channels of alerts that they were not told of; see `pipelines.notify`."""
        return notifying.notify(self.stations, self._channels, self.config.settings.alerts_least)

    @cached_property
    def _channels(self) -> dict[str, Channel]:
        return notifying.channels_of(self.config.settings)

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
