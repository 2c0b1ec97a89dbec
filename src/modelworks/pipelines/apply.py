"""One turn of the loop: ingest what is new, watch what was served, move rollouts on, decide, train, bring out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from time import monotonic, process_time
from typing import Any

import polars as pl

from modelworks.core.duration import duration
from modelworks.core.errors import Invalid, ModelworksError, NotFound, NotReady
from modelworks.core.ref import Segment, parse_segment, segment_text
from modelworks.data.version import VERSION, IngestReport
from modelworks.learn.budget import Budget, Limit
from modelworks.learn.policy import Decision, decide
from modelworks.learn.states import Attempt
from modelworks.models.definition import Definition
from modelworks.monitor.watch import Observation, Watch
from modelworks.pipelines import campaign as campaigns
from modelworks.pipelines import online, rollout
from modelworks.pipelines import train as training
from modelworks.pipelines.context import Progress, Stations, silent, turn_of
from modelworks.pipelines.ingest import ingest_all
from modelworks.pipelines.online import OnlineReport
from modelworks.pipelines.project import Model
from modelworks.pipelines.rollout import Moved
from modelworks.pipelines.trained import TrainReport
from modelworks.stores.ledger import usage
from modelworks.stores.ledger.lease import Lease


@dataclass(frozen=True)
class ApplyReport:
    """What one turn did.

    Attributes:
        ingested: What came in, by dataset.
        drained: Predictions and outcomes that were moved from the servers' logs into the tables.
        decisions: What was decided, by model and segment.
        trained: The campaigns that followed.
        alerts: Alerts that were opened.
        rollouts: Rollouts that were moved on, promoted or taken back.
        learned: What models that learn online have learned from outcomes.
        failed: Models whose turn could not be taken to its end, with the reason; the others had theirs.
        seconds: Wall time of each step.
    """

    ingested: Sequence[IngestReport] = ()
    drained: int = 0
    decisions: Sequence[Decision] = ()
    trained: Sequence[TrainReport] = ()
    alerts: int = 0
    rollouts: Sequence[Moved] = ()
    learned: Sequence[OnlineReport] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


class _Stopwatch:
    def __init__(self) -> None:
        self.laps: dict[str, float] = defaultdict(float)
        self._since = monotonic()

    def lap(self, name: str) -> None:
        now = monotonic()
        self.laps[name] += now - self._since
        self._since = now


def plan(stations: Stations, model: str | None = None) -> list[dict[str, Any]]:
    """What `apply` would train now, and why, each decision with its model; nothing is changed."""
    found = []
    for one in _models(stations, model):
        decided = _decide(stations, one, stations.monitor.summary(one.name, end=stations.clock()))
        found += [{"model": one.name, **asdict(decision)} for decision in decided]
    return found


def observe(stations: Stations, model: str | None = None) -> int:
    """Move the servers' logs into the tables and bring the monitoring windows up to date.

    Returns:
        The number of alerts that were opened.
    """
    stations.serve.drain()
    opened = 0
    spent: _Spent = {}
    for one in _models(stations, model):
        with stations.stores.ledger.leases.take(turn_of(one.name), wait=True):
            opened += _observe(stations, one, spent).alerts_opened
    _keep(stations, spent)
    return opened


_Spent = dict[str, tuple[float, int]]
"""Seconds of the processor that observing took, and rows, by model."""


def _observe(stations: Stations, model: Model, spent: _Spent) -> Observation:
    """Bring what is known of a model up to date, and what it earned; what that took is `spent`."""
    before = process_time()
    by = model.control.by if model.control else None
    key = stations.project.dataset(model.definition.dataset).key
    now = stations.clock()
    seen = stations.monitor.observe(
        model.name, now, value=model.value, by=None if by == key else by, alarms=model.alarms
    )
    spent[model.name] = (process_time() - before, seen.rows)
    stations.monitor.looks.looked(model.name, now, seen.watches)
    return seen


def _keep(stations: Stations, spent: _Spent) -> None:
    with stations.stores.ledger.write() as db:
        usage.add(db, "watch", spent, stations.clock())


def apply(stations: Stations, model: str | None = None, progress: Progress = silent) -> ApplyReport:
    """Do one turn for one model or all; one of several that cannot be turned keeps the others from nothing.

    Raises:
        ModelworksError: why the turn of the one model could not be taken.
    """
    watch = _Stopwatch()
    models = _models(stations, model)
    names = {one.definition.dataset for one in models} if model else set(stations.project.datasets)
    ingested = ingest_all(stations, sorted(names))
    watch.lap("ingest")
    drained = stations.serve.drain()
    watch.lap("drain")
    moved = rollout.turn(stations)
    watch.lap("rollouts")
    stations.monitor.looks.refresh(stations.clock())
    if model is None:
        _close_undefined(stations)
    going = campaigns.going(stations.stores.ledger)
    unfinished = {one.model for one in going}
    turn = _Turn(stations, progress, watch)
    for one in _in_order(stations, models, going):
        try:
            turn.take(one, unfinished=one.name in unfinished)
        except ModelworksError as error:
            if len(models) == 1:
                raise
            turn.failed[one.name] = str(error)
    _keep(stations, turn.spent)
    return ApplyReport(
        ingested, drained, turn.decisions, turn.trained, turn.alerts, moved, turn.learned, turn.failed,
        dict(watch.laps),
    )  # fmt: skip


@dataclass
class _Turn:
    """One turn of the loop, and what it has done so far; see `ApplyReport`.

    Attributes:
        spent: See `_Spent`.
    """

    stations: Stations
    progress: Progress
    watch: _Stopwatch
    decisions: list[Decision] = field(default_factory=list)
    trained: list[TrainReport] = field(default_factory=list)
    learned: list[OnlineReport] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    alerts: int = 0
    spent: _Spent = field(default_factory=dict)

    def take(self, model: Model, *, unfinished: bool) -> None:
        """For one model: finish what was cut off, look, decide, train, learn."""
        stations, leases = self.stations, self.stations.stores.ledger.leases
        if unfinished:
            self.trained += resume(stations, model, self.progress)
            self.watch.lap("train")
        if _idle(stations, model):
            self.watch.lap("decide")
            return
        with leases.take(turn_of(model.name)) as lease:
            if lease is None:  # another process takes this turn
                return
            campaign = self._decided(model, lease)
        if campaign is not None:
            told = training.go_on(stations, model, campaign, progress=self.progress)
            self.trained += [told] if told else []
            self.watch.lap("train")
        if model.definition.learn == "online":
            with leases.take(turn_of(model.name)) as lease:
                if lease is not None:
                    self.learned.append(online.turn(stations, model, lease))
            self.watch.lap("learn")

    def _decided(self, model: Model, lease: Lease) -> str | None:
        """Look at a model where something is new, and decide; returns the campaign that follows, if one does."""
        watches = self.stations.monitor.looks.known(model.name, self.stations.clock())
        if watches is None:
            seen = _observe(self.stations, model, self.spent)
            self.alerts, watches = self.alerts + seen.alerts_opened, seen.watches
        self.watch.lap("monitor")
        wanted = _decide(self.stations, model, watches)
        decided, campaign = _settle(self.stations, model, wanted, lease)
        self.decisions += decided
        self.watch.lap("decide")
        return campaign


def _idle(stations: Stations, model: Model) -> bool:
    """Whether nothing is new about a model, and nothing is to be decided: most of many, most of the time."""
    known = stations.monitor.looks.known(model.name, stations.clock())
    learns = model.definition.learn == "online"
    return known is not None and not learns and not _decide(stations, model, known)


def resume(stations: Stations, model: Model, progress: Progress = silent) -> list[TrainReport]:
    """Finish the campaigns of a model that were cut off, as they were planned.

    What was decided for another definition is not trained with this one: it is closed, and its segments are
    decided upon again.
    """
    told: list[TrainReport] = []
    for one in campaigns.going(stations.stores.ledger, model.name):
        if one.running or one.stopped:
            continue
        if one.code != model.definition.code:
            changed = f"the definition of {model.name} has changed since it was decided"
            _close(
                stations, one, changed if one.code else "an earlier version began it and kept no plan of it"
            )
            continue
        try:
            report = training.go_on(stations, model, one.campaign, progress=progress)
        except (NotFound, Invalid, NotReady) as error:  # it would be so every time
            _close(stations, one, str(error))
            continue
        told += [report] if report else []
    return told


def _in_order(stations: Stations, models: Sequence[Model], going: Sequence[campaigns.Going]) -> list[Model]:
    """The models, those last whose training was cut off: where it ends the process again, the others had their turn.

    Where all share a budget, those are first that were trained longest ago.
    """
    cut_off = {one.model for one in going if one.attempts and not one.running}
    last = stations.learn.longest_ago() if stations.learn.budget != Budget() else {}
    never = datetime.min.replace(tzinfo=UTC)
    return sorted(models, key=lambda one: (one.name in cut_off, last.get(one.name, never)))


def _close_undefined(stations: Stations) -> None:
    """End what goes on of models and datasets that are not defined any more: nobody would."""
    stations.monitor.undefined(stations.project.models, stations.project.datasets)
    for one in campaigns.going(stations.stores.ledger):
        if not one.running and one.model not in stations.project.models:
            _close(stations, one, f"factory.py defines no {one.model} any more")


def _close(stations: Stations, one: campaigns.Going, reason: str) -> None:
    ledger = stations.stores.ledger
    with ledger.leases.take(campaigns.lease(one.campaign)) as lease:
        if lease is not None:
            with ledger.write() as db:
                lease.confirm(db)
                campaigns.close(db, stations, one, reason)


def _settle(
    stations: Stations, model: Model, decided: Sequence[Decision], lease: Lease
) -> tuple[Sequence[Decision], str | None]:
    """Write down what was decided, and the campaign that follows, in one transaction.

    Returns:
        What was decided in the end, and the campaign, if one is to be trained.
    """
    wanted = [decision for decision in decided if decision.action == "train"]
    plan = (
        training.plan_of(stations, model, [segment_text(one.segment) for one in wanted]) if wanted else None
    )
    with stations.stores.ledger.write() as db:
        lease.confirm(db)
        campaign: str | None = None
        if plan is not None:
            campaign, over = campaigns.begin(
                db, stations, model.definition, plan, reason=_summary(wanted), by="policy"
            )
            if over:
                decided, campaign = [_same(one) for one in decided], None
        stations.learn.record(db, model.name, decided, campaign)
    return decided, campaign


def _same(decision: Decision) -> Decision:
    """A decision to train what was trained on the same rows by the same code: the result would be the same."""
    if decision.action == "hold":
        return decision
    reason = f"{decision.reason}; but it was trained on the same rows, by the same code"
    return replace(decision, action="hold", reason=reason)


def _models(stations: Stations, model: str | None) -> list[Model]:
    return [stations.project.model(model)] if model else list(stations.project.models.values())


def _decide(stations: Stations, model: Model, watches: Sequence[Watch]) -> list[Decision]:
    """Put the model's policy to every segment that has a model, or enough rows to get one."""
    definition = model.definition
    if not model.policy.triggers or stations.data.latest_or_none(definition.dataset) is None:
        return []
    busy = [one for one in campaigns.going(stations.stores.ledger, model.name) if not one.stopped]
    if any(one.segments is None for one in busy):
        return []  # all are being trained
    now = stations.clock()
    attempts = stations.learn.attempts(definition.name)
    states = stations.learn.states(
        definition,
        rows=_rows(stations, definition, attempts),
        attempts=attempts,
        watches=watches,
        now=now,
        losses=stations.monitor.streams(definition.name, now) if model.policy.streams else None,
        inputs=stations.data.inputs(definition.dataset, definition.features),
    )
    under_way = {parse_segment(text) for one in busy for text in one.segments or ()}
    ready = [state for state in states if state.segment not in under_way]
    decided = decide(model.policy, ready)
    if any(one.action == "train" for one in decided):  # only then does it matter what may be spent
        own = Limit(model.policy.budget, stations.learn.spent(model.name, now))
        decided = decide(model.policy, ready, [own, *stations.learn.whole(now)])
    return decided


def _rows(
    stations: Stations, definition: Definition, attempts: Mapping[Segment, Attempt]
) -> dict[Segment, tuple[int, int]]:
    """Rows of every segment and parent that a training could use, and those that came since its last one."""
    per, time = list(definition.per), training.time_of(stations, definition)
    # All columns are read, for trainings want them next; only a few are looked at.
    rows = training.frame(stations, definition).select(
        *dict.fromkeys([*per, definition.target, time, VERSION])
    )
    if definition.window is not None:
        rows = rows.filter(pl.col(time) >= pl.col(time).max() - duration(definition.window))
    rows = rows.filter(pl.col(definition.target).is_not_null())
    # One small row for each route and ingest; the levels above are sums of these.
    sizes = rows.group_by([*per, VERSION]).len().with_columns(pl.col(per).cast(pl.String).fill_null(""))
    counts: dict[Segment, tuple[int, int]] = {}
    for level in range(len(per) + 1):
        columns = per[:level]
        here = [
            (*segment, tried.dataset_version) for segment, tried in attempts.items() if len(segment) == level
        ]
        schema = {**dict.fromkeys(columns, pl.String), "tried": pl.Int64}
        new = pl.col("len").filter(pl.col(VERSION) > pl.col("tried").fill_null(-1)).sum()
        totals = [pl.col("len").sum().alias("all"), new.alias("new")]
        if columns:
            tried = pl.DataFrame(here, schema=schema, orient="row")
            joined = sizes.join(tried, on=columns, how="left")
            found = joined.group_by(columns).agg(totals)
        else:
            found = sizes.with_columns(pl.lit(here[0][-1] if here else -1, pl.Int64).alias("tried")).select(
                totals
            )
        for *values, total, fresh in found.iter_rows():
            counts[tuple(values)] = (total, fresh)
    return counts


def _summary(decisions: Sequence[Decision]) -> str:
    by = Counter(decision.trigger for decision in decisions)
    return ", ".join(f"{trigger}: {count}" for trigger, count in by.most_common())
