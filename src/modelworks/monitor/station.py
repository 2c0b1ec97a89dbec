"""The monitor's verbs: observe what was served, sum it up, open and close alerts."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, func, insert, select, update

from modelworks.core.clock import Clock
from modelworks.core.errors import ModelworksError
from modelworks.core.plain import plain
from modelworks.core.ref import Segment, parse_segment, segment_text
from modelworks.data.version import IngestReport
from modelworks.deploy.rollout import Underway
from modelworks.monitor import alarm, feedback, intake, missing, truths
from modelworks.monitor.alarm import Alarm
from modelworks.monitor.alerting import KINDS, Finding, Kind, findings
from modelworks.monitor.alerts import listed, listed_incidents, mark, settle
from modelworks.monitor.counting import Counting
from modelworks.monitor.drift.rule import Drift
from modelworks.monitor.feedback import Sides, sides
from modelworks.monitor.fleet import share
from modelworks.monitor.history import By, Honesty, history
from modelworks.monitor.joint import Rows, Together, asked, together
from modelworks.monitor.judge import judge
from modelworks.monitor.looks import Looks
from modelworks.monitor.progress import Changed, Progress
from modelworks.monitor.sketch import Sketches
from modelworks.monitor.slices import Sliced
from modelworks.monitor.slices import asked as sliced
from modelworks.monitor.stored import StoredWindows, Window, windows_of
from modelworks.monitor.stream import streams
from modelworks.monitor.trials import Gathered, gather
from modelworks.monitor.truths import LOOK_BACK, Truths, days_of, lag_of, since_of
from modelworks.monitor.value import Value
from modelworks.monitor.versions import Versions
from modelworks.monitor.watch import Observation, Traffic, Watch, finite
from modelworks.monitor.window import DAY, SLACK, Key, sketched
from modelworks.stores import Stores
from modelworks.stores.ledger.portable import chunks
from modelworks.stores.ledger.tables import alerts, dataset_versions, deployments, models

HORIZON_DAYS = 3.0
"""Days for which a window stays open whatever happens; later it is opened again by what comes late."""
TRAILING_DAYS = 28
"""Days over which drift and decay are judged."""


class MonitorStation:
    """Monitoring of one project.

    Args:
        stores: Predictions and outcomes in the tables, windows and alerts in the ledger.
        clock: Gives the time where none is passed.

    Attributes:
        looks: What this process has looked at.
    """

    def __init__(self, stores: Stores, clock: Clock) -> None:
        self.stores = stores
        self.clock = clock
        self._versions = Versions(stores)
        self._stored = StoredWindows(stores.ledger)
        self.looks = Looks(stores)
        self._last: tuple[tuple[Any, ...], list[Watch]] | None = None

    def observe(
        self,
        model: str,
        now: datetime | None = None,
        horizon_days: float = HORIZON_DAYS,
        value: Value | None = None,
        by: str | None = None,
        alarms: Sequence[Alarm] = (),
    ) -> Observation:
        """Bring a model's windows up to date with its predictions and outcomes; judge; open and close alerts.

        A window is one UTC day (of event time) of one version. It is made anew from all that is known of the
        day, so that doing this again, or in two processes at once, changes nothing. Windows are made of the
        last `horizon_days`, of all days since the last call, and of every earlier day that a prediction or an
        outcome has come for since then, however late.

        Args:
            model: Name of the model.
            now: Later events are left for later; the clock's time by default.
            horizon_days: Days before `now`, or before the last call if that is longer ago.
            value: What its predictions are worth, if that is known. By another one than last time all days are
                counted anew.
            by: The column that its holdout is drawn by; the dataset's key by default.
            alarms: The project's own rules for alerts.
        """
        now = now or self.clock()
        counting = Counting(self.stores.ledger, model, value, by)
        with self.stores.ledger.read() as db:
            progress = Progress() if counting.anew else Progress.of(db, model)
        changed = Changed(self.stores.tables, model, progress, now, timedelta(days=horizon_days))
        made: list[Window] = []
        days: list[Truths] = []
        rows = 0
        for part in changed.parts():
            known = self._versions.of(model, part.select("segment", "version").unique().rows())
            for keys, sketches in sketched(part, known):
                made += windows_of(keys, sketches)
            days += days_of(part, SLACK)
            counting.take(part, known)
            rows += len(part)
        counting.write()
        self._stored.write(model, made, changed.progress, days)
        watches = self.summary(model, end=now)
        traffic = self._traffic(model, now)
        with self.stores.ledger.read() as db:
            came = truths.read(db, model, now - timedelta(days=LOOK_BACK), now)
        both = _sides(came, now)
        found = findings(model, watches, traffic, now) + missing.findings(model, watches, came, now)
        found += (
            feedback.findings(model, both) + counting.findings(now) + alarm.findings(model, alarms, watches)
        )
        lasting = findings(model, watches, traffic, now, lasting=True)
        lasting += missing.findings(model, watches, came, now, lasting=True)
        lasting += feedback.findings(model, both, lasting=True) + counting.findings(now, lasting=True)
        staying = {(one.segment, one.kind) for one in lasting}
        with self.stores.ledger.write() as db:
            opened = settle(db, model, found, staying, now, KINDS, alarm.RULE)
        return Observation(model, len(made), rows, opened, tuple(watches))

    def observe_intake(self, dataset: str, told: IngestReport | ModelworksError) -> int:
        """Judge what came into a dataset, or did not; open and close alerts about it.

        Args:
            dataset: Its name.
            told: How the last ingest ended.

        Returns:
            The number of alerts that were opened.
        """
        now, v = self.clock(), dataset_versions.c
        recent = select(func.sum(v.added), func.sum(v.quarantined)).where(
            v.dataset == dataset, v.created > now - intake.RECENT
        )
        lost = select(alerts.c.id).where(
            alerts.c.model == intake.about(dataset), alerts.c.kind == "lost", alerts.c.closed.is_(None),
            alerts.c.opened > now - intake.REMEMBERED,
        )  # fmt: skip
        with self.stores.ledger.read() as db:
            added, refused = db.execute(recent).one()
            staying: set[tuple[Segment, Kind]] = {((), "lost")} if db.scalar(lost) is not None else set()
        reasons = () if isinstance(told, ModelworksError) else tuple(told.reasons)
        found = intake.findings(dataset, told, intake.Intake(added or 0, refused or 0, reasons))
        with self.stores.ledger.write() as db:
            return settle(db, intake.about(dataset), found, staying, now, intake.KINDS)

    def observe_overdue(self, dataset: str, overdue: str | None) -> int:
        """Open or close the alert that nothing came into a dataset for too long; returns the number opened.

        Args:
            dataset: Its name.
            overdue: What is wrong, one sentence; ``None`` where nothing is.
        """
        found = [Finding((), "stale", "warning", overdue)] if overdue else []
        with self.stores.ledger.write() as db:
            return settle(db, intake.about(dataset), found, set(), self.clock(), frozenset({"stale"}))

    def trials(self, going: Sequence[Underway]) -> dict[str, Gathered]:
        """What the log says of rollouts, by id; see `monitor.trials`."""
        return gather(self.stores.tables, going, self._versions.of)

    def tell_rollout(
        self, db: Connection, model: str, segment: Segment, message: str, evidence: Mapping[str, Any]
    ) -> None:
        """Open an alert that a challenger was taken out by itself; what was told of its segment before is over."""
        self.rollouts_over(db, model, [segment])
        place = {"model": model, "segment": segment_text(segment), "kind": "rollout", "opened": self.clock()}
        told = {"severity": "critical", "message": message, "evidence": plain(evidence)}
        db.execute(insert(alerts).values(**place, **told))

    def tell_training(
        self, db: Connection, model: str, wrong: str | None, evidence: Mapping[str, Any] | None = None
    ) -> None:
        """Open an alert that a training of a model was given up, or close it where one has come to its end."""
        found = [Finding((), "training", "critical", wrong, evidence or {})] if wrong else []
        settle(db, model, found, set(), self.clock(), frozenset({"training"}))

    def rollouts_over(self, db: Connection, model: str, segments: Sequence[Segment]) -> None:
        """Close what was told of earlier rollouts of segments: another version is on its way, or live."""
        mine = (alerts.c.model == model, alerts.c.kind == "rollout", alerts.c.closed.is_(None))
        for some in chunks([segment_text(segment) for segment in segments]):
            db.execute(update(alerts).where(*mine, alerts.c.segment.in_(some)).values(closed=self.clock()))

    def undefined(self, models: Container[str], datasets: Container[str]) -> None:
        """Close what was told of models and datasets that a project does not define any more.

        A rollout may be of a model that came from elsewhere, which no project defines.
        """
        open_ones = alerts.c.closed.is_(None)
        with self.stores.ledger.read() as db:
            found = db.execute(select(alerts.c.model, alerts.c.kind).where(open_ones).distinct()).all()
        about = intake.about("")
        gone = [
            (model, kind)
            for model, kind in found
            if (
                model.removeprefix(about) not in datasets
                if model.startswith(about)
                else model not in models and kind != "rollout"
            )
        ]
        if gone:
            with self.stores.ledger.write() as db:
                for model, kind in gone:
                    mine = (alerts.c.model == model, alerts.c.kind == kind, open_ones)
                    db.execute(update(alerts).where(*mine).values(closed=self.clock()))

    # -- summing up ----------------------------------------------------------------------------------------

    def summary(self, model: str, *, end: datetime, days: int = TRAILING_DAYS) -> list[Watch]:
        """Every champion that answered in the last `days` before `end`, judged together, by segment.

        Only what the champion itself answered counts: after a promotion it starts anew.
        """
        query = select(deployments.c.segment, deployments.c.champion).where(deployments.c.model == model)
        with self.stores.ledger.read() as db:
            champions = {(segment, version) for segment, version in db.execute(query)}
            everywhere = db.scalar(select(func.count()).select_from(deployments)) or 1
            rule = Drift.from_json(_told(db, model).get("drift"))
            question = (model, end, days, Progress.of(db, model), champions, everywhere, rule)
            came = truths.read(db, model, end - timedelta(days=LOOK_BACK), end)
        lag = lag_of(came, end)
        if self._last is not None and self._last[0] == question:
            return list(self._last[1])
        back = timedelta(days=days + (lag if lag <= LOOK_BACK else 0))
        stored = self._stored.read(model, end - back, end)
        answered = [one for one in stored if one[:2] in champions]
        known = self._versions.of(model, list(dict.fromkeys(one[:2] for one in answered)))
        answered += self._before(model, rule.before(days), end, answered)
        level = share(len(champions), everywhere)
        watches: list[Watch] = []
        # Sketches of one shape are summed and judged together: usually all.
        for features in sorted({len(entry.features) for entry in known.values()}):
            mine = {key: entry for key, entry in known.items() if len(entry.features) == features}
            places = {key: place for place, key in enumerate(mine)}
            part = [one for one in answered if one[:2] in places]
            stacked = Sketches.unpack(
                np.array([one.sums for one in part]), [one.sketch for one in part], features
            )
            which = np.array([places[one[:2]] for one in part], np.int64)
            age = np.array([(end - one.start) / DAY for one in part])
            watches += judge(mine, stacked, which, age, rule, level, lag=lag, days=days)
        if _sides(came, end).unjudged:
            nothing: dict[str, Any] = {"loss": None, "loss_error": None, "decayed": False, "decaying": False}
            watches = [replace(watch, **nothing) for watch in watches]
        watches.sort(key=lambda watch: watch.segment)
        self._last = (question, watches)
        return list(watches)

    def _before(
        self, model: str, days: tuple[float, float] | None, end: datetime, read: Sequence[Window]
    ) -> list[Window]:
        """Windows of the days that a rule compares with, without those that were `read`; see `Drift.before`."""
        if days is None:
            return []
        there = {one[:3] for one in read}
        found = self._stored.earlier(model, end - days[1] * DAY, end - days[0] * DAY)
        return [one for one in found if one[:3] not in there]

    def streams(self, model: str, now: datetime) -> dict[Segment, npt.NDArray[np.float64]]:
        """Losses of the champions' rows; see `monitor.stream`."""
        query = select(deployments.c.segment, deployments.c.champion).where(deployments.c.model == model)
        with self.stores.ledger.read() as db:
            champions = [(segment, version) for segment, version in db.execute(query)]
        return streams(self.stores.tables, self._versions, model, champions, now, TRAILING_DAYS)

    def together(self, model: str, key: Key, before: Rows, *, end: datetime, days: int) -> Together:
        """What a segment was asked about in the last `days`, beside `before`, rows that its version was made of.

        Raises:
            NotReady: there are too few rows or days of one of them.
        """
        (known,) = self._versions.of(model, [key]).values()
        now = asked(self.stores.tables, model, key, known, end - timedelta(days=days), end)
        return together(before, now, known)

    def slices(
        self, model: str, column: tuple[str, bool | None], segment: str | None, *, end: datetime, days: int
    ) -> Sliced:
        """How good the answers of the last `days` before `end` were by the value of a column; see `monitor.slices`."""
        start = end - timedelta(days=days)
        return sliced(self.stores.tables, self._versions, model, column, start, end, segment)

    def seen_until(self, model: str) -> datetime | None:
        """The moment that the model's windows were last brought up to; ``None`` before the first time."""
        with self.stores.ledger.read() as db:
            return Progress.of(db, model).observed

    def looked_until(self, model: str) -> datetime:
        """The end of what is shown of a model: `seen_until`, if that is not to come; now before the first time."""
        now = self.clock()
        return min(self.seen_until(model) or now, now)

    def history(
        self, model: str, segment: str | None = None, *, end: datetime, days: int, by: By = "day"
    ) -> tuple[list[dict[str, Any]], Honesty]:
        """Volume and performance by day or month, all versions together; see `monitor.history`.

        How much days differ is measured on four weeks at least, however few of them are told: a day's expectation has
        the same error then.

        Args:
            model: Name of the model.
            segment: Its text; ``None`` for all segments together.
            end: Until when.
            days: How many days.
            by: What is summed up.
        """
        first = end - timedelta(days=days)
        since = min(first, end - timedelta(days=TRAILING_DAYS)) if by == "day" else first
        stored = [
            one for one in self._stored.read(model, since, end) if segment is None or one.segment == segment
        ]
        spans, honesty = history(
            stored, self._versions.of(model, dict.fromkeys(one[:2] for one in stored)), by
        )
        return [span for span in spans if by != "day" or span["day"] >= first], honesty

    def truths(self, model: str, *, end: datetime, days: int) -> dict[str, Any]:
        """What came of outcomes in the last `days` before `end`, and how late they come; see `monitor.truths`."""
        with self.stores.ledger.read() as db:
            found = truths.read(db, model, end - timedelta(days=max(days, LOOK_BACK)), end)
        recent = [one for one in found if one.start >= end - timedelta(days=days)]
        return truths.told(recent) | {"lag_days": finite(lag_of(found, end))}

    def _traffic(self, model: str, now: datetime) -> list[Traffic]:
        """When predictions came in the last days, whatever version answered."""
        days: dict[str, set[datetime]] = {}
        rows: dict[str, float] = {}
        for one in self._stored.read(model, now - timedelta(days=TRAILING_DAYS), now):
            days.setdefault(one.segment, set()).add(one.start)
            rows[one.segment] = rows.get(one.segment, 0.0) + one.sums[0]
        return [
            Traffic(parse_segment(text), int(rows[text]), tuple(sorted(some))) for text, some in days.items()
        ]

    # -- alerts --------------------------------------------------------------------------------------------

    def alerts(
        self,
        model: str | None = None,
        open_only: bool = True,
        limit: int = 100,
        incident: int | None = None,
    ) -> list[dict[str, Any]]:
        """Alerts, the newest first."""
        with self.stores.ledger.read() as db:
            return listed(db, model, open_only, limit, incident)

    def incidents(self, open_only: bool = True, limit: int = 100) -> list[dict[str, Any]]:
        """Incidents, the newest first; see `monitor.incidents`."""
        with self.stores.ledger.read() as db:
            return listed_incidents(db, open_only, limit)

    def mark(
        self, alert: int, whole: bool, also: Callable[[Connection], object], **values: Any
    ) -> dict[str, Any]:
        """Write something down about an open alert, or its whole incident, and `also` in the same transaction.

        Raises:
            NotFound: there is none of that number.
            Conflict: it is over.
        """
        with self.stores.ledger.write() as db:
            told = mark(db, alert, whole, values)
            also(db)
            return told


def _sides(came: Sequence[Truths], now: datetime) -> Sides:
    """Rows that were answered and rows of the holdout, of complete days of the last four weeks that are."""
    lag = lag_of(came, now)
    recent = [
        one for one in came if (now - one.start) / DAY <= TRAILING_DAYS + (lag if lag <= LOOK_BACK else 0)
    ]
    return sides(recent, since_of(recent, now).tolist(), lag)


def _told(db: Connection, model: str) -> Mapping[str, Any]:
    """The definition of a model as the ledger has it; empty for one that came without."""
    return db.scalar(select(models.c.definition).where(models.c.name == model)) or {}
