"""One policy on its way through the past: its champions answer, monitoring counts, and says what it sees."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

from modelworks.core.batch import Batch
from modelworks.core.clock import from_microseconds
from modelworks.core.measure import Counts
from modelworks.core.ref import Segment, segment_text
from modelworks.learn.budget import Limit, Spent
from modelworks.learn.policy import Decision, Policy, decide
from modelworks.learn.simulation import Event
from modelworks.learn.states import Attempt, states_of
from modelworks.learn.triggers.every import Every
from modelworks.learn.triggers.on_code import OnCode
from modelworks.learn.triggers.on_data import OnData
from modelworks.learn.triggers.on_decay import OnDecay
from modelworks.learn.triggers.on_detector import OnDetector
from modelworks.learn.triggers.on_gain import OnGain
from modelworks.learn.triggers.on_outcomes import OnOutcomes
from modelworks.learn.triggers.on_rows import OnRows
from modelworks.models.definition import Definition
from modelworks.models.package import Package
from modelworks.models.predictor import Predictor
from modelworks.models.signature import Signature
from modelworks.monitor.drift.rule import Drift
from modelworks.monitor.fleet import share
from modelworks.monitor.judge import judge, judge_answers
from modelworks.monitor.logged import Layout
from modelworks.monitor.performance import log_losses
from modelworks.monitor.sketch import Sketches
from modelworks.monitor.station import TRAILING_DAYS
from modelworks.monitor.truths import LOOK_BACK
from modelworks.monitor.watch import Watch
from modelworks.monitor.window import Key, Known, sketch
from modelworks.pipelines.past import DAY, Ints, Past

_AHEAD = 28 * DAY
"""How far ahead a version answers at once: it is asked seldom, and for many rows."""
_BLIND = (Every, OnRows, OnData, OnCode)
"""Triggers that do not look at what monitoring says."""
_OF_ANSWERS = (*_BLIND, OnDecay, OnGain, OnDetector, OnOutcomes)
"""Triggers that do not look at what it says of inputs."""

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Version:
    """A version that was made on the way.

    Attributes:
        uid: Its number among all of them.
        segment: Which.
    """

    uid: int
    segment: Segment
    package: Package
    known: Known
    predictor: Predictor

    @cached_property
    def key(self) -> Key:
        """As monitoring names it."""
        return segment_text(self.segment), self.uid


class PolicyRun:
    """One policy on its way.

    Args:
        name: Of the policy.
        policy: The policy.
        definition: Of the model.
        past: What it goes through.
        rule: How large a shift must be.
        others: Champions of other models, with which it shares the false alarms.

    Attributes:
        answers: What was answered to each row that was asked, shape (rows,); NaN before.
        champions: As things stand.
        events: Its trainings.
        costs: What each of them took: when, and the seconds of a worker.
    """

    def __init__(
        self, name: str, policy: Policy, definition: Definition, past: Past, rule: Drift, others: int
    ) -> None:
        self.name = name
        self.rule = rule
        self.others = others
        self.policy = policy
        self.definition = definition
        self.past = past
        self.answers: Doubles = np.full(len(past.asked), np.nan)
        self.champions: dict[Segment, Version] = {}
        self.events: list[Event] = []
        self.costs: list[tuple[int, float]] = []
        self._by = np.full(len(past.asked), -1)  # who has answered each row, or would have as things stand
        self._tried: dict[Segment, int] = {}
        self._refused: dict[Segment, int] = {}  # trainings in a row that brought nothing
        self._days: dict[tuple[int, Layout], tuple[Ints, Sketches]] = {}  # whose windows, by UTC day
        self._unlabelled: Ints = np.zeros(0, np.int64)  # rows that were answered and whose truth has not come
        self._routes: Ints | None = None
        self._versions = any(isinstance(trigger, OnData) for trigger in policy.triggers)
        self._sighted = not all(isinstance(trigger, _BLIND) for trigger in policy.triggers)
        self._inputs = not all(isinstance(trigger, _OF_ANSWERS) for trigger in policy.triggers)

    def take(self, segment: Segment, now: int, event: Event, seconds: float, made: Version | None) -> None:
        """A segment was trained.

        Args:
            segment: Which.
            now: When.
            event: What became of it.
            seconds: What it took.
            made: The new champion, if there is one.
        """
        self._tried[segment] = now
        self._refused[segment] = 0 if event.action == "promote" else self._refused.get(segment, 0) + 1
        self.events.append(event)
        self.costs.append((now, seconds))
        if made is not None:
            known = made.known if self._inputs else made.known.outputs_alone
            self.champions[segment] = replace(made, known=known)
            self._routes = None

    def decide(self, now: int) -> list[Decision]:
        """What the policy decides."""
        if not self.policy.triggers:
            return []

        @cache
        def inputs(at: int) -> dict[str, int]:
            return {self.definition.dataset: self.past.version(at)} if self._versions else {}

        states = states_of(
            self.definition,
            self.champions.keys(),
            rows=self.past.counts(now, self._tried),
            attempts={
                segment: Attempt(from_microseconds(at), 0, self._refused[segment], inputs(at))
                for segment, at in self._tried.items()
            },
            watches=self._watches(now) if self._sighted else (),
            now=from_microseconds(now),
            losses=self._streams(now) if self.policy.streams else None,
            inputs=inputs(now),
        )
        return decide(self.policy, states, [Limit(self.policy.budget, self._spent(now))])

    def _spent(self, now: int) -> Spent:
        """What its trainings have cost since midnight; the first ones are no decision of the policy's."""
        midnight = now - now % DAY
        today = [
            took
            for event, (at, took) in zip(self.events, self.costs, strict=True)
            if at >= midnight and event.trigger != "start"
        ]
        each = sum(took for _, took in self.costs) / len(self.costs) if self.costs else None
        return Spent(len(today), sum(today), each)

    def answer(self, since: int, until: int) -> None:
        """Let the champions answer what was asked, and count it."""
        rows = self.past.asked
        low, high = map(int, np.searchsorted(rows.events, [since, until]))
        asked = self._routing()[rows.at[-1][low:high]]
        stale = asked[self._by[low:high] != asked]
        if len(stale):
            self._ahead(np.unique(stale), low, int(np.searchsorted(rows.events, since + _AHEAD)))
        if self._sighted:
            places = np.arange(low, high)
            told = rows.known[places] <= until
            self._count(places, told)
            come = rows.known[self._unlabelled] <= until
            late = self._unlabelled[come]
            self._count(late, np.ones(len(late), bool))
            self._count(late, np.zeros(len(late), bool), sign=-1)
            self._unlabelled = np.concatenate([self._unlabelled[~come], places[~told]])

    def _routing(self) -> Ints:
        """For each segment the version that answers for it: its own, or its nearest parent's."""
        if self._routes is None:
            nearest = []
            for segment in self.past.segments:
                while segment not in self.champions and segment:
                    segment = segment[:-1]
                nearest.append(self.champions[segment].uid if segment in self.champions else -1)
            self._routes = np.array(nearest)
        return self._routes

    def _ahead(self, uids: Ints, low: int, high: int) -> None:
        """Let some versions answer all rows of a span that they would as things stand, and have not yet."""
        rows = self.past.asked
        asked = self._routing()[rows.at[-1][low:high]]
        stale = np.flatnonzero((self._by[low:high] != asked) & np.isin(asked, uids))
        versions = {one.uid: one for one in self.champions.values()}
        order = stale[np.argsort(asked[stale], kind="stable")]
        for part in np.split(order, np.flatnonzero(np.diff(asked[order])) + 1):
            places, uid = part + low, int(asked[part[0]])
            self._by[places] = uid
            self.answers[places] = np.nan
            if uid in versions:
                version = versions[uid]
                scores = version.predictor.predict(rows.batch(places, version.package.signature))
                self.answers[places] = scores[:, -1]

    def _count(self, places: Ints, labelled: npt.NDArray[np.bool_], sign: int = 1) -> None:
        """Add rows to the windows of their day, or take them out."""
        asked = self.past.asked
        versions = {one.uid: one for one in self.champions.values()}
        there = np.isin(self._by[places], list(versions))
        places, labelled = places[there], labelled[there]
        uids, of = np.unique(self._by[places], return_inverse=True)
        who = [versions[uid] for uid in uids.tolist()]
        layouts = [one.known.layout for one in who]
        for layout in dict.fromkeys(layouts):
            mine = np.flatnonzero([one == layout for one in layouts])
            here = np.flatnonzero(np.isin(of, mine))
            known = [who[place].known for place in mine]
            signature = known[0].signature
            days = asked.events[places[here]] // DAY
            first, span = int(days.min()), int(np.ptp(days)) + 1
            windows, window = np.unique(uids[of[here]] * span + days - first, return_inverse=True)
            rows = pl.DataFrame(
                {
                    "of": np.searchsorted(mine, of[here]),
                    "window": window,
                    "output": self.answers[places[here]],
                    "value": np.where(labelled[here], asked.truth[places[here]], np.nan),
                    "label": pl.Series([None] * len(here), dtype=pl.String),
                    "place": places[here],
                }
            )

            def read(part: pl.DataFrame, _layout: Layout, signature: Signature = signature) -> Batch:
                return asked.batch(part["place"].to_numpy(), signature)

            made = sketch(rows.sort("window"), known, read)
            self._add(layout, windows // span, windows % span + first, made, sign)

    def _add(self, layout: Layout, uids: Ints, days: Ints, made: Sketches, sign: int) -> None:
        for day in np.unique(days).tolist():
            here = np.flatnonzero(days == day)
            counts = Counts(sign * made.counts.features[here], sign * made.counts.outputs[here])
            who, what = uids[here], Sketches(sign * made.sums[here], counts)
            if (day, layout) in self._days:
                old, before = self._days[day, layout]
                who, group = np.unique(np.concatenate([old, who]), return_inverse=True)
                what = Sketches.joined([before, what]).merge(group, len(who))
            self._days[day, layout] = who, what

    def _streams(self, now: int) -> dict[Segment, Doubles]:
        """What `monitor.stream` gives: losses of the champions' rows, in the order in which the truths came."""
        asked = self.past.asked
        found: dict[Segment, Doubles] = {}
        places = np.flatnonzero((asked.known <= now) & (asked.events >= now - TRAILING_DAYS * DAY))
        places = places[np.argsort(asked.known[places], kind="stable")]
        for segment, version in self.champions.items():
            mine = places[self._by[places] == version.uid]
            truth, output = asked.truth[mine], self.answers[mine]
            signature = version.package.signature
            if signature.task == "regression":
                loss = np.square(truth - output)
            else:
                event = truth == float(signature.classes[1])
                loss = log_losses(np.where(event, output, 1.0 - output))
            found[segment] = loss[np.isfinite(truth)]
        return found

    def _watches(self, now: int) -> list[Watch]:
        """What monitoring says of the champions; see `monitor.station.MonitorStation.summary`."""
        champions = {one.uid: one for one in self.champions.values()}
        level = share(len(champions), len(champions) + self.others)
        late = self.past.lag(now)
        before = self.rule.before(TRAILING_DAYS)
        oldest = TRAILING_DAYS + (late if np.isfinite(late) else LOOK_BACK)
        first = now / DAY - max(oldest, before[1] if before else 0.0)
        for key in [key for key in self._days if key[0] < first]:
            del self._days[key]
        alive = np.array(list(champions))
        found: list[Watch] = []
        for layout in {key[1] for key in self._days}:
            days, uids, parts = [], [], []
            for (day, _), (who, part) in sorted(
                (one for one in self._days.items() if one[0][1] == layout), key=_day
            ):
                mine = np.flatnonzero(np.isin(who, alive))
                days.append(np.full(len(mine), day))
                uids.append(who[mine])
                parts.append(part.take(mine))
            who, windows = np.concatenate(uids), Sketches.joined(parts)
            age = now / DAY - np.concatenate(days)
            near = age <= TRAILING_DAYS + late
            there = np.unique(who[near])
            if before is not None:
                near |= (age > before[0]) & (age <= before[1]) & np.isin(who, there)
            if not near.all():
                mine = np.flatnonzero(near)
                who, windows, age = who[mine], windows.take(mine), age[mine]
            of = np.searchsorted(there, who)
            known = {champions[uid].key: champions[uid].known for uid in there.tolist()}
            span = {"lag": late, "days": float(TRAILING_DAYS)}
            if self._inputs:
                found += judge(known, windows, of, age, self.rule, level, **span)
            else:
                found += judge_answers(known, windows, of, age, level, **span)
        return found


def _day(windows: tuple[tuple[int, Layout], object]) -> int:
    return windows[0][0]
