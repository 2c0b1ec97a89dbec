"""One turn of the loop: ingest what is new, watch what was served, decide, train, judge, bring out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic

from modelworks.core.clock import new_id
from modelworks.core.ref import segment_text
from modelworks.data.ingest import IngestReport
from modelworks.learn.policy import Decision, decide
from modelworks.pipelines.context import Progress, Stations, silent
from modelworks.pipelines.project import Model
from modelworks.pipelines.train import TrainReport, train


@dataclass(frozen=True)
class ApplyReport:
    """What one turn did.

    Attributes:
        ingested: What came in, by dataset.
        drained: Predictions and outcomes that were moved from the servers' logs into the tables.
        decisions: What was decided, by model and segment.
        trained: The campaigns that followed.
        alerts: Alerts that were opened.
        seconds: Wall time of each step.
    """

    ingested: Sequence[IngestReport] = ()
    drained: int = 0
    decisions: Sequence[Decision] = ()
    trained: Sequence[TrainReport] = ()
    alerts: int = 0
    seconds: dict[str, float] = field(default_factory=dict)


class _Stopwatch:
    def __init__(self) -> None:
        self.laps: Counter[str] = Counter()
        self._since = monotonic()

    def lap(self, name: str) -> None:
        now = monotonic()
        self.laps[name] += now - self._since
        self._since = now


def plan(stations: Stations, model: str | None = None) -> list[Decision]:
    """What `apply` would train now, and why; nothing is changed."""
    found: list[Decision] = []
    for one in _models(stations, model):
        found += _decide(stations, one)
    return found


def observe(stations: Stations, model: str | None = None) -> int:
    """Move the servers' logs into the tables and bring the monitoring windows up to date.

    Returns:
        The number of alerts that were opened.
    """
    stations.serve.drain()
    return sum(stations.monitor.observe(one.name, stations.clock()).alerts_opened for one in _models(stations, model))


def apply(stations: Stations, model: str | None = None, progress: Progress = silent) -> ApplyReport:
    """Do one turn for one model or all."""
    watch = _Stopwatch()
    models = _models(stations, model)
    names = {one.definition.dataset for one in models} if model else set(stations.project.datasets)
    ingested = [stations.data.ingest(stations.project.dataset(name)) for name in sorted(names)]
    watch.lap("ingest")
    drained = stations.serve.drain()
    watch.lap("drain")
    decisions: list[Decision] = []
    trained: list[TrainReport] = []
    alerts = 0
    for one in models:
        alerts += stations.monitor.observe(one.name, stations.clock()).alerts_opened
        watch.lap("monitor")
        decided = _decide(stations, one)
        decisions += decided
        wanted = [decision for decision in decided if decision.action == "train"]
        campaign = new_id() if wanted else None
        with stations.stores.ledger.write() as db:
            stations.learn.record(db, decided, campaign=campaign)
        watch.lap("decide")
        if wanted:
            trained.append(
                train(
                    stations,
                    one,
                    segments=[segment_text(decision.segment) for decision in wanted],
                    reason=_summary(wanted),
                    campaign=campaign,
                    progress=progress,
                )
            )
            watch.lap("train")
    return ApplyReport(ingested, drained, decisions, trained, alerts, dict(watch.laps))


def _models(stations: Stations, model: str | None) -> list[Model]:
    return [stations.project.model(model)] if model else list(stations.project.models.values())


def _decide(stations: Stations, model: Model) -> list[Decision]:
    """Put the model's policy to every segment that has a model, or enough rows to get one."""
    definition = model.definition
    if not model.policy.triggers or stations.data.latest_or_none(definition.dataset) is None:
        return []
    now = stations.clock()
    states = stations.learn.states(
        definition,
        now,
        rows=stations.data.counts(definition.dataset, definition.per, definition.target),
        live=stations.monitor.summary(definition.name, end=now),
    )
    return decide(model.policy, states)


def _summary(decisions: Sequence[Decision]) -> str:
    by = Counter(decision.trigger for decision in decisions)
    return ", ".join(f"{trigger}: {count}" for trigger, count in by.most_common())
