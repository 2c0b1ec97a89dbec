"""Verbs of data: what came in, and to take in more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Event
from typing import TYPE_CHECKING, Any

from modelworks.core.errors import ModelworksError
from modelworks.core.verbs import verb
from modelworks.data.follow import Said
from modelworks.data.quarantine import Choice
from modelworks.data.version import IngestReport
from modelworks.pipelines import ingest as ingesting
from modelworks.pipelines import upkeep
from modelworks.pipelines.context import Progress, silent

if TYPE_CHECKING:
    import polars as pl
from modelworks.factory.root import Plain, Root


class Data(Root):
    """Verbs of data: what came in, and to take in more."""

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

    @verb("GET", "/api/verify")
    def verify(self, ref: str) -> Plain:
        """Whether a dataset version still is what it was: each of its files, its list of files, its rows."""
        return self.stations.data.verify(ref)

    @verb("GET", "/api/quarantine")
    def quarantine(self, dataset: str, limit: int = 50, reason: str = "", source: str = "") -> Plain:
        """Rows that broke the contract, with the reason."""
        return self.stations.data.quarantined(dataset, limit, Choice((), reason, source))

    @verb("POST", "/api/ingest")
    def ingest(self, dataset: str | None = None, accept: bool = False, progress: Progress = silent) -> Plain:
        """Take in what is new in the sources of one dataset, or of all."""
        names = [dataset] if dataset else list(self.project.datasets)
        done = []
        for number, name in enumerate(names):
            progress(f"ingest {name}", number, len(names))
            done.append(ingesting.ingest(self.stations, name, accept=accept))
            self.audited("ingest", f"dataset:{name}", {"accept": True} if accept else {})
        progress("ingest", len(names), len(names))
        self.news()
        return done

    def follow(self, dataset: str, stop: Event, said: Said) -> None:
        """Take in what comes of a dataset's stream, as it comes, until `stop` is set.

        Raises:
            Invalid: its source is no stream.
        """
        self.audited("follow", f"dataset:{dataset}")
        stations = self.stations

        def heard(told: IngestReport | ModelworksError) -> None:
            self.news()
            said(told)

        stations.following.add(dataset)
        try:
            ingesting.follow(stations, dataset, stop, heard)
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
        self.audited("push", f"dataset:{dataset}", {"rows": len(rows)})
        told = ingesting.push(self.stations, dataset, rows, id)
        self.news()
        return told

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
        self.audited("replay", f"dataset:{dataset}", {"lines": len(ids) + len(corrected), "reason": reason})
        choice = Choice(ids, reason, source)
        told = ingesting.replay(self.stations, dataset, choice, values or {}, corrected)
        self.news()
        return told

    @verb("POST", "/api/tag")
    def tag(self, ref: str, tag: str) -> Plain:
        """Name a dataset version."""
        self.audited("tag", ref, {"tag": tag})
        return self.stations.data.tag(ref, tag)

    @verb("POST", "/api/pin")
    def pin(self, ref: str, reason: str = "by hand") -> Plain:
        """Keep a dataset version, whatever its age."""
        self.audited("pin", ref, {"reason": reason})
        return self.stations.data.pin(ref, reason)

    @verb("POST", "/api/unpin")
    def unpin(self, ref: str) -> Plain:
        """Let a pinned dataset version go when its time comes."""
        self.audited("unpin", ref)
        return self.stations.data.unpin(ref)

    @verb("POST", "/api/compact")
    def compact(self, dataset: str) -> Plain:
        """Pack a dataset's small files into large ones, ordered for its models."""
        self.audited("compact", f"dataset:{dataset}")
        return {"dataset": dataset, "files": upkeep.compact(self.stations, dataset)}

    @verb("POST", "/api/vacuum")
    def vacuum(self, dataset: str, keep: str = upkeep.KEEP) -> Plain:
        """Let dataset versions go that are older and not used, and delete the files that none needs."""
        self.audited("vacuum", f"dataset:{dataset}", {"keep": keep})
        return upkeep.vacuum(self.stations, dataset, keep)

    @verb("POST", "/api/forget", role="admin")
    def forget(self, dataset: str, key: str, column: str | None = None) -> Plain:
        """Erase a subject's rows everywhere, for good, and list the model versions that learned from them."""
        # The subject itself must not live on in the audit trail.
        self.audited("forget", f"dataset:{dataset}", {"column": column})
        return upkeep.forget(self.stations, dataset, key, column)
