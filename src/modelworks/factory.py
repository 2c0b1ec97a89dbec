"""The composition root: opens a project's stores, builds its stations, and offers every verb of the house.

A verb is a method with plain arguments and a plain result. The CLI, the HTTP API and the SDK are made from
the same list of verbs, so that what one can do the others can.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, Literal

from modelworks import config as settings
from modelworks.access import audit
from modelworks.core.clock import Clock, system_clock
from modelworks.core.plain import to_json
from modelworks.core.ref import Ref
from modelworks.core.verbs import VERBS, Route, verb
from modelworks.data.follow import Said
from modelworks.data.quarantine import Choice
from modelworks.data.station import DataStation
from modelworks.deploy.station import DeployStation
from modelworks.learn.station import LearnStation
from modelworks.monitor.station import MonitorStation
from modelworks.pipelines import apply as applying
from modelworks.pipelines import bring_in, explain, release, report, upkeep
from modelworks.pipelines import ingest as ingesting
from modelworks.pipelines import train as training
from modelworks.pipelines.context import Progress, Stations, silent
from modelworks.pipelines.project import Project, load_project
from modelworks.registry.station import RegistryStation
from modelworks.serving.station import ServeStation
from modelworks.stores import Stores, open_stores
from modelworks.track.entry import read_batch
from modelworks.track.station import TrackStation

if TYPE_CHECKING:
    import polars as pl

__all__ = ["VERBS", "Factory", "Route"]

Plain = Any
"""JSON-able data: what a verb returns, after `plain`."""


class Factory:
    """One project, opened.

    Args:
        root: The project's folder, or one inside it.
        clock: Gives the time; a frozen one replays or simulates.
        who: Whose name stands in the audit trail.

    Raises:
        NotFound: there is no project.
        Invalid: its settings or definitions cannot be read.
        Unavailable: a store does not answer.
    """

    def __init__(self, root: Path | str = ".", clock: Clock = system_clock, who: str | None = None) -> None:
        self.config = settings.load(settings.find_root(Path(root)))
        self.clock = clock
        self.who = who or os.environ.get("USER") or "local"

    @cached_property
    def stores(self) -> Stores:
        """The ledger, the tables, the artifacts."""
        chosen = self.config.settings
        return open_stores(self.config.state, chosen.ledger_url, chosen.tables_url, chosen.artifacts_url)

    @cached_property
    def project(self) -> Project:
        """What ``factory.py`` defines."""
        return load_project(self.config.root)

    @cached_property
    def tracking(self) -> TrackStation:
        """The runs; they need none of the project's definitions."""
        return TrackStation(self.stores, self.clock)

    @cached_property
    def stations(self) -> Stations:
        """The belt, its definitions declared in the ledger."""
        stores, clock, chosen = self.stores, self.clock, self.config.settings
        stations = Stations(
            stores=stores,
            project=self.project,
            clock=clock,
            artifacts_root=Path(chosen.artifacts_url or self.config.state / "artifacts"),
            workers=chosen.train_workers or os.cpu_count() or 1,
            data=DataStation(stores.ledger, stores.tables, self.config.root, clock),
            registry=RegistryStation(stores.ledger, clock),
            deploy=DeployStation(stores.ledger, clock),
            serve=ServeStation(stores),
            monitor=MonitorStation(stores, clock),
            learn=LearnStation(stores.ledger, clock),
        )
        training.declare(stations)
        return stations

    # -- looking ---------------------------------------------------------------------------------------

    @verb("GET", "/api/status")
    def status(self) -> Plain:
        """What there is: models live, versions, datasets, open alerts, the last decisions."""
        return report.status(self.stations)

    @verb("GET", "/api/datasets")
    def datasets(self) -> Plain:
        """Every dataset with its newest version."""
        return self.stations.data.overview()

    @verb("GET", "/api/dataset")
    def dataset(self, ref: str) -> Plain:
        """One dataset: contract, versions, tags."""
        return self.stations.data.show(ref)

    @verb("GET", "/api/profile")
    def profile(self, ref: str) -> Plain:
        """What the columns of a dataset version hold: missing and distinct values, quantiles, common values."""
        return self.stations.data.profile(ref)

    @verb("GET", "/api/diff")
    def diff(self, before: str, after: str) -> Plain:
        """What is different between two versions of a dataset: columns, rows by key, distributions."""
        return self.stations.data.diff(before, after)

    @verb("GET", "/api/quarantine")
    def quarantine(self, dataset: str, limit: int = 50, reason: str = "", source: str = "") -> Plain:
        """Rows that broke the contract, with the reason."""
        return self.stations.data.quarantined(dataset, limit, Choice((), reason, source))

    @verb("GET", "/api/runs")
    def runs(
        self, where: str = "", model: str | None = None, limit: int = 50, deleted: bool = False
    ) -> Plain:
        """The runs that a query asks for, ``metrics.auc > 0.8 order by metrics.auc desc``; else the newest."""
        return report.runs(self.tracking, where, model, limit, deleted)

    @verb("GET", "/api/run")
    def run(self, id: str) -> Plain:
        """One run: parameters, metrics, artifacts, where it came from, what it made."""
        return report.run(self.tracking, id)

    @verb("GET", "/api/course")
    def course(self, id: str, metric: str | None = None, points: int = 0) -> Plain:
        """The courses of a run's metrics, point by point, or so many points of each."""
        return report.course(self.tracking, id, metric, points)

    @verb("GET", "/api/compare")
    def compare(self, ids: str) -> Plain:
        """Runs side by side, by their ids with commas between them, and in what they differ."""
        return self.tracking.compare([one.strip() for one in ids.split(",") if one.strip()])

    @verb("GET", "/api/models")
    def models(self) -> Plain:
        """Every model with its number of segments, versions and champions."""
        return report.models(self.stations)

    @verb("GET", "/api/model")
    def model(self, ref: str) -> Plain:
        """One model, segment or version: what it is, how good, since when."""
        return report.model(self.stations, Ref.parse(ref))

    @verb("GET", "/api/versions")
    def versions(self, model: str, segment: str | None = None, limit: int = 100) -> Plain:
        """The newest versions of a model."""
        return report.versions(self.stations, model, segment, limit)

    @verb("GET", "/api/deployments")
    def deployments(self, model: str | None = None, limit: int = 1000) -> Plain:
        """Which version answers for which segment."""
        return report.deployments(self.stations, model, limit)

    @verb("GET", "/api/predictions")
    def predictions(self, model: str | None = None, limit: int = 50) -> Plain:
        """The newest predictions."""
        return self.stations.serve.recent(model, limit)

    @verb("GET", "/api/monitor")
    def monitor(self, model: str, segment: str | None = None, days: int = 28) -> Plain:
        """Volume, drift and performance of a model over the last days."""
        return report.monitor(self.stations, model, segment, days)

    @verb("GET", "/api/alerts")
    def alerts(self, model: str | None = None, open_only: bool = True, limit: int = 100) -> Plain:
        """Alerts, the newest first."""
        return self.stations.monitor.alerts(model, open_only, limit)

    @verb("GET", "/api/decisions")
    def decisions(self, model: str | None = None, limit: int = 50) -> Plain:
        """What the factory decided about retraining, and why."""
        return self.stations.learn.decisions(model, limit)

    @verb("GET", "/api/why")
    def why(self, prediction_id: str) -> Plain:
        """From a prediction back to the rows, code, environment, gates and decisions behind it."""
        return explain.why(self.stations, prediction_id)

    @verb("GET", "/api/lineage")
    def lineage(self, ref: str, direction: Literal["up", "down"] = "up", depth: int = 6) -> Plain:
        """What a thing was made from, or what was made from it."""
        return explain.lineage(self.stations, ref, direction, depth)

    @verb("GET", "/api/audit", role="admin")
    def audit(self, limit: int = 50) -> Plain:
        """Who did what."""
        with self.stores.ledger.read() as db:
            return audit.recent(db, limit)

    # -- doing -----------------------------------------------------------------------------------------

    @verb("POST", "/api/track")
    def track(
        self,
        entries: Sequence[Mapping[str, Any]],
        session: str | None = None,
        begin: int = 0,
        over: bool = False,
    ) -> Plain:
        """Take what runs say; a session numbers its entries, so that none is taken twice."""
        given = {"entries": list(entries), "session": session, "begin": begin, "over": over}
        return self.tracking.take(read_batch(to_json(given)))

    @verb("POST", "/api/runs/delete")
    def delete_runs(self, ids: Sequence[str]) -> Plain:
        """Put runs out of sight, their children with them."""
        self._audit("delete_runs", ", ".join(ids))
        return {"deleted": self.tracking.delete(ids)}

    @verb("POST", "/api/runs/restore")
    def restore_runs(self, ids: Sequence[str]) -> Plain:
        """Bring deleted runs back, their children with them."""
        self._audit("restore_runs", ", ".join(ids))
        return {"restored": self.tracking.restore(ids)}

    @verb("POST", "/api/ingest")
    def ingest(self, dataset: str | None = None, accept: bool = False, progress: Progress = silent) -> Plain:
        """Take in what is new in the sources of one dataset, or of all."""
        names = [dataset] if dataset else list(self.project.datasets)
        done = []
        for number, name in enumerate(names):
            progress(f"ingest {name}", number, len(names))
            done.append(ingesting.ingest(self.stations, name, accept=accept))
            self._audit("ingest", f"dataset:{name}", {"accept": True} if accept else {})
        progress("ingest", len(names), len(names))
        return done

    def follow(self, dataset: str, stop: Event, said: Said) -> None:
        """Take in what comes of a dataset's stream, as it comes, until `stop` is set.

        Raises:
            Invalid: its source is no stream.
        """
        self._audit("follow", f"dataset:{dataset}")
        stations = self.stations
        stations.following.add(dataset)
        try:
            ingesting.follow(stations, dataset, stop, said)
        finally:
            stations.following.discard(dataset)

    def streams(self) -> list[str]:
        """The datasets that can be followed."""
        return [name for name, dataset in self.project.datasets.items() if dataset.streamed]

    def push(
        self, dataset: str, rows: Sequence[Mapping[str, Any]] | pl.DataFrame, id: str | None = None
    ) -> Plain:
        """Take in rows as they are; over HTTP it is ``/ingest/{dataset}``.

        Args:
            dataset: Where to.
            rows: The rows.
            id: A name for this delivery: the same one again adds nothing.
        """
        self._audit("push", f"dataset:{dataset}", {"rows": len(rows)})
        return ingesting.push(self.stations, dataset, rows, id)

    @verb("POST", "/api/replay")
    def replay(
        self,
        dataset: str,
        ids: Sequence[str] = (),
        reason: str = "",
        source: str = "",
        values: Mapping[str, Any] | None = None,
        corrected: Sequence[Mapping[str, Any]] = (),
    ) -> Plain:
        """Take rows of the quarantine in again, as they are or corrected; those that fit now leave it."""
        self._audit("replay", f"dataset:{dataset}", {"lines": len(ids) + len(corrected), "reason": reason})
        choice = Choice(ids, reason, source)
        return ingesting.replay(self.stations, dataset, choice, values or {}, corrected)

    @verb("POST", "/api/tag")
    def tag(self, ref: str, tag: str) -> Plain:
        """Name a dataset version."""
        self._audit("tag", ref, {"tag": tag})
        return self.stations.data.tag(ref, tag)

    @verb("POST", "/api/pin")
    def pin(self, ref: str, reason: str = "by hand") -> Plain:
        """Keep a dataset version, whatever its age."""
        self._audit("pin", ref, {"reason": reason})
        return self.stations.data.pin(ref, reason)

    @verb("POST", "/api/unpin")
    def unpin(self, ref: str) -> Plain:
        """Let a pinned dataset version go when its time comes."""
        self._audit("unpin", ref)
        return self.stations.data.unpin(ref)

    @verb("POST", "/api/compact")
    def compact(self, dataset: str) -> Plain:
        """Pack a dataset's small files into large ones, ordered for its models."""
        self._audit("compact", f"dataset:{dataset}")
        return {"dataset": dataset, "files": upkeep.compact(self.stations, dataset)}

    @verb("POST", "/api/vacuum")
    def vacuum(self, dataset: str, keep: str = upkeep.KEEP) -> Plain:
        """Let dataset versions go that are older and not used, and delete the files that none needs."""
        self._audit("vacuum", f"dataset:{dataset}", {"keep": keep})
        return upkeep.vacuum(self.stations, dataset, keep)

    @verb("POST", "/api/forget", role="admin")
    def forget(self, dataset: str, key: str, column: str | None = None) -> Plain:
        """Erase a subject's rows everywhere, for good, and list the model versions that learned from them."""
        # The subject itself must not live on in the audit trail.
        self._audit("forget", f"dataset:{dataset}", {"column": column})
        return upkeep.forget(self.stations, dataset, key, column)

    def tidy(self) -> int:
        """Pack small files, and move points of runs, where it is worth it; returns the number of files."""
        self.tracking.tidy()
        return upkeep.tidy(self.stations)

    @verb("POST", "/api/train")
    def train(
        self,
        model: str | None = None,
        segments: Sequence[str] | None = None,
        force: bool = False,
        progress: Progress = silent,
    ) -> Plain:
        """Train a model, or all: every segment with enough rows, or only those named; judge and bring out."""
        names = [model] if model else list(self.project.models)
        self._audit("train", ", ".join(names), {"segments": list(segments or [])})
        return [
            training.train(
                self.stations, self.project.model(name), segments=segments, force=force, progress=progress
            )
            for name in names
        ]

    def import_model(
        self,
        path: Path | str,
        name: str | None = None,
        trust: bool = False,
        example: Path | str | None = None,
    ) -> Plain:
        """Make a version of a model that was made elsewhere: a folder of MLflow's, or a file.

        There is no such route over HTTP: the path, and the trust in what lies there, are this machine's.

        Args:
            path: The folder, or a file: ONNX, LightGBM, XGBoost, PyTorch (.pt2), skops, pickle, joblib.
            name: Of the model; that of the file by default.
            trust: That its maker is known: then it may be a pickle, which can run any code when it is read.
            example: A file with rows that the model can answer, on which its compiled form is proven.
        """
        self._audit("import", str(path), {"name": name, "trust": trust})
        return bring_in.bring_in(
            self.stations, Path(path), name, trust, None if example is None else Path(example)
        )

    @verb("POST", "/api/plan")
    def plan(self, model: str | None = None) -> Plain:
        """What the policies would do now: which segments would be trained, and why. Changes nothing."""
        return applying.plan(self.stations, model)

    @verb("POST", "/api/apply")
    def apply(self, model: str | None = None, progress: Progress = silent) -> Plain:
        """One turn of the loop: ingest, watch, decide, train, judge, bring out."""
        self._audit("apply", model or "all models")
        return applying.apply(self.stations, model, progress)

    @verb("POST", "/api/observe")
    def observe(self, model: str | None = None) -> Plain:
        """Bring monitoring up to date with the predictions and outcomes so far."""
        return applying.observe(self.stations, model)

    @verb("POST", "/api/deploy")
    def deploy(self, ref: str, reason: str = "by hand") -> Plain:
        """Make a version the champion of its segment."""
        self._audit("deploy", ref, {"reason": reason})
        return release.deploy(self.stations, Ref.parse(ref), reason)

    @verb("POST", "/api/rollback")
    def rollback(self, ref: str, reason: str = "by hand") -> Plain:
        """Give a segment its previous champion back."""
        self._audit("rollback", ref, {"reason": reason})
        return release.rollback(self.stations, Ref.parse(ref), reason)

    @verb("POST", "/api/approve")
    def approve(self, ref: str) -> Plain:
        """Bring out a version that passed its gates and waits for a person."""
        self._audit("approve", ref)
        return release.approve(self.stations, Ref.parse(ref), self.who)

    @verb("POST", "/api/reject")
    def reject(self, ref: str, reason: str = "") -> Plain:
        """Turn down a version that waits for a person."""
        self._audit("reject", ref, {"reason": reason})
        return release.reject(self.stations, Ref.parse(ref), self.who, reason)

    def predict(self, model: str, rows: Sequence[Mapping[str, Any]]) -> Plain:
        """Answer rows in this process, logged as the server does; over HTTP it is ``/predict/{model}``."""
        return self.stations.serve.predict(model, rows)

    def outcomes(self, outcomes: Sequence[Mapping[str, Any]]) -> Plain:
        """Tell what really happened; over HTTP it is ``/outcomes``."""
        return self.stations.serve.outcomes(outcomes)

    def drain(self) -> int:
        """Move what servers and runs have logged to where it rests; returns the number of rows."""
        return self.stations.serve.drain() + self.tracking.settle()

    def now(self) -> datetime:
        """The factory's time."""
        return self.clock()

    def _audit(self, what: str, on: str, detail: Mapping[str, Any] | None = None) -> None:
        with self.stores.ledger.write() as db:
            audit.record(db, self.clock(), self.who, what, on, detail or {})

    def close(self) -> None:
        """Stop the workers and give the connections back."""
        training.close()
        self.stores.ledger.close()

    def __enter__(self) -> Factory:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()
