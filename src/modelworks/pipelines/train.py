"""Train a model's segments in one campaign, and bring out what passes its gates.

A campaign is what one decision to train made: its key is the digest of what would be trained on what. A
campaign that was killed is found again by its key, and only the segments that it had not finished are run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from time import monotonic

import polars as pl
from sqlalchemy import Connection, insert, select, update

from modelworks.core.clock import new_id
from modelworks.core.errors import Invalid
from modelworks.core.plain import to_json
from modelworks.core.ref import Ref, Segment, parse_segment, segment_text
from modelworks.data.contract import TYPES
from modelworks.models.definition import Definition
from modelworks.pipelines import release
from modelworks.pipelines.context import Progress, Stations, silent
from modelworks.pipelines.project import Model
from modelworks.stores.ledger.tables import campaigns, runs
from modelworks.train import trainer
from modelworks.train.candidate import Candidate

_BATCH = 64
"""Candidates that are written in one transaction: the most that a kill makes us train again."""
_BATCH_SECONDS = 1.0
"""Seconds after which fewer are written."""


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
        refused: Versions that a gate turned down.
        waiting: Versions that wait for a person's approval.
        skipped: Segments that an earlier, interrupted run of the same campaign had finished.
        compiled: Of `trained`, those served compiled.
        seconds: Wall time.
        stages: Seconds by stage, summed over the workers.
        refusals: Why versions were refused: reason to number.
    """

    model: str
    campaign: str
    dataset: str
    trained: int = 0
    failed: int = 0
    promoted: int = 0
    refused: int = 0
    waiting: int = 0
    skipped: int = 0
    compiled: int = 0
    seconds: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    refusals: dict[str, int] = field(default_factory=dict)


def declare(stations: Stations) -> None:
    """Write the project's definitions into the ledger, where the using line reads them."""
    stations.data.declare(list(stations.project.datasets.values()))
    with stations.stores.ledger.write() as db:
        for model in stations.project.models.values():
            definition = model.definition
            stations.registry.declare(
                db,
                name=definition.name,
                dataset=definition.dataset,
                target=definition.target,
                features=definition.features,
                per=definition.per,
                definition=described(model),
                code=definition.code,
            )


def described(model: Model) -> dict[str, object]:
    """A definition as data, for the ledger and for people."""
    definition = model.definition
    return {
        "min_rows": definition.min_rows,
        "metrics": list(definition.metrics),
        "holdout": definition.holdout,
        "window": definition.window,
        "params": dict(definition.params),
        "gate": [repr(gate) for gate in model.gates],
        "rollout": repr(model.strategy),
        "retrain": [repr(trigger) for trigger in model.policy.triggers],
        "approval": model.approval,
        "value": None if model.value is None else repr(model.value),
    }


def train(
    stations: Stations,
    model: Model,
    *,
    segments: Sequence[str] | None = None,
    force: bool = False,
    reason: str = "by hand",
    campaign: str | None = None,
    progress: Progress = silent,
) -> TrainReport:
    """Train, judge and bring out.

    Args:
        stations: The belt.
        model: What to train.
        segments: Their texts; ``None`` for every segment with enough rows and all parents.
        force: Train again even what was trained on the same data with the same code.
        reason: Why, for the ledger.
        campaign: Id to use for a new campaign.
        progress: Told of each segment that is done.

    Raises:
        NotReady: the dataset has no version yet.
    """
    started = monotonic()
    definition = model.definition
    version = stations.data.latest(definition.dataset)
    dataset = str(Ref(definition.dataset, at=version))
    with stations.stores.ledger.write() as db:
        identifier, status = _open(db, stations, definition, version, segments, force, reason, campaign)
        finished = _finished(db, identifier)
    report = TrainReport(definition.name, identifier, dataset, skipped=len(finished))
    if status == "finished":
        return report
    wanted = None if segments is None else [_checked(definition, text) for text in segments]
    champions = {
        segment: entry.package
        for segment, entry in stations.registry.champions(definition.name, wanted).items()
        if not entry.package.kept
    }
    candidates = trainer.train(
        definition,
        frame(stations, definition, wanted),
        time=time_of(stations, definition),
        artifacts_root=stations.artifacts_root,
        workers=stations.workers,
        segments=wanted,
        champions=champions,
        skip=finished,
        idle=lambda: keep(),
    )
    tally, batch, since = _Tally(), list[Candidate](), monotonic()

    def keep() -> None:
        """Write down what is done."""
        nonlocal since
        if batch:
            with stations.stores.ledger.write() as db:
                results = release.record(db, stations, model, identifier, version, batch)
            tally.add(batch, results)
        batch.clear()
        since = monotonic()

    for done, candidate in enumerate(candidates, 1):
        batch.append(candidate)
        progress(f"train {definition.name}", done, candidate.total)
        if len(batch) >= _BATCH or monotonic() - since > _BATCH_SECONDS:
            keep()
    keep()
    with stations.stores.ledger.write() as db:
        db.execute(
            update(campaigns)
            .where(campaigns.c.id == identifier)
            .values(status="finished", finished=stations.clock(), segments=len(finished) + tally.seen)
        )
    return tally.report(report, monotonic() - started)


def _open(
    db: Connection,
    stations: Stations,
    definition: Definition,
    version: int,
    segments: Sequence[str] | None,
    force: bool,
    reason: str,
    campaign: str | None,
) -> tuple[str, str]:
    """The campaign with this key, or a new one; with its status."""
    what = [
        definition.name,
        definition.code,
        definition.dataset,
        version,
        None if segments is None else sorted(segments),
    ]
    key = sha256(to_json([*what, new_id()] if force else what)).hexdigest()
    found = db.execute(select(campaigns.c.id, campaigns.c.status).where(campaigns.c.key == key)).one_or_none()
    if found is not None:
        return found.id, found.status
    identifier = campaign or new_id()
    db.execute(
        insert(campaigns).values(
            id=identifier,
            model=definition.name,
            key=key,
            reason=reason,
            dataset=definition.dataset,
            dataset_version=version,
            segments=0,
            status="running",
            created=stations.clock(),
        )
    )
    return identifier, "running"


def _finished(db: Connection, campaign: str) -> set[Segment]:
    rows = db.scalars(select(runs.c.segment).where(runs.c.campaign == campaign))
    return {parse_segment(text) for text in rows}


def frame(
    stations: Stations, definition: Definition, wanted: Sequence[Segment] | None = None
) -> pl.DataFrame:
    """The columns that a definition looks at, of every row of its dataset, or of those of some segments.

    Training two routes must not cost a look at all of them.
    """
    columns = [*definition.per, *definition.features, definition.target, time_of(stations, definition)]
    if wanted is None or () in wanted:
        return stations.data.frame(definition.dataset, columns)
    contract = stations.project.dataset(definition.dataset).contract
    near = []
    for level in sorted({len(segment) for segment in wanted}):
        here = [segment for segment in wanted if len(segment) == level]
        each = []
        # By each column alone: files, and groups of rows in them, are passed over by its bounds.
        for place, name in enumerate(definition.per[:level]):
            texts = pl.Series(sorted({segment[place] for segment in here}))
            values = texts.cast(TYPES[contract[name].kind], strict=False).implode()
            missing = pl.col(name).is_null() if "" in texts else pl.lit(value=False)
            each.append(pl.col(name).is_in(values) | missing)
        near.append(pl.all_horizontal(each))
    rows = stations.data.frame(definition.dataset, columns, pl.any_horizontal(near))
    return _of_segments(rows, definition.per, wanted)


def _of_segments(rows: pl.DataFrame, per: Sequence[str], wanted: Sequence[Segment]) -> pl.DataFrame:
    """Only the rows that some of the segments learn from."""
    kept = pl.lit(value=False)
    for level in sorted({len(segment) for segment in wanted}):
        columns = list(per[:level])
        at = pl.DataFrame([s for s in wanted if len(s) == level], schema=columns, orient="row")
        at = at.with_columns(kept=pl.lit(value=True))
        marked = rows.select(columns).join(at, on=columns, how="left", maintain_order="left")
        kept = kept | marked["kept"].fill_null(value=False)
    return rows.filter(kept)


def time_of(stations: Stations, definition: Definition) -> str:
    """The column of the event time."""
    time = stations.project.dataset(definition.dataset).time
    assert time is not None  # mw.model refuses a dataset without one
    return time


def _checked(definition: Definition, text: str) -> Segment:
    segment = parse_segment(text)
    if len(segment) > len(definition.per):
        raise Invalid(
            f"{text!r} is not a segment of model {definition.name!r}",
            f"it has {len(segment)} values, the model is split by {', '.join(definition.per) or 'nothing'}",
            "give up to as many values as there are columns, for instance 'UA,EWR'",
        )
    return segment


class _Tally:
    """Counts for the report while candidates come in."""

    def __init__(self) -> None:
        self.seen = 0
        self.actions: Counter[str] = Counter()
        self.compiled = 0
        self.stages: Counter[str] = Counter()
        self.failures: dict[str, str] = {}
        self.refusals: Counter[str] = Counter()

    def add(self, candidates: Collection[Candidate], results: Collection[release.Result]) -> None:
        self.seen += len(candidates)
        for candidate in candidates:
            self.stages.update(candidate.seconds)
            self.compiled += candidate.package is not None and candidate.package.compiled is not None
            if candidate.status == "failed":
                self.failures[segment_text(candidate.segment)] = candidate.error or ""
        for result in results:
            self.actions[result.action] += 1
            if result.action == "refuse":
                self.refusals[result.gate] += 1

    def report(self, base: TrainReport, seconds: float) -> TrainReport:
        return TrainReport(
            base.model,
            base.campaign,
            base.dataset,
            trained=self.seen - len(self.failures),
            failed=len(self.failures),
            promoted=self.actions["promote"],
            refused=self.actions["refuse"],
            waiting=self.actions["wait"],
            skipped=base.skipped,
            compiled=self.compiled,
            seconds=seconds,
            stages={stage: round(value, 4) for stage, value in self.stages.items()},
            failures=self.failures,
            refusals=dict(self.refusals),
        )


def close() -> None:
    """Stop the workers that wait for the next training."""
    trainer.close()
