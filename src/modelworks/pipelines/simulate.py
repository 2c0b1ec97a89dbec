"""Policies of retraining on the logged past: the same fits, gates, monitoring and decisions, turn by turn.

What stands in ledger and tables when it is production stands here in memory, and the server is a call of the model;
all that judges is the same. So what is foretold is what production does, but for what the past does not hold: rollouts
are over at once, and whoever has to approve does so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

import numpy as np
import numpy.typing as npt
import polars as pl

from modelworks.core.batch import Batch
from modelworks.core.duration import duration
from modelworks.core.errors import Invalid
from modelworks.core.measure import Counts
from modelworks.core.ref import Segment, segment_text
from modelworks.learn import simulation
from modelworks.learn.policy import Policy, decide
from modelworks.learn.simulation import Course, Event, Simulation, Span
from modelworks.learn.states import Attempt, states_of
from modelworks.learn.triggers.every import Every
from modelworks.learn.triggers.on_rows import OnRows
from modelworks.learn.triggers.port import SegmentState
from modelworks.models import packaging
from modelworks.models.metrics import METRICS
from modelworks.models.package import Package
from modelworks.models.predictor import Predictor
from modelworks.models.signature import Signature
from modelworks.monitor.judge import judge
from modelworks.monitor.performance import log_losses
from modelworks.monitor.sketch import Sketches
from modelworks.monitor.station import TRAILING_DAYS
from modelworks.monitor.versions import known_of
from modelworks.monitor.watch import Watch
from modelworks.monitor.window import Key, Known, Layout, sketched
from modelworks.pipelines.context import Progress, Stations, silent
from modelworks.pipelines.past import Past, microseconds, moment, past_of
from modelworks.pipelines.project import Model
from modelworks.pipelines.release import judged
from modelworks.registry.gates import needed
from modelworks.stores.artifacts import LocalArtifacts
from modelworks.train.candidate import Candidate
from modelworks.train.station import TrainStation

_DAY = 86_400_000_000
_AHEAD = 28 * _DAY
"""How far ahead a version answers at once: it is asked seldom, and for many rows."""
_BLIND = (Every, OnRows)
"""Triggers that do not look at what monitoring says."""

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_Asked = tuple[Segment, int | None]
"""A segment, and the champion that its candidate is to be compared with."""


@dataclass(frozen=True, eq=False)
class _Version:
    """A version that was made on the way.

    Attributes:
        uid: Its number among all of them.
        segment: Which.
        number: Its number among those of its segment.
    """

    uid: int
    segment: Segment
    number: int
    package: Package
    known: Known
    predictor: Predictor

    @cached_property
    def key(self) -> Key:
        """As monitoring names it."""
        return segment_text(self.segment), self.number


@dataclass(eq=False)
class _Run:
    """One policy on its way through the past.

    Attributes:
        answers: What was answered to each row, shape (rows,); NaN before.
        by: Which version has answered, or would have as things stand; -1 for none.
        days: What monitoring counted, by UTC day: the windows' keys, and their sketches.
        unlabelled: Rows that were answered and whose truth has not come.
    """

    name: str
    policy: Policy
    answers: Doubles
    by: Ints
    champions: dict[Segment, _Version] = field(default_factory=dict)
    tried: dict[Segment, int] = field(default_factory=dict)
    numbers: dict[Segment, int] = field(default_factory=dict)
    days: dict[tuple[int, Layout], tuple[list[Key], Sketches]] = field(default_factory=dict)
    unlabelled: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    events: list[Event] = field(default_factory=list)
    costs: list[tuple[int, float]] = field(default_factory=list)
    routes: Ints | None = None

    @property
    def sighted(self) -> bool:
        """Whether its policy looks at what monitoring says."""
        return not all(isinstance(trigger, _BLIND) for trigger in self.policy.triggers)


def simulate(
    stations: Stations,
    model: Model,
    texts: Sequence[str] = (),
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    every: str = "1d",
    delay: str | None = None,
    progress: Progress = silent,
) -> Simulation:
    """Run policies over the past of a model's dataset.

    Args:
        stations: The belt.
        model: Whose policies.
        texts: See `learn.simulation.policies`; the usual ones and the model's own by default.
        since: When the first models are trained; a sixth into the past by default.
        until: Where the past ends; where the rows end by default.
        every: Time between two turns of the loop.
        delay: See `past.past_of`.
        progress: Told of each turn.

    Raises:
        Invalid: the model is not one that can be simulated; a policy is none; there is no past between these times.
        NotReady: there are no rows.
    """
    started = monotonic()
    if model.definition.learn != "scratch":
        raise Invalid(
            f"{model.name} learns {model.definition.learn}",
            "what it would have gone on from is not known of the past",
            "simulate it with learn='scratch'",
        )
    chosen = texts or [*simulation.USUAL, simulation.DECLARED][: None if model.policy.triggers else -1]
    wanted = simulation.policies(chosen, model.policy)
    needs = needed(model.gates)
    past = past_of(stations, model.definition, delay, [name for need in needs for name in need.columns])
    first, last = moment(past.learned.events[0]), moment(past.asked.events[-1]) + timedelta(microseconds=1)
    since = since or first + (last - first) / 6
    until = min(until or last, last)
    if not first < since < until:
        raise Invalid(
            f"there is no past between {since:%Y-%m-%d} and {until:%Y-%m-%d}",
            f"the rows are from {first:%Y-%m-%d} to {last:%Y-%m-%d}",
            "choose times in between",
        )
    step = round(duration(every).total_seconds() * 1e6)
    runs = [
        _Run(name, policy, np.full(len(past.asked), np.nan), np.full(len(past.asked), -1))
        for name, policy in wanted.items()
    ]
    with TemporaryDirectory(prefix="modelworks-simulate-") as folder:
        loop = _Loop(stations, model, past, Path(folder))
        begin, end = microseconds(since), microseconds(until)
        loop.start(runs, begin)
        turns = range(begin + step, end + step, step)
        for done, now in enumerate(turns, 1):
            for run in runs:
                loop.answer(run, now - step, min(now, end))
            if now < end:
                loop.turn(runs, now)
            progress(f"simulate {model.name}", done, len(turns))
        courses = _courses(model, past, runs, begin, end, loop.signature)
    binary = loop.signature.task != "regression"
    return Simulation(
        model.name,
        since,
        until,
        "log_loss" if binary else "squared_error",
        "" if model.value is None else model.value.unit,
        courses,
        monotonic() - started,
    )


class _Loop:
    """The factory's loop over the past.

    Args:
        stations: The belt.
        model: Whose past.
        past: The rows.
        folder: For what is made on the way.
    """

    def __init__(self, stations: Stations, model: Model, past: Past, folder: Path) -> None:
        self.stations = stations
        self.model = model
        self.past = past
        self.artifacts = LocalArtifacts(folder / "artifacts")
        self.training: TrainStation = replace(stations.train, artifacts_root=self.artifacts.root)
        self.needs = needed(model.gates)
        self.made = 0
        contract = stations.project.dataset(model.definition.dataset).contract
        self.unseen = frozenset(name for name, one in contract.items() if one.sensitive)
        self.signature: Signature

    # -- training ------------------------------------------------------------------------------------------

    def start(self, runs: Sequence[_Run], now: int) -> None:
        """The first models, the same for all."""
        for candidate in self._candidates(self.past.known(now), None, {}):
            self._take(candidate, runs, now, dict.fromkeys(range(len(runs)), "start"))
        if not runs[0].champions:
            raise Invalid(
                f"no version of {self.model.name} passes its gates at the beginning",
                f"it was trained on what had come by {moment(now):%Y-%m-%d}",
                "begin later, with --since",
            )

    def turn(self, runs: Sequence[_Run], now: int) -> None:
        """Watch, decide, train, judge."""
        asked: list[dict[_Asked, dict[int, str]]] = [{}]
        for place, run in enumerate(runs):
            if self.model.definition.window is not None:
                asked.append({})  # where a window begins depends on what is trained together
            for decision in decide(run.policy, self._states(run, now)) if run.policy.triggers else ():
                if decision.action == "train":
                    champion = run.champions.get(decision.segment)
                    key = decision.segment, None if champion is None else champion.uid
                    asked[-1].setdefault(key, {})[place] = decision.trigger
        for waiting in asked:
            while waiting:  # all together, but for a segment that is asked for against different champions
                some = {key[0]: key for key in reversed(waiting)}
                self._train(runs, now, {key: waiting.pop(key) for key in some.values()})

    def _train(self, runs: Sequence[_Run], now: int, asked: Mapping[_Asked, Mapping[int, str]]) -> None:
        """Train segments, each once, for whoever has asked for it."""
        why = {segment: places for (segment, _), places in asked.items()}
        champions = {
            segment: runs[next(iter(why[segment]))].champions[segment].package
            for segment, uid in asked
            if uid is not None
        }
        for candidate in self._candidates(self.past.known(now, why.keys()), list(why), champions):
            self._take(candidate, runs, now, why[candidate.segment])

    def _candidates(
        self, rows: pl.DataFrame, segments: Sequence[Segment] | None, champions: Mapping[Segment, Package]
    ) -> Sequence[Candidate]:
        found = self.training.train(
            self.model.definition,
            rows,
            time=self.past.time,
            segments=segments,
            champions=champions,
            needs=self.needs,
        )
        with closing(found):  # type: ignore[type-var]
            return list(found)

    def _take(self, candidate: Candidate, runs: Sequence[_Run], now: int, why: Mapping[int, str]) -> None:
        """What becomes of a candidate for those who have asked for it."""
        segment, package = candidate.segment, candidate.package
        passed = False
        made: _Version | None = None
        if package is not None:
            passed, _ = judged(self.stations, self.model, candidate, moment(now))
        if passed and package is not None:
            if package.signature.task not in ("binary", "regression"):
                raise Invalid(
                    f"{self.model.name} cannot be simulated",
                    f"its task is {package.signature.task}; it is known how for models that answer one number",
                    "",
                )
            self.signature = package.signature
            known = known_of(package, candidate.metrics, self.unseen, self.artifacts)
            made = _Version(self.made, segment, 0, package, known, packaging.load(package, self.artifacts))
            self.made += 1
        for place, trigger in why.items():
            run = runs[place]
            run.tried[segment] = now
            run.costs.append((now, sum(candidate.seconds.values())))
            if package is not None:
                run.numbers[segment] = run.numbers.get(segment, 0) + 1
            if made is not None:
                run.champions[segment] = replace(made, number=run.numbers[segment])
                run.routes = None
            action = "promote" if passed else "refuse" if package is not None else "fail"
            run.events.append(Event(moment(now), segment, trigger, action))  # type: ignore[arg-type]

    # -- answering -----------------------------------------------------------------------------------------

    def answer(self, run: _Run, since: int, until: int) -> None:
        """Let the champions answer what was asked, and count it."""
        rows = self.past.asked
        low, high = map(int, np.searchsorted(rows.events, [since, until]))
        asked = self._routes(run)[rows.at[-1][low:high]]
        if (run.by[low:high] != asked).any():
            self._ahead(run, low, int(np.searchsorted(rows.events, since + _AHEAD)))
        if run.sighted:
            places = np.arange(low, high)
            told = rows.known[places] <= until
            self._count(run, places, told)
            come = rows.known[run.unlabelled] <= until
            late = run.unlabelled[come]
            self._count(run, late, np.ones(len(late), bool))
            self._count(run, late, np.zeros(len(late), bool), sign=-1)
            run.unlabelled = np.concatenate([run.unlabelled[~come], places[~told]])

    def _routes(self, run: _Run) -> Ints:
        """For each segment the version that answers for it: its own, or its nearest parent's."""
        if run.routes is None:
            nearest = []
            for segment in self.past.segments:
                while segment not in run.champions and segment:
                    segment = segment[:-1]
                nearest.append(run.champions[segment].uid if segment in run.champions else -1)
            run.routes = np.array(nearest)
        return run.routes

    def _ahead(self, run: _Run, low: int, high: int) -> None:
        """Answer all rows of a span that are not answered as things stand."""
        rows = self.past.asked
        asked = self._routes(run)[rows.at[-1][low:high]]
        stale = np.flatnonzero(run.by[low:high] != asked)
        versions = {one.uid: one for one in run.champions.values()}
        order = stale[np.argsort(asked[stale], kind="stable")]
        for part in np.split(order, np.flatnonzero(np.diff(asked[order])) + 1):
            places, uid = part + low, int(asked[part[0]])
            run.by[places] = uid
            run.answers[places] = np.nan
            if uid in versions:
                version = versions[uid]
                scores = version.predictor.predict(rows.batch(places, version.package.signature))
                run.answers[places] = scores[:, -1]

    # -- watching ------------------------------------------------------------------------------------------

    def _count(self, run: _Run, places: Ints, labelled: npt.NDArray[np.bool_], sign: int = 1) -> None:
        """Add rows to the windows of their day, or take them out."""
        asked = self.past.asked
        versions = {one.uid: one for one in run.champions.values()}
        there = np.isin(run.by[places], list(versions))
        places, labelled = places[there], labelled[there]
        who = [versions[uid] for uid in run.by[places].tolist()]
        if not who:
            return
        known = {one.key: one.known for one in who}
        rows = pl.DataFrame(
            {
                "segment": [one.key[0] for one in who],
                "version": [one.key[1] for one in who],
                "event_time": pl.Series(asked.events[places]).cast(pl.Datetime("us", "UTC")),
                "output": run.answers[places],
                "value": np.where(labelled, asked.truth[places], np.nan),
                "label": pl.Series([None] * len(places), dtype=pl.String),
                "place": places,
            }
        )
        signatures = {entry.layout: entry.signature for entry in known.values()}

        def read(part: pl.DataFrame, layout: Layout) -> Batch:
            return asked.batch(part["place"].to_numpy(), signatures[layout])

        for layout in signatures:
            mine = {key: entry for key, entry in known.items() if entry.layout == layout}
            for windows, sketches in sketched(rows, mine, read):
                self._add(run, layout, windows, sketches, sign)

    def _add(self, run: _Run, layout: Layout, windows: pl.DataFrame, made: Sketches, sign: int) -> None:
        days = windows["day"].dt.epoch("us").to_numpy() // _DAY
        keys = list(zip(windows["segment"].to_list(), windows["version"].to_list(), strict=True))
        for day in np.unique(days).tolist():
            here = np.flatnonzero(days == day)
            fresh = [keys[place] for place in here]
            sums, features, outputs = (
                sign * made.sums[here], sign * made.counts.features[here], sign * made.counts.outputs[here]
            )  # fmt: skip
            stood = run.days.get((day, layout))
            if stood is not None:
                old, before = stood
                together = {key: place for place, key in enumerate(dict.fromkeys([*old, *fresh]))}
                group = np.array([together[key] for key in [*old, *fresh]])
                both = Sketches(
                    np.concatenate([before.sums, sums]),
                    Counts(
                        np.concatenate([before.counts.features, features]),
                        np.concatenate([before.counts.outputs, outputs]),
                    ),
                )
                run.days[day, layout] = list(together), both.merge(group, len(together))
            else:
                run.days[day, layout] = fresh, Sketches(sums, Counts(features, outputs))

    def _watches(self, run: _Run, now: int) -> list[Watch]:
        """What monitoring says of the champions; see `monitor.station.MonitorStation.summary`."""
        champions = {one.key: one.known for one in run.champions.values()}
        first = (now - TRAILING_DAYS * _DAY) / _DAY
        for key in [key for key in run.days if key[0] < first]:
            del run.days[key]
        found: list[Watch] = []
        for layout in {key[1] for key in run.days}:
            parts = [
                (keys, one)
                for (_, of), (keys, one) in sorted(run.days.items(), key=lambda d: d[0][0])
                if of == layout
            ]
            keys = [key for some, _ in parts for key in some]
            mine = np.array([place for place, key in enumerate(keys) if key in champions], np.int64)
            places: dict[Key, int] = {}
            group = np.array([places.setdefault(keys[place], len(places)) for place in mine], np.int64)
            stacked = Sketches(
                np.concatenate([one.sums for _, one in parts])[mine],
                Counts(
                    np.concatenate([one.counts.features for _, one in parts])[mine],
                    np.concatenate([one.counts.outputs for _, one in parts])[mine],
                ),
            )
            known = {key: champions[key] for key in places}
            found += judge(
                known, stacked.merge(group, len(places)), stacked.spread(group, len(places)), places
            )
        return found

    def _states(self, run: _Run, now: int) -> list[SegmentState]:
        return states_of(
            self.model.definition,
            run.champions.keys(),
            rows=self.past.counts(now, run.tried),
            attempts={segment: Attempt(moment(at), 0) for segment, at in run.tried.items()},
            watches=self._watches(run, now) if run.sighted else (),
            now=moment(now),
        )


def _courses(
    model: Model, past: Past, runs: Sequence[_Run], begin: int, end: int, signature: Signature
) -> tuple[Course, ...]:
    """What came of each."""
    low, high = np.searchsorted(past.asked.events, [begin, end])
    part = slice(low, high)
    events, truth = past.asked.events[part], past.asked.truth[part]
    answered = np.all([np.isfinite(run.answers[part]) for run in runs], axis=0) & ~np.isnan(truth)
    month = pl.Series(events).cast(pl.Datetime("us", "UTC")).dt.strftime("%Y-%m")
    names = [*month.unique().sort(), "all"]
    lost = {run.name: _losses(run.answers[part][answered], truth[answered], signature) for run in runs}
    day = events[answered] // _DAY
    courses = []
    for run in runs:
        spans = []
        for name in names:
            here = answered & (np.ones(len(events), bool) if name == "all" else (month == name).to_numpy())
            in_span = _within(name)
            scores = run.answers[part][here]
            spans.append(
                Span(
                    name,
                    int(here.sum()),
                    _measured(model, truth[here], scores, signature),
                    None if model.value is None else model.value.total(truth[here], scores),
                    sum(in_span(one.at) for one in run.events if one.trigger != "start"),
                    sum(
                        in_span(one.at)
                        for one in run.events
                        if one.trigger != "start" and one.action == "promote"
                    ),
                    sum(took for at, took in run.costs if in_span(moment(at)) and at > begin),
                )
            )
        compared = None if run is runs[0] else simulation.apart(lost[run.name], lost[runs[0].name], day)
        triggers = simulation.plain_policy(run.policy)
        courses.append(Course(run.name, triggers, tuple(spans), tuple(run.events), compared))
    best = simulation.efficient((one.whole.trained, float(lost[one.policy].mean())) for one in courses)
    return tuple(replace(one, efficient=flag) for one, flag in zip(courses, best, strict=True))


def _within(name: str) -> Callable[[datetime], bool]:
    return lambda at: name == "all" or f"{at:%Y-%m}" == name


def _measured(
    model: Model, truth: npt.NDArray[np.generic], scores: Doubles, signature: Signature
) -> dict[str, float | None]:
    answers = scores[:, None] if signature.task == "regression" else np.column_stack([1 - scores, scores])
    names = model.definition.metrics or (("rmse",) if signature.task == "regression" else ("log_loss",))
    return {name: simulation.finite(METRICS[name](truth, answers, signature.classes)) for name in names}


def _losses(scores: Doubles, truth: npt.NDArray[np.generic], signature: Signature) -> Doubles:
    if signature.task == "regression":
        return np.square(truth.astype(np.float64) - scores)
    return log_losses(np.where(truth == signature.classes[1], scores, 1 - scores))
