"""The monitor's verbs: observe what was served, sum it up, open and close alerts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from sqlalchemy import Connection, insert, select, update

from modelworks.core.clock import Clock
from modelworks.core.measure import FEATURE_BINS, OUTPUT_BINS, Counts, Reference
from modelworks.core.plain import plain
from modelworks.core.ref import parse_segment
from modelworks.models.package import Package
from modelworks.monitor.alerting import Finding, decayed, drifted, findings
from modelworks.monitor.performance import binned_auc, mean_loss
from modelworks.monitor.sketch import Sketches, features_of
from modelworks.monitor.watch import Observation, Watch, finite
from modelworks.monitor.window import DAY, Known, joined, sketched
from modelworks.stores import Stores
from modelworks.stores.ledger.portable import chunks, upsert
from modelworks.stores.ledger.tables import alerts, deployments, model_versions, watermarks, windows

TRAILING_DAYS = 28
"""Days over which drift and decay are judged."""
_FARTHEST = timedelta(days=90)
"""An outcome that comes later than this changes no window any more; it is kept in the table."""



class MonitorStation:
    """Monitoring of one project.

    Args:
        stores: Predictions and outcomes in the tables, windows and alerts in the ledger.
        clock: Gives the time.
    """

    def __init__(self, stores: Stores, clock: Clock) -> None:
        self.stores = stores
        self.clock = clock
        self._known: dict[tuple[str, str, int], Known] = {}

    def observe(self, model: str, now: datetime) -> Observation:
        """Sketch the days that got predictions or outcomes since the last call; judge; open and close alerts.

        Doing it again changes nothing: a day's window is made anew from all that is known of the day.
        """
        tables = self.stores.tables
        sketches, names = 0, 0
        if tables.exists("predictions"):
            name = f"monitor:{model}"
            with self.stores.ledger.read() as db:
                mark = db.scalar(select(watermarks.c.moment).where(watermarks.c.name == name))
            start, seen = self._changed_since(model, mark, now)
            rows = joined(tables, model, start, now)
            made = self._sketch(model, rows)
            with self.stores.ledger.write() as db:
                upsert(db, windows, made)
                upsert(db, watermarks, [{"name": name, "moment": seen}])
            sketches, names = len(made), len(rows)
        watches = self.summary(model, end=now)
        with self.stores.ledger.write() as db:
            opened = self._alert(db, model, self._findings(watches), now)
        return Observation(model, sketches, names, opened, tuple(watches))

    def _changed_since(self, model: str, mark: datetime | None, now: datetime) -> tuple[datetime, datetime]:
        """The first day whose window may have changed, and the newest arrival that this takes account of."""
        earliest, latest = now, mark or datetime(1970, 1, 1, tzinfo=UTC)
        for table, arrived, happened in (("predictions", "time", "event_time"), ("outcomes", "received", "time")):
            if not self.stores.tables.exists(table):
                continue
            scan = self.stores.tables.scan(table)
            fresh = scan.filter(pl.col("model").is_null() | (pl.col("model") == model))
            if mark is not None:
                fresh = fresh.filter(pl.col(arrived) > mark)
            first, last = fresh.select(pl.col(happened).min(), pl.col(arrived).max().alias("last")).collect().row(0)
            if first is not None:
                # A prediction comes some time before its outcome: two days cover most, the rest came in time.
                earliest = min(earliest, first if table == "predictions" else first - 2 * DAY)
                latest = max(latest, last)
        day = max(earliest, now - _FARTHEST).replace(hour=0, minute=0, second=0, microsecond=0)
        return day, latest

    def _sketch(self, model: str, rows: pl.DataFrame) -> list[dict[str, Any]]:
        if not len(rows):
            return []
        pairs = {(segment, version) for segment, version in rows.select("segment", "version").unique().iter_rows()}
        known = self._versions(model, sorted(pairs))
        made: list[dict[str, Any]] = []
        signatures = {key: entry.signature for key, entry in known.items()}
        for signature in dict.fromkeys(signatures.values()):
            mine = {key: entry for key, entry in known.items() if signatures[key] == signature}
            keys = pl.DataFrame(list(mine), schema={"segment": pl.String, "version": pl.Int64}, orient="row")
            part = rows.join(keys, on=["segment", "version"], how="semi")
            labels, sketches = sketched(part, mine)
            loss, _ = mean_loss(sketches)
            for (segment, version, day), sums, packed, mean in zip(
                labels, sketches.sums, sketches.pack(), loss, strict=True
            ):
                made.append(
                    {
                        "model": model, "segment": segment, "version": version, "start": day, "end": day + DAY,
                        "rows": int(sums[0]), "labelled": int(sums[1]), "output_mean": sums[2] / sums[0],
                        "metrics": {"loss": finite(mean)}, "sketch": packed,
                    }
                )  # fmt: skip
        return made

    def _versions(self, model: str, pairs: Sequence[tuple[str, int]]) -> dict[tuple[str, int], Known]:
        """Signature and reference of versions; those without a reference are left out."""
        missing = [pair for pair in pairs if (model, *pair) not in self._known]
        with self.stores.ledger.read() as db:
            for part in chunks(sorted({segment for segment, _ in missing})):
                query = select(model_versions.c.segment, model_versions.c.version, model_versions.c.package).where(
                    model_versions.c.model == model, model_versions.c.segment.in_(part)
                )
                wanted = set(missing)
                for segment, version, content in db.execute(query):
                    if (segment, version) in wanted and content["reference"]:
                        package = Package.from_json(content)
                        reference = Reference.from_bytes(self.stores.artifacts.get(content["reference"]))
                        self._known[model, segment, version] = Known(package.signature, reference)
        return {pair: self._known[model, *pair] for pair in pairs if (model, *pair) in self._known}

    # -- summing up ----------------------------------------------------------------------------------------

    def summary(self, model: str, *, end: datetime, days: int = TRAILING_DAYS) -> list[Watch]:
        """Every champion over the last days, judged together."""
        start = end - timedelta(days=days)
        query = (
            select(windows.c.segment, windows.c.version, windows.c.sketch)
            .join(
                deployments,
                (deployments.c.model == windows.c.model)
                & (deployments.c.segment == windows.c.segment)
                & (deployments.c.champion == windows.c.version),
            )
            .where(windows.c.model == model, windows.c.start >= start, windows.c.start < end)
        )
        with self.stores.ledger.read() as db:
            rows = db.execute(query).all()
            metrics = {
                (row.segment, row.version): row.metrics
                for row in db.execute(
                    select(model_versions.c.segment, model_versions.c.version, model_versions.c.metrics)
                    .join(
                        deployments,
                        (deployments.c.model == model_versions.c.model)
                        & (deployments.c.segment == model_versions.c.segment)
                        & (deployments.c.champion == model_versions.c.version),
                    )
                    .where(model_versions.c.model == model)
                )
            }
        watches: list[Watch] = []
        widths = [features_of(row.sketch) for row in rows]
        for width in sorted(set(widths)):  # versions with another number of features are judged apart
            part = [row for row, features in zip(rows, widths, strict=True) if features == width]
            keys = list(dict.fromkeys((row.segment, row.version) for row in part))
            place = {key: number for number, key in enumerate(keys)}
            which = np.array([place[row.segment, row.version] for row in part])
            merged = Sketches.unpack([row.sketch for row in part], width).merge(which, len(keys))
            watches += _judged(keys, merged, self._versions(model, keys), metrics)
        return sorted(watches, key=lambda watch: watch.segment)

    def daily(self, model: str, segment: str | None, *, end: datetime, days: int) -> list[dict[str, Any]]:
        """Volume and performance by day, all versions together: for a chart.

        Args:
            model: Name of the model.
            segment: Its text; ``None`` for all segments together.
            end: Until when.
            days: How many days.
        """
        query = select(windows.c.start, windows.c.sketch).where(
            windows.c.model == model, windows.c.start >= end - timedelta(days=days), windows.c.start < end
        )
        if segment is not None:
            query = query.where(windows.c.segment == segment)
        with self.stores.ledger.read() as db:
            rows = db.execute(query.order_by(windows.c.start)).all()
        if not rows:
            return []
        starts = list(dict.fromkeys(row.start for row in rows))
        place = {start: number for number, start in enumerate(starts)}
        which = np.array([place[row.start] for row in rows])
        widths = np.array([features_of(row.sketch) for row in rows])
        merged = None
        for width in sorted(set(widths.tolist())):
            part = np.flatnonzero(widths == width)
            sketches = Sketches.unpack([rows[i].sketch for i in part], width)
            bare = Sketches(sketches.sums, Counts(sketches.counts.features[:, :0], sketches.counts.outputs))
            some = bare.merge(which[part], len(starts))
            merged = some if merged is None else Sketches(merged.sums + some.sums, merged.counts + some.counts)
        assert merged is not None
        loss, error = mean_loss(merged)
        auc = binned_auc(merged.counts.outputs[:, :2])
        return [
            {
                "day": start, "rows": int(merged.sums[i, 0]), "labelled": int(merged.sums[i, 1]),
                "output_mean": merged.sums[i, 2] / merged.sums[i, 0], "loss": finite(loss[i]),
                "loss_error": finite(error[i]), "auc": finite(auc[i]),
            }
            for i, start in enumerate(starts)
        ]  # fmt: skip

    # -- alerts --------------------------------------------------------------------------------------------

    def _findings(self, watches: Sequence[Watch]) -> list[Finding]:
        judged = [watch for watch in watches if watch.psi]
        if not judged:
            return []
        names = list(dict.fromkeys(name for watch in judged for name in watch.psi))
        return findings(
            len(judged),
            names,
            np.array([[name in watch.shifted for name in names] for watch in judged]),
            np.array([_OUTPUT in watch.shifted for watch in judged]),
            np.array([watch.decayed for watch in judged]),
        )

    def _alert(self, db: Connection, model: str, found: Sequence[Finding], now: datetime) -> int:
        """Open what is new, bring what is open up to date, close what is over; returns the number opened."""
        open_ones = {
            row.kind: row.id
            for row in db.execute(select(alerts.c.kind, alerts.c.id).where(alerts.c.model == model, alerts.c.closed.is_(None)))
        }
        opened = 0
        for finding in found:
            known = open_ones.pop(finding.kind, None)
            values = {"message": finding.message, "severity": finding.severity, "evidence": plain(finding.evidence)}
            if known is None:
                opened += 1
                db.execute(insert(alerts).values(model=model, segment="", kind=finding.kind, opened=now, **values))
            else:
                db.execute(update(alerts).where(alerts.c.id == known).values(**values))
        if open_ones:
            db.execute(update(alerts).where(alerts.c.id.in_(list(open_ones.values()))).values(closed=now))
        return opened

    def alerts(self, model: str | None = None, open_only: bool = True, limit: int = 100) -> list[dict[str, Any]]:
        """Alerts, the newest first."""
        query = select(alerts).order_by(alerts.c.opened.desc(), alerts.c.id.desc()).limit(limit)
        if model is not None:
            query = query.where(alerts.c.model == model)
        if open_only:
            query = query.where(alerts.c.closed.is_(None))
        with self.stores.ledger.read() as db:
            return [dict(row) for row in db.execute(query).mappings()]


_OUTPUT = "(output)"
"""Stands among the shifted features for the model's own answers."""


def _judged(
    keys: Sequence[tuple[str, int]],
    merged: Sketches,
    known: Mapping[tuple[str, int], Known],
    metrics: Mapping[tuple[str, int], Mapping[str, float | None]],
) -> list[Watch]:
    """Put sketches of many champions to the drift tests and the test of decay, all together."""
    blank = np.zeros(merged.counts.features.shape[1:], np.int64)
    reference = np.stack([known[key].reference.features if key in known else blank for key in keys])
    empty = np.zeros(OUTPUT_BINS, np.int64)
    outputs = np.stack([known[key].reference.outputs if key in known else empty for key in keys])
    # One family of tests: every feature of every model, and every model's output.
    wide = np.zeros((len(keys), reference.shape[1] + 1, max(FEATURE_BINS, OUTPUT_BINS)), np.int64)
    live = wide.copy()
    wide[:, :-1, :FEATURE_BINS], wide[:, -1, :OUTPUT_BINS] = reference, outputs
    live[:, :-1, :FEATURE_BINS], live[:, -1, :OUTPUT_BINS] = merged.counts.features, merged.output
    effect, alarm = drifted(wide, live)
    loss, error = mean_loss(merged)
    promised = np.array([_promised(metrics.get(key, {})) for key in keys])
    worse = decayed(loss, error, merged.sums[:, 1], promised)
    auc = binned_auc(merged.counts.outputs[:, :2])
    watches = []
    for number, (segment, version) in enumerate(keys):
        entry = known.get((segment, version))
        signature = entry.signature if entry else None
        names = [*signature.numbers, *signature.texts] if signature else []
        rows, labelled, output = merged.sums[number, :3]
        watches.append(
            Watch(
                parse_segment(segment), version, int(rows), int(labelled), finite(output / rows) if rows else None,
                finite(loss[number]), finite(error[number]), finite(promised[number]), finite(auc[number]),
                {name: round(float(effect[number, i]), 4) for i, name in enumerate(names) if np.isfinite(effect[number, i])},
                finite(effect[number, -1]),
                tuple(name for i, name in enumerate([*names, _OUTPUT]) if alarm[number, i if i < len(names) else -1]),
                bool(worse[number]),
            )
        )  # fmt: skip
    return watches


def _promised(metrics: Mapping[str, float | None]) -> float:
    """The loss at validation: log loss, or the square of the RMSE; NaN where it was not measured."""
    if metrics.get("log_loss") is not None:
        return float(metrics["log_loss"] or 0.0)
    rmse = metrics.get("rmse")
    return float("nan") if rmse is None else rmse**2
