"""A search: rounds of trials, of many segments side by side.

Trials are suggested in rounds of a fixed size, each from what all rounds before it have brought. So a search comes
out the same whatever the number of workers, and one that was killed goes on where it stood: a round that was cut
off is suggested again as it was, and what of it is known is not tried again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any
from zlib import crc32

from modelworks.core.clock import system_clock
from modelworks.core.ref import Segment, segment_text
from modelworks.jobs.executors import Executor
from modelworks.train.attempt import Attempt, Attempted, attempt, loss
from modelworks.train.plan import Plan
from modelworks.train.searchers import SEARCHERS
from modelworks.train.searchers.port import Params, Trial
from modelworks.train.segments import Slice
from modelworks.train.tune import Tune

ROUND = 4
"""Trials of a segment that run side by side."""
INHERITED = 3
"""Of the best trials of a parent, how many its children begin with."""
_ESTABLISHED = 4
"""Trials that must be over before one is given up for being worse than their half."""


@dataclass(frozen=True)
class Tuned:
    """Parameters that a search has found.

    Attributes:
        params: The best.
        run: Id of the search's run.
    """

    params: Mapping[str, Any]
    run: str


@dataclass
class Search:
    """One segment's.

    Attributes:
        part: Its rows.
        first: What to try before anything is suggested: what stands in the definition, the best of the parent.
        done: What is over, by number.
    """

    part: Slice
    first: Sequence[Params] = ()
    done: dict[int, tuple[Params, Attempted]] = field(default_factory=dict)

    def trials(self, metric: str) -> list[Trial]:
        """Those that are over, by number."""
        return [
            Trial(number, params, attempted.loss(metric), attempted.pruned)
            for number, (params, attempted) in sorted(self.done.items())
        ]

    def best(self, metric: str, count: int = 1) -> list[Trial]:
        """The best ones that were carried through, the earliest of equal ones first."""
        good = [one for one in self.trials(metric) if one.loss is not None and not one.pruned]
        return sorted(good, key=lambda one: (one.loss or 0.0, one.number))[:count]


def nearest(tuned: Mapping[Segment, Tuned], segment: Segment) -> Tuned | None:
    """What was found for a segment, or for its nearest parent."""
    found = (tuned.get(segment[:level]) for level in range(len(segment), -1, -1))
    return next((one for one in found if one is not None), None)


def search(
    plan: Plan,
    how: Tune,
    metric: str,
    searches: Sequence[Search],
    *,
    executor: Executor,
    workers: int,
    over: Callable[[], bool],
) -> Iterator[tuple[Search, int, Params, Attempted]]:
    """Make the trials of some segments that are still to be made; yields each as it is over.

    Args:
        plan: What all have in common.
        how: What to search, and how far.
        metric: What to improve.
        searches: One a segment; what is over is entered there.
        executor: Where trials run.
        workers: How many at a time.
        over: Whether the time is up; asked before each round.
    """
    while True:
        wanted = [(one, number, params) for one in searches for number, params in _round(one, how, metric)]
        if not wanted or over():
            return
        attempts = [
            Attempt(one.part, number, params, metric, how.folds, _bars(one, number, how, metric))
            for one, number, params in wanted
        ]
        by_attempt = {id(made): what for made, what in zip(attempts, wanted, strict=True)}
        weights = [float(made.part.length) for made in attempts]
        for done in executor.run(
            attempt,
            attempts,
            workers=workers or executor.cores(),
            initial=plan,
            weights=weights,
            files=[plan.stored.path],
        ):
            one, number, params = by_attempt[id(done.item)]
            now = system_clock()
            attempted = done.value or Attempted((), False, done.error, now, now)
            one.done[number] = (params, attempted)
            yield one, number, params, attempted


def _round(one: Search, how: Tune, metric: str) -> list[tuple[int, Params]]:
    """What is still to be tried in the round that is on, or in the next one; nothing where there is nothing left."""
    missing = next((number for number in range(how.trials) if number not in one.done), None)
    if missing is None:
        return []
    begin = missing // ROUND * ROUND
    numbers = list(range(begin, begin + ROUND))
    given = list(one.first[begin : begin + ROUND])
    free = numbers[len(given) :]
    if free:
        past = [trial for trial in one.trials(metric) if trial.number < begin]
        standing = [Trial(number, params, None) for number, params in zip(numbers, given, strict=False)]
        seed = _seed(how, one.part.segment)
        given += SEARCHERS[how.searcher](how.domains, [*past, *standing], free, seed)
    return [
        (number, params)
        for number, params in zip(numbers, given, strict=False)
        if number < how.trials and number not in one.done
    ]


def _seed(how: Tune, segment: Segment) -> int:
    """One of its own for each segment: with one for all, chance would lead all to the same places."""
    return crc32(f"{how.seed} {segment_text(segment)}".encode())


def _bars(one: Search, number: int, how: Tune, metric: str) -> Sequence[float]:
    """For each fold the median, over earlier rounds, of what trials had come to by then.

    Source: the median stopping rule of Golovin et al., "Google Vizier", KDD (2017).
    """
    if not how.prune:
        return ()
    begin = number // ROUND * ROUND
    values = [done.values for at, (_, done) in one.done.items() if at < begin and not done.error]
    bars = []
    for fold in range(how.folds - 1):
        so_far = [loss(each[: fold + 1], metric) for each in values if len(each) > fold]
        if len(so_far) < _ESTABLISHED:
            break
        bars.append(median(so_far))
    return bars
