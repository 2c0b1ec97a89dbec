"""Train a model's segments in one campaign, and bring out what passes its gates."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from time import monotonic
from typing import Any

import polars as pl
from sqlalchemy import Connection, Row, select

from modelworks.core.errors import Conflict, Invalid
from modelworks.core.ref import Ref, Segment, parse_segment
from modelworks.data.contract import TYPES
from modelworks.learn.budget import Budget
from modelworks.models.definition import Definition
from modelworks.pipelines import campaign as campaigns
from modelworks.pipelines import release
from modelworks.pipelines.basis import basis_of, made_with, record_basis
from modelworks.pipelines.context import Progress, Stations, silent
from modelworks.pipelines.project import Model
from modelworks.pipelines.trained import Tally, TrainReport
from modelworks.registry.model_version import ModelVersion
from modelworks.stores.ledger.lease import Lease
from modelworks.stores.ledger.tables import campaigns as table
from modelworks.stores.ledger.tables import tuned
from modelworks.train import trainer
from modelworks.train.candidate import Candidate
from modelworks.train.previous import Previous
from modelworks.train.tuning import Tuned

_BATCH = 64
"""Candidates that are written in one transaction: the most that a kill makes us train again."""
_BATCH_SECONDS = 1.0
"""Seconds after which fewer are written."""


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
        **({"budget": repr(model.policy.budget)} if model.policy.budget != Budget() else {}),
        **({"siblings": True} if model.policy.siblings else {}),
        "approval": model.approval if isinstance(model.approval, str) else repr(model.approval),
        "value": repr(model.payoff) if model.payoff else getattr(model.value, "rule", None),
    }


def train(
    stations: Stations,
    model: Model,
    *,
    segments: Sequence[str] | None = None,
    force: bool = False,
    scratch: bool = False,
    reason: str = "by hand",
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
        progress: Told of each segment that is done.

    Raises:
        NotReady: the dataset has no version yet.
    """
    plan = plan_of(stations, model, segments, scratch)
    with stations.stores.ledger.write() as db:
        campaign, _ = campaigns.begin(db, stations, model.definition, plan, force=force, reason=reason)
    report = go_on(stations, model, campaign, wait=True, progress=progress)
    assert report is not None  # it has waited
    return report


def plan_of(
    stations: Stations, model: Model, segments: Sequence[str] | None = None, scratch: bool = False
) -> campaigns.Plan:
    """What a training that is decided now consists of, resolved: it is the same whenever it is done.

    Raises:
        NotReady: the dataset has no version yet.
        Invalid: the model has no such segment.
    """
    definition = model.definition
    for text in segments or ():
        checked(definition, text)
    inputs = stations.data.inputs(definition.dataset, definition.features)
    with stations.stores.ledger.read() as db:
        found = standing(db, model)
    return campaigns.Plan(definition.code, inputs, segments, scratch, found)


def go_on(
    stations: Stations, model: Model, campaign: str, *, wait: bool = False, progress: Progress = silent
) -> TrainReport | None:
    """Train what is left of a campaign, as its plan says; ``None`` where another process is at it.

    Args:
        stations: The belt.
        model: What it trains.
        campaign: Its id.
        wait: Rather wait until the other one is done, dies or hangs.
        progress: Told of each segment that is done.

    Raises:
        Conflict: this process was silent for so long that another has taken it over.
    """
    started, ledger = monotonic(), stations.stores.ledger
    with ledger.leases.take(campaigns.lease(campaign), wait) as lease:
        if lease is None:
            return None
        with ledger.write() as db:
            stands, finished = campaigns.stands(db, campaign), campaigns.finished(db, campaign)
            dataset = str(Ref(stands.dataset, at=stands.dataset_version))
            report = TrainReport(model.name, campaign, dataset, skipped=len(finished))
            if stands.status != "running":
                return report
            lease.confirm(db)
            if stands.attempts >= campaigns.ATTEMPTS:
                return _give_up(db, stations, model, stands, finished).report(report, monotonic() - started)
            campaigns.claim(db, campaign, [model.definition.code])
            campaigns.keep(db, campaign, attempts=stands.attempts + 1)
        try:
            tally = _work(stations, model, stands, finished, lease, progress)
        except BaseException as error:  # whatever it is, the process lives
            ended: dict[str, Any] = {"attempts": table.c.attempts - 1}
            if isinstance(error, KeyboardInterrupt) and stands.by == "person":
                ended["status"] = (
                    "stopped"  # who wants it no longer; what the factory has decided goes on later
                )
            with suppress(Conflict), ledger.write() as db:
                lease.confirm(db)
                campaigns.keep(db, campaign, **ended)
            raise
        return tally.report(report, monotonic() - started)


def _give_up(
    db: Connection, stations: Stations, model: Model, stands: Row[Any], finished: Collection[Segment]
) -> Tally:
    """End a campaign whose every attempt ends the process: what is left of it has failed, and a person is told."""
    why = f"its training has ended the process {stands.attempts} times before anything was written down"
    now, tally = stations.clock(), Tally()
    left = [parse_segment(text) for text in stands.plan.get("segments") or ()]
    failed = [Candidate(one, "failed", now, now, error=why) for one in left if one not in finished]
    results = release.record(db, stations, model, stands.id, stands.dataset_version, failed, None)
    tally.add(failed, results)
    campaigns.keep(db, stands.id, status="closed", closed=why, finished=now)
    message = (
        f"training {model.name} was given up: it has ended the process {stands.attempts} times; "
        f"see the log of the process, and train it by hand once that is mended"
    )
    stations.monitor.tell_training(db, model.name, message, {"campaign": stands.id})
    return tally


def _work(
    stations: Stations,
    model: Model,
    stands: Row[Any],
    finished: Collection[Segment],
    lease: Lease,
    progress: Progress,
) -> Tally:
    """Train what is not finished, and write down what comes of it, bit by bit."""
    definition, plan, campaign = model.definition, campaigns.Plan.from_json(stands.plan), stands.id
    inputs = plan.inputs
    most = (
        1 if stands.attempts else _BATCH
    )  # where a process has died, what is done before it dies again stays
    version = inputs[definition.dataset]
    wanted = None if plan.segments is None else [checked(definition, text) for text in plan.segments]
    live = stations.registry.champions(definition.name, wanted)
    champions = {segment: entry.package for segment, entry in live.items() if not entry.package.kept}
    needs, rests_on = model.needs, list[str]()
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
        tuned=plan.tuned,
        previous={} if plan.scratch else _previous(definition, live.values()),
        skip=finished,
        idle=lambda: keep(),
        made_with=made_with(stations),
        begun=rest,
    )
    tally, batch, begun = Tally(), list[Candidate](), monotonic()
    since, left = begun, None

    def keep(**more: Any) -> None:
        """Write down what is done, if the work is still this process's."""
        nonlocal since
        if batch or more:
            with stations.stores.ledger.write() as db:
                lease.confirm(db)
                results = (
                    release.record(db, stations, model, campaign, version, batch, rests_on[0])
                    if batch
                    else []
                )
                tally.add(batch, results)
                far = {"segments": len(finished) + tally.seen, "total": len(finished) + tally.total}
                spent = stands.seconds + tally.spent
                campaigns.keep(db, campaign, left=left, seconds=spent, **{**far, "attempts": 1, **more})
                if more:
                    stations.monitor.tell_training(db, model.name, None)
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
                if len(batch) >= most or now - since > _BATCH_SECONDS:
                    keep()
        except KeyboardInterrupt:  # what is done is done
            keep()
            raise
    keep(status="finished", finished=stations.clock(), attempts=0)
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
    names = rows.select(pl.col(list(per)).cast(pl.String).fill_null(""))  # as segments have them
    kept = pl.lit(value=False)
    for level in sorted({len(segment) for segment in wanted}):
        columns = list(per[:level])
        here = [segment for segment in wanted if len(segment) == level]
        at = pl.DataFrame(here, schema=dict.fromkeys(columns, pl.String), orient="row")
        at = at.with_columns(kept=pl.lit(value=True))
        marked = names.select(columns).join(at, on=columns, how="left", maintain_order="left")
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


def close() -> None:
    """Stop the workers that wait for the next training."""
    trainer.close()
