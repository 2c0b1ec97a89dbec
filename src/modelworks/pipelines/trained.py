"""What a campaign did, counted while its candidates come in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from modelworks.core.ref import Ref, parse_segment, segment_text
from modelworks.pipelines.release import Result
from modelworks.train.candidate import Candidate


@dataclass(frozen=True)
class TrainReport:
    """What a campaign did.

    Attributes:
        model: Name of the model.
        campaign: Its id.
        dataset: The dataset version it learned from.
        trained: Segments that got a new version.
        failed: Segments that could not be trained, with the reason.
        promoted: New champions.
        begun: Versions that are being rolled out.
        refused: Versions that a gate turned down.
        waiting: Versions that wait for a person's approval.
        skipped: Segments that an earlier, interrupted run of the same campaign had finished.
        retried: Segments that were begun more than once.
        compiled: Of `trained`, those served compiled.
        seconds: Wall time.
        stages: Seconds by stage, summed over the workers.
        refusals: Why versions were refused: reason to number.
        waits: The versions that wait for a person's approval, as references.
    """

    model: str
    campaign: str
    dataset: str
    trained: int = 0
    failed: int = 0
    promoted: int = 0
    begun: int = 0
    refused: int = 0
    waiting: int = 0
    skipped: int = 0
    retried: int = 0
    compiled: int = 0
    seconds: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    refusals: dict[str, int] = field(default_factory=dict)
    waits: list[str] = field(default_factory=list)


class Tally:
    """Counts for the report while candidates come in."""

    def __init__(self) -> None:
        self.seen = 0
        self.total = 0
        self.retried = 0
        self.actions: Counter[str] = Counter()
        self.compiled = 0
        self.stages: Counter[str] = Counter()
        self.failures: dict[str, str] = {}
        self.refusals: Counter[str] = Counter()
        self.waits: list[tuple[str, int | None]] = []

    @property
    def spent(self) -> float:
        """Seconds of the workers so far."""
        return sum(self.stages.values())

    def add(self, candidates: Collection[Candidate], results: Collection[Result]) -> None:
        """Count what some candidates became."""
        self.seen += len(candidates)
        for candidate in candidates:
            self.stages.update(candidate.seconds)
            self.retried += candidate.tries > 1
            self.compiled += candidate.package is not None and candidate.package.compiled is not None
            if candidate.status == "failed":
                self.failures[segment_text(candidate.segment)] = candidate.error or ""
        for result in results:
            self.actions[result.action] += 1
            if result.action == "refuse":
                self.refusals[result.gate] += 1
            if result.action == "wait":
                self.waits.append((result.segment, result.version))

    def report(self, base: TrainReport, seconds: float) -> TrainReport:
        """What was counted, beside what `base` says."""
        return TrainReport(
            base.model,
            base.campaign,
            base.dataset,
            trained=self.seen - len(self.failures),
            failed=len(self.failures),
            promoted=self.actions["promote"],
            begun=self.actions["begin"],
            refused=self.actions["refuse"],
            waiting=self.actions["wait"],
            skipped=base.skipped,
            retried=self.retried,
            compiled=self.compiled,
            seconds=seconds,
            stages={stage: round(value, 4) for stage, value in self.stages.items()},
            failures=self.failures,
            refusals=dict(self.refusals),
            waits=[str(Ref(base.model, parse_segment(text), at)) for text, at in sorted(self.waits)],
        )
