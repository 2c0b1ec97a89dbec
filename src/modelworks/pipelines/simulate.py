"""Policies of retraining on the logged past: the same fits, gates, monitoring and decisions, turn by turn.

What stands in ledger and tables when it is production stands here in memory, and the server is a call of the model;
all that judges is the same. So what is foretold is what production does, but for what the past does not hold: rollouts
are over at once, and whoever has to approve does so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from threading import Event, Lock
from time import monotonic

import numpy as np
import numpy.typing as npt
import polars as pl

from modelworks.core.clock import from_microseconds, microseconds
from modelworks.core.duration import duration
from modelworks.core.errors import Invalid, NotReady
from modelworks.core.ref import Segment
from modelworks.learn import simulation
from modelworks.learn.simulation import Action, Course, Simulation, Span
from modelworks.models import packaging
from modelworks.models.metrics import METRICS
from modelworks.models.package import Package
from modelworks.models.signature import Signature
from modelworks.monitor.performance import log_losses
from modelworks.monitor.value import Worth
from modelworks.monitor.versions import known_of
from modelworks.monitor.watch import finite
from modelworks.pipelines.context import Progress, Stations, silent
from modelworks.pipelines.past import DAY, SENT, Ints, Past, past_of
from modelworks.pipelines.policy_run import Doubles, PolicyRun, Version
from modelworks.pipelines.project import Model
from modelworks.pipelines.release import seen_by_gates
from modelworks.pipelines.worth import as_logged, looked_at
from modelworks.registry.gates import judge_all, needed
from modelworks.stores.artifacts import LocalArtifacts
from modelworks.train.candidate import Candidate
from modelworks.train.station import TrainStation

_MOST_TURNS = 10_000
_TRIED = 100
"""Rows of which it is asked at the beginning what they are worth."""
_Fit = tuple[Segment, int, str, tuple[Segment, ...]]
"""A segment, when, what the candidate is compared with, and what is trained with it where that makes a difference."""


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
        Invalid: the model is not one that can be simulated; a policy is none; there is no past between these times;
            what rows are worth cannot be told.
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
    columns = [name for need in needs for name in need.columns]
    past = past_of(stations, model.definition, delay, columns, looked_at(stations, model))
    first, last = (
        from_microseconds(past.learned.events[0]),
        from_microseconds(past.asked.events[-1]) + timedelta(microseconds=1),
    )
    since = since or first + (last - first) / 6
    until = min(until or last, last)
    if not first < since < until:
        raise Invalid(
            f"there is no past between {since:%Y-%m-%d} and {until:%Y-%m-%d}",
            f"the rows are from {first:%Y-%m-%d} to {last:%Y-%m-%d}",
            "choose times in between",
        )
    begin, end, step = microseconds(since), microseconds(until), round(duration(every).total_seconds() * 1e6)
    if not step or (end - begin) / step > _MOST_TURNS:
        raise Invalid(
            f"a turn each {every} would be more than {_MOST_TURNS:,}",
            "",
            "let more time pass between two of them",
        )
    tried = np.flatnonzero(~np.isnan(past.asked.truth))[:_TRIED]
    if (valued := _valued(model, past, tried)) is not None:
        valued(np.full(len(tried), np.nan))  # what cannot be told is said before the work
    others = sum(one.model != model.name for one in stations.deploy.state())
    runs = [
        PolicyRun(name, policy, model.definition, past, model.drift, others)
        for name, policy in wanted.items()
    ]
    with TemporaryDirectory(prefix="modelworks-simulate-") as folder:
        loop = _Loop(stations, model, past, Path(folder))
        loop.start(runs, begin)
        turns = range(begin + step, end + step, step)
        _side_by_side(loop, runs, turns, end, partial(progress, f"simulate {model.name}"))
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
        self.numbers = count()
        self.fitted: dict[_Fit, Candidate] = {}
        self.busy = Lock()  # who trains has all workers
        contract = stations.project.dataset(model.definition.dataset).contract
        self.unseen = frozenset(name for name, one in contract.items() if one.sensitive)
        self.signature: Signature

    def start(self, runs: Sequence[PolicyRun], now: int) -> None:
        """The first models, the same for all."""
        for candidate in self._candidates(self.past.known(now), None, {}):
            event, seconds, made = self._judged(candidate, now, "start")
            for run in runs:
                run.take(candidate.segment, now, event, seconds, made)
        if not runs[0].champions:
            raise Invalid(
                f"no version of {self.model.name} passes its gates at the beginning",
                f"it was trained on what had come by {from_microseconds(now):%Y-%m-%d}",
                "begin later, with --since",
            )

    def turn(self, run: PolicyRun, now: int) -> None:
        """Watch, decide, train, judge."""
        why = {one.segment: one.trigger for one in run.decide(now) if one.action == "train"}
        if not why:
            return
        champions = {segment: run.champions[segment].package for segment in why if segment in run.champions}
        for candidate in self._fitted(list(why), champions, now):
            event, seconds, made = self._judged(candidate, now, why[candidate.segment])
            run.take(candidate.segment, now, event, seconds, made)

    def _fitted(
        self, segments: Sequence[Segment], champions: Mapping[Segment, Package], now: int
    ) -> Sequence[Candidate]:
        """Train segments, but for those that were for another policy on the same rows against the same champion."""
        # Where a window begins depends on what is trained together.
        together = tuple(segments) if self.model.definition.window is not None else ()
        keys: dict[Segment, _Fit] = {
            one: (one, now, champions[one].native if one in champions else "", together) for one in segments
        }
        with self.busy:
            left = [segment for segment, key in keys.items() if key not in self.fitted]
            if left:
                theirs = {segment: champions[segment] for segment in left if segment in champions}
                for candidate in self._candidates(self.past.known(now, left), left, theirs):
                    self.fitted[keys[candidate.segment]] = candidate
        return [self.fitted[key] for key in keys.values()]

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

    def _judged(
        self, candidate: Candidate, now: int, trigger: str
    ) -> tuple[simulation.Event, float, Version | None]:
        """What becomes of a candidate, what it has cost, and the new champion where it is one."""
        segment, package = candidate.segment, candidate.package
        passed = False
        made: Version | None = None
        if package is not None:
            seen = seen_by_gates(self.stations, self.model, candidate, from_microseconds(now))
            passed, _ = judge_all(self.model.gates, seen)
        if passed and package is not None:
            if package.signature.task not in ("binary", "regression"):
                raise Invalid(
                    f"{self.model.name} cannot be simulated",
                    f"its task is {package.signature.task}; it is known how for models that answer one number",
                    "",
                )
            self.signature = package.signature
            known = known_of(package, candidate.metrics, self.unseen, self.artifacts)
            made = Version(
                next(self.numbers), segment, package, known, packaging.load(package, self.artifacts)
            )
        action: Action = "promote" if passed else "refuse" if package is not None else "fail"
        event = simulation.Event(from_microseconds(now), segment, trigger, action)
        return event, sum(candidate.seconds.values()), made


def _side_by_side(
    loop: _Loop, runs: Sequence[PolicyRun], turns: range, end: int, progress: Callable[[int, int], None]
) -> None:
    """Let every policy go through the turns in a thread of its own: one decides while models of another are fitted."""
    told: SimpleQueue[BaseException | None] = SimpleQueue()
    stop = Event()

    def go(run: PolicyRun) -> None:
        try:
            for now in turns:
                if stop.is_set():
                    return
                run.answer(now - turns.step, min(now, end))
                if now < end:
                    loop.turn(run, now)
                told.put(None)
        except BaseException as error:
            told.put(error)

    total = len(turns) * len(runs)
    with ThreadPoolExecutor(len(runs), "policy") as pool:
        for run in runs:
            pool.submit(go, run)
        try:
            for done in range(1, total + 1):
                if (error := told.get()) is not None:
                    raise error
                progress(done, total)
        finally:
            stop.set()


def _courses(
    model: Model, past: Past, runs: Sequence[PolicyRun], begin: int, end: int, signature: Signature
) -> tuple[Course, ...]:
    """What came of each."""
    low, high = np.searchsorted(past.asked.events, [begin, end])
    part = slice(low, high)
    events, truth = past.asked.events[part], past.asked.truth[part]
    answered = np.all([np.isfinite(run.answers[part]) for run in runs], axis=0) & ~np.isnan(truth)
    if not answered.any():
        raise NotReady(
            f"of no answer of {model.name} the truth is known",
            f"from {from_microseconds(begin):%Y-%m-%d} to {from_microseconds(end):%Y-%m-%d}",
            "choose another time, or tell outcomes",
        )
    month = pl.Series(events).cast(pl.Datetime("us", "UTC")).dt.strftime("%Y-%m")
    names = [*month.unique().sort(), "all"]
    told, valued = truth[answered], _valued(model, past, low + np.flatnonzero(answered))
    lost = {run.name: _losses(run.answers[part][answered], told, signature) for run in runs}
    worth = {run.name: valued(run.answers[part][answered]) for run in runs} if valued else {}
    day = events[answered] // DAY
    first = runs[0].name
    courses = []
    for run in runs:
        spans = []
        for name in names:
            here = answered & (np.ones(len(events), bool) if name == "all" else (month == name).to_numpy())
            some = here[answered]
            compared = run.name != first and some.any()
            in_span = _within(name)
            scores = run.answers[part][here]
            spans.append(
                Span(
                    name,
                    int(here.sum()),
                    _measured(model, truth[here], scores, signature),
                    float(worth[run.name][some].sum()) if worth else None,
                    sum(in_span(one.at) for one in run.events if one.trigger != "start"),
                    sum(
                        in_span(one.at)
                        for one in run.events
                        if one.trigger != "start" and one.action == "promote"
                    ),
                    sum(took for at, took in run.costs if in_span(from_microseconds(at)) and at > begin),
                    simulation.apart(lost[run.name][some], lost[first][some], day[some])
                    if compared
                    else None,
                    simulation.apart(worth[run.name][some], worth[first][some], day[some])
                    if compared and worth
                    else None,
                )
            )
        triggers = tuple(map(repr, run.policy.triggers))
        courses.append(Course(run.name, triggers, tuple(spans), tuple(run.events)))
    best = simulation.efficient((one.whole.trained, float(lost[one.policy].mean())) for one in courses)
    return tuple(replace(one, efficient=flag) for one, flag in zip(courses, best, strict=True))


def _valued(model: Model, past: Past, places: Ints) -> Callable[[Doubles], Doubles] | None:
    """Gives what answers to some of the rows that were asked are worth; ``None`` where nobody says."""
    asked, payoff = past.asked, model.payoff
    if isinstance(model.value, Worth):
        rows = asked.frame[SENT][places]
        return model.value.of(as_logged(rows, asked.truth[places], asked.events[places]))
    return None if payoff is None else lambda answers: payoff.each(None, asked.truth[places], answers)


def _within(name: str) -> Callable[[datetime], bool]:
    return lambda at: name == "all" or f"{at:%Y-%m}" == name


def _measured(
    model: Model, truth: npt.NDArray[np.generic], scores: Doubles, signature: Signature
) -> dict[str, float | None]:
    answers = scores[:, None] if signature.task == "regression" else np.column_stack([1 - scores, scores])
    names = model.definition.metrics or (("rmse",) if signature.task == "regression" else ("log_loss",))
    return {name: finite(METRICS[name](truth, answers, signature.classes)) for name in names}


def _losses(scores: Doubles, truth: npt.NDArray[np.generic], signature: Signature) -> Doubles:
    if signature.task == "regression":
        return np.square(truth.astype(np.float64) - scores)
    return log_losses(np.where(truth == signature.classes[1], scores, 1 - scores))
