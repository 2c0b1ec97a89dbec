"""Train a model's segments in one campaign, and bring out what passes its gates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import polars as pl
from sqlalchemy import Connection, select

from modelworks.core.errors import Invalid
from modelworks.core.ref import Ref, Segment, parse_segment, segment_text
from modelworks.data.contract import TYPES
from modelworks.models.definition import Definition
from modelworks.pipelines import campaign as campaigns
from modelworks.pipelines import release
from modelworks.pipelines.basis import basis_of, made_with, record_basis
from modelworks.pipelines.context import Progress, Stations, silent
from modelworks.pipelines.project import Model
from modelworks.registry.gates import needed
from modelworks.registry.model_version import ModelVersion
from modelworks.stores.ledger.tables import tuned
from modelworks.train import trainer
from modelworks.train.candidate import Candidate
from modelworks.train.previous import Previous
from modelworks.train.tuning import Tuned

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
        begun: Versions that are being rolled out.
        refused: Versions that a gate turned down.
        waiting: Versions that wait for a person's approval.
        skipped: Segments that an earlier, interrupted run of the same campaign had finished.
        retried: Segments that were begun more than once.
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
        **({} if model.tune is None else {"tune": repr(model.tune)}),
        **({} if definition.learn == "scratch" else {"learn": definition.learn}),
        "gate": [repr(gate) for gate in model.gates],
        "rollout": repr(model.strategy),
        **({} if model.control is None else {"control": model.control.to_json()}),
        "inputs": model.inputs.to_json(),
        "log": model.log.to_json(),
        "drift": model.drift.to_json(),
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
    scratch: bool = False,
    reason: str = "by hand",
    campaign: str | None = None,
    progress: Progress = silent,
) -> TrainReport:
    """Train, judge and bring out.

    Args:
        stations: The belt.
        model: What to train.
        segments: Their texts; ``None`` for every segment with enough rows and all parents.
        scratch: Begin anew, also where the model goes on from its champion.
        force: Train again even what was trained on the same data with the same code.
        reason: Why, for the ledger.
        campaign: Id to use for a new campaign.
        progress: Told of each segment that is done.

    Raises:
        NotReady: the dataset has no version yet.
    """
    started = monotonic()
    definition = model.definition
    inputs = stations.data.inputs(definition.dataset, definition.features)
    version = inputs[definition.dataset]
    dataset = str(Ref(definition.dataset, at=version))
    wanted = None if segments is None else [checked(definition, text) for text in segments]
    with stations.stores.ledger.write() as db:
        found = standing(db, model)
        identifier, over = campaigns.begin(
            db,
            stations,
            definition,
            version,
            segments=segments,
            params={segment_text(segment): one.params for segment, one in found.items()},
            force=force or scratch,
            reason=reason,
            campaign=campaign,
        )
    with nullcontext() if over else campaigns.alone(stations, identifier):
        with stations.stores.ledger.write() as db:
            finished = campaigns.finished(db, identifier)
            campaigns.claim(db, identifier, [definition.code])
        report = TrainReport(definition.name, identifier, dataset, skipped=len(finished))
        if over:
            return report
        tally = _work(stations, model, identifier, inputs, wanted, finished, found, scratch, progress)
        return tally.report(report, monotonic() - started)


def _work(
    stations: Stations,
    model: Model,
    campaign: str,
    inputs: Mapping[str, int],
    wanted: Sequence[Segment] | None,
    finished: Collection[Segment],
    found: Mapping[Segment, Tuned],
    scratch: bool,
    progress: Progress,
) -> _Tally:
    """Train what is not finished, and write down what comes of it, bit by bit."""
    definition = model.definition
    version = inputs[definition.dataset]
    live = stations.registry.champions(definition.name, wanted)
    champions = {segment: entry.package for segment, entry in live.items() if not entry.package.kept}
    needs, rests_on = needed(model.gates), list[str]()
    time = time_of(stations, definition)

    def rest(told: trainer.Begun) -> None:
        """Write down what the training rests on, before its first fit."""
        basis = basis_of(stations, definition, time, told, inputs)
        rests_on.append(record_basis(stations, definition, basis, campaign))
        with stations.stores.ledger.write() as db:  # until the first run mentions it
            campaigns.claim(db, campaign, rests_on)

    columns = [column for need in needs for column in need.columns]
    candidates = stations.train.train(
        definition,
        frame(stations, definition, wanted, inputs, columns),
        time=time,
        segments=wanted,
        champions=champions,
        needs=needs,
        tuned=found,
        previous={} if scratch else _previous(definition, live.values()),
        skip=finished,
        idle=lambda: keep(),
        made_with=made_with(stations),
        begun=rest,
    )
    tally, batch, begun = _Tally(), list[Candidate](), monotonic()
    since, left = begun, None

    def keep(**more: Any) -> None:
        """Write down what is done."""
        nonlocal since
        if batch or more:
            with stations.stores.ledger.write() as db:
                results = (
                    release.record(db, stations, model, campaign, version, batch, rests_on[0])
                    if batch
                    else []
                )
                tally.add(batch, results)
                total = len(finished) + tally.total
                done = len(finished) + tally.seen
                campaigns.keep(db, campaign, segments=done, total=total, left=left, **more)
        batch.clear()
        since = monotonic()

    with closing(candidates):  # type: ignore[type-var]
        try:
            for done, candidate in enumerate(candidates, 1):
                batch.append(candidate)
                tally.total = candidate.total
                now = monotonic()
                left = (now - begun) * (1 / candidate.share - 1)
                progress(f"train {definition.name}", done, candidate.total, left)
                if len(batch) >= _BATCH or now - since > _BATCH_SECONDS:
                    keep()
        except KeyboardInterrupt:  # what is done is done
            keep()
            raise
    keep(status="finished", finished=stations.clock())
    return tally


def standing(db: Connection, model: Model) -> dict[Segment, Tuned]:
    """The parameters that searches have found for a model, while it is tuned and they are among those searched."""
    if model.tune is None:
        return {}
    rows = db.execute(select(tuned).where(tuned.c.model == model.name))
    return {
        parse_segment(row.segment): Tuned(row.params, row.run)
        for row in rows
        if set(row.params) <= set(model.tune.space)
    }


def _previous(definition: Definition, live: Iterable[ModelVersion]) -> dict[Segment, Previous]:
    """What segments go on from: their champions, where the same definition has made them from rows of the dataset."""
    if definition.learn in ("scratch", "online"):
        return {}
    return {
        one.segment: Previous.of(one)
        for one in live
        if one.dataset == definition.dataset
        and one.dataset_version is not None
        and one.package.code == definition.code
        and "time <" in one.rows_filter
    }


def frame(
    stations: Stations,
    definition: Definition,
    wanted: Sequence[Segment] | None = None,
    at: Mapping[str, int] | None = None,
    more: Sequence[str] = (),
) -> pl.DataFrame:
    """The columns that a definition looks at, and more, of every row of its dataset, or of some segments.

    Training two routes must not cost a look at all of them.

    Args:
        stations: The belt.
        definition: Whose columns.
        wanted: Segments; ``None`` for all rows.
        at: Versions of the datasets; see `Frames.frame`.
        more: Further columns.
    """
    columns = [*definition.per, *definition.features, definition.target, time_of(stations, definition), *more]
    if wanted is None or () in wanted:
        return stations.data.frame(definition.dataset, columns, at=at)
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
    rows = stations.data.frame(definition.dataset, columns, pl.any_horizontal(near), at)
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


def checked(definition: Definition, text: str) -> Segment:
    """The segment of a text.

    Raises:
        Invalid: the model has none of so many values.
    """
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
        self.total = 0
        self.retried = 0
        self.actions: Counter[str] = Counter()
        self.compiled = 0
        self.stages: Counter[str] = Counter()
        self.failures: dict[str, str] = {}
        self.refusals: Counter[str] = Counter()

    def add(self, candidates: Collection[Candidate], results: Collection[release.Result]) -> None:
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

    def report(self, base: TrainReport, seconds: float) -> TrainReport:
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
        )


def close() -> None:
    """Stop the workers that wait for the next training."""
    trainer.close()
