"""Search for the parameters of a model's segments: each search is a run, its trials are the run's children.

What is over is in the ledger at once. A search is found again by its key, the digest of what is searched on what;
so one that was killed goes on, and one that is given a larger budget goes on as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

from sqlalchemy import Connection, insert, select, update

from modelworks.core.clock import new_id
from modelworks.core.errors import Invalid
from modelworks.core.plain import plain, to_json
from modelworks.core.ref import Ref, Segment, segment_text
from modelworks.lineage import graph
from modelworks.lineage.edge import Edge
from modelworks.models.metrics import METRICS
from modelworks.pipelines import train as training
from modelworks.pipelines.context import Progress, Stations, silent
from modelworks.pipelines.project import Model
from modelworks.stores.artifacts import LocalArtifacts
from modelworks.stores.ledger.portable import insert_many, upsert
from modelworks.stores.ledger.tables import run_values, runs, searches, tuned
from modelworks.track import values
from modelworks.train import columns, trainer
from modelworks.train.attempt import Attempted
from modelworks.train.segments import chosen, slices
from modelworks.train.segments import select as rows_of
from modelworks.train.tune import Tune
from modelworks.train.tuning import INHERITED, Search, search


@dataclass(frozen=True)
class Searched:
    """What the search for one segment has come to.

    Attributes:
        segment: Its text.
        run: Id of its run.
        trials: Trials that are over, earlier ones among them.
        pruned: Of these, those that were given up for being worse than others.
        failed: Of these, those that raised.
        before: The metric with the definition's own parameters, over the folds; ``None`` where they are not known.
        best: With the best ones.
        params: The best ones.
        error: Why there are none.
    """

    segment: str
    run: str
    trials: int
    pruned: int
    failed: int
    before: float | None
    best: float | None
    params: Mapping[str, Any]
    error: str = ""


@dataclass(frozen=True)
class TuneReport:
    """What `tune` did.

    Attributes:
        model: Name of the model.
        dataset: The dataset version that was searched on.
        metric: What was improved.
        new: Trials that were made now.
        searches: One a segment.
        seconds: Wall time.
    """

    model: str
    dataset: str
    metric: str
    new: int
    searches: Sequence[Searched]
    seconds: float


def tune(
    stations: Stations,
    model: Model,
    *,
    segments: Sequence[str] | None = None,
    trials: int | None = None,
    minutes: float | None = None,
    seed: int | None = None,
    progress: Progress = silent,
) -> TuneReport:
    """Search, and keep what was found for the trainings to come.

    Args:
        stations: The belt.
        model: What to search for.
        segments: Their texts; ``None`` for all that the definition's scope names.
        trials: Of a search, at most, instead of the definition's.
        minutes: At most, instead of the definition's.
        seed: Instead of the definition's.
        progress: Told of each trial that is over.

    Raises:
        Invalid: the definition does not say what to search.
        NotReady: the dataset has no version yet.
    """
    started = monotonic()
    if model.tune is None:
        raise Invalid(
            f"model {model.name!r} does not say what to search", "it has no tune",
            'add one to its definition: tune=mw.Tune({"C": (0.01, 100, "log")})',
        )  # fmt: skip
    given: dict[str, Any] = {"trials": trials, "minutes": minutes, "seed": seed}
    how = replace(model.tune, **{name: value for name, value in given.items() if value is not None})
    definition = model.definition
    metric = how.metric or definition.metrics[0]
    version = stations.data.latest(definition.dataset)
    wanted: list[Segment] | None = [()] if how.scope == "model" else None
    if segments is not None:
        wanted = [training.checked(definition, text) for text in segments]
    with (
        stations.stores.ledger.alone(f"tune {model.name}"),
        TemporaryDirectory(prefix="modelworks-tune-") as folder,
    ):
        rows = rows_of(
            definition,
            training.frame(stations, definition, wanted),
            time=training.time_of(stations, definition),
        )
        artifacts = LocalArtifacts(stations.train.artifacts_root)
        stored = columns.write(rows.frame, Path(folder, "rows.arrow"))
        plan = trainer.plan_of(definition, stored, rows.since, artifacts)
        parts = slices(rows, definition.min_rows) if wanted is None else list(chosen(rows, wanted))
        book = _Book(stations, model, how, metric, version)
        found: dict[Segment, Search] = {}
        new = 0
        for level in sorted({len(part.segment) for part in parts}):
            here = [
                book.open(part.segment, Search(part, book.first(part.segment, found)))
                for part in parts
                if len(part.segment) == level
            ]
            total = len(parts) * how.trials
            for one, number, params, attempted in search(
                plan, how, metric, here, executor=stations.train.pool(), workers=stations.train.workers,
                over=lambda: how.minutes is not None and monotonic() - started > how.minutes * 60,
            ):  # fmt: skip
                book.enter(one.part.segment, number, params, attempted)
                new += 1
                over = sum(len(each.done) for each in [*found.values(), *here])
                progress(f"tune {model.name}", over, total)
            found |= {one.part.segment: one for one in here}
        told = [book.finish(one) for one in found.values()]
    dataset = str(Ref(definition.dataset, at=version))
    return TuneReport(model.name, dataset, metric, new, told, monotonic() - started)


class _Book:
    """What the ledger knows of the searches of one call."""

    def __init__(self, stations: Stations, model: Model, how: Tune, metric: str, version: int) -> None:
        self.stations = stations
        self.model = model
        self.how = how
        self.metric = metric
        self.version = version
        self.runs: dict[Segment, str] = {}
        self._prior = {} if how.scope != "prior" else self._standing()

    def _standing(self) -> dict[Segment, Mapping[str, Any]]:
        with self.stations.stores.ledger.read() as db:
            return {segment: one.params for segment, one in training.standing(db, self.model).items()}

    def first(self, segment: Segment, found: Mapping[Segment, Search]) -> list[Mapping[str, Any]]:
        """What to try first: the definition's own, then the best of the parent."""
        own = {
            name: self.model.definition.params[name]
            for name in self.how.space
            if name in self.model.definition.params
        }
        first: list[Mapping[str, Any]] = [own] if len(own) == len(self.how.space) else []
        if self.how.scope != "prior" or not segment:
            return first
        for parent in (segment[:level] for level in range(len(segment) - 1, -1, -1)):
            if parent in found:
                best = [trial.params for trial in found[parent].best(self.metric, INHERITED)]
            elif parent in self._prior:
                best = [self._prior[parent]]
            else:
                continue
            return first + [params for params in best if params not in first]
        return first

    def open(self, segment: Segment, one: Search) -> Search:
        """The run of a search, a new one or the one that it was begun with; what is over in it is entered."""
        how = {
            name: value
            for name, value in asdict(self.how).items()
            if name not in ("domains", "trials", "minutes")
        }
        definition = self.model.definition
        what = [definition.code, definition.dataset, self.version, segment, how, self.metric, list(one.first)]
        key = sha256(to_json([self.model.name, *what])).hexdigest()
        with self.stations.stores.ledger.write() as db:
            run = db.scalar(select(searches.c.run).where(searches.c.key == key))
            if run is None:
                run = new_id()
                db.execute(insert(searches).values(key=key, run=run))
                self._begin(db, run, segment, how)
            else:
                db.execute(update(runs).where(runs.c.id == run).values(status="running", ended=None))
                one.done = dict(_known(db, run, self.metric, self.how.folds))
        self.runs[segment] = run
        return one

    def _begin(self, db: Connection, run: str, segment: Segment, how: Mapping[str, Any]) -> None:
        self._insert(
            db, run, segment, kind="search", status="running", started=self.stations.clock(),
            tags={"searcher": self.how.searcher, "metric": self.metric, "seed": str(self.how.seed)},
            note=", ".join(f"{name} in {domain}" for name, domain in how["space"].items()),
        )  # fmt: skip
        dataset = Ref(self.model.definition.dataset, at=self.version)
        edges = [
            Edge(f"dataset:{dataset}", "searched", f"run:{run}"),
            Edge(f"code:{self.model.definition.code}", "ran", f"run:{run}"),
        ]
        graph.add(db, edges, self.stations.clock())

    def enter(self, segment: Segment, number: int, params: Mapping[str, Any], made: Attempted) -> None:
        """Write down a trial that is over."""
        with self.stations.stores.ledger.write() as db:
            folds = {f"{self.metric}.fold{at}": value for at, value in enumerate(made.values)}
            status = "failed" if made.error else "pruned" if made.pruned else "done"
            self._insert(
                db, new_id(), segment, kind="trial", status=status, started=made.started, ended=made.ended,
                parent=self.runs[segment], params=params, error=made.error or None,
                metrics={self.metric: sum(made.values) / len(made.values), **folds} if made.values else {},
                tags={"trial": str(number)},
            )  # fmt: skip

    def finish(self, one: Search) -> Searched:
        """Keep the best that was found."""
        segment, run = one.part.segment, self.runs[one.part.segment]
        trials, best = one.trials(self.metric), one.best(self.metric)
        turn = -1.0 if METRICS[self.metric].greater_is_better else 1.0
        own = (
            one.first
            and {name: self.model.definition.params.get(name) for name in self.how.space} == one.first[0]
        )
        before = next((trial.loss for trial in trials if trial.number == 0), None) if own else None
        errors = [made.error for _, made in one.done.values() if made.error]
        value = None if not best or best[0].loss is None else turn * best[0].loss
        params = plain(best[0].params) if best else {}
        metrics = {} if value is None else {self.metric: value}
        error = "" if best else (errors[0] if errors else "no trial was made in the time")
        with self.stations.stores.ledger.write() as db:
            ended = {
                "status": "done" if best else "failed",
                "ended": self.stations.clock(),
                "error": error or None,
            }
            db.execute(update(runs).where(runs.c.id == run).values(params=params, metrics=metrics, **ended))
            db.execute(
                run_values.delete().where(run_values.c.run == run, run_values.c.field.not_like("tags.%"))
            )
            insert_many(db, run_values, list(values.rows(run, params, metrics, {})))
            if best:
                row = {"model": self.model.name, "segment": segment_text(segment), "params": params, "run": run,
                       "updated": self.stations.clock()}  # fmt: skip
                upsert(db, tuned, [row])
        return Searched(
            segment_text(segment), run, len(trials), sum(trial.pruned for trial in trials),
            sum(trial.loss is None for trial in trials), None if before is None else turn * before,
            value, params, error,
        )  # fmt: skip

    def _insert(self, db: Connection, run: str, segment: Segment, **row: Any) -> None:
        row = {"params": {}, "metrics": {}, "tags": {}, "artifacts": {}, **row}
        row |= {name: plain(row[name]) for name in ("params", "metrics", "tags")}
        of = {"name": self.model.name, "segment": segment_text(segment), "experiment": f"tune {self.model.name}",
              "dataset": self.model.definition.dataset, "dataset_version": self.version}  # fmt: skip
        db.execute(insert(runs).values(id=run, **of, **row))
        insert_many(db, run_values, list(values.rows(run, row["params"], row["metrics"], row["tags"])))


def _known(
    db: Connection, run: str, metric: str, folds: int
) -> list[tuple[int, tuple[Mapping[str, Any], Attempted]]]:
    """The trials of a search that are over, by number."""
    rows = db.execute(select(runs).where(runs.c.parent == run, runs.c.kind == "trial"))
    found = []
    for row in rows:
        each = [row.metrics.get(f"{metric}.fold{at}") for at in range(folds)]
        made = Attempted(
            tuple(value for value in each if value is not None),
            row.status == "pruned",
            row.error or "",
            row.started,
            row.ended,
        )
        found.append((int(row.tags["trial"]), (row.params, made)))
    return found
