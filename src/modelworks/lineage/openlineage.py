"""The ledger's lineage as OpenLineage events: what came into datasets, what was trained on it, what came of that.

Ids follow from what an event is about, so an event that is sent twice says the same of the same run.

Source: the OpenLineage specification, version 2-0-2, and the facets of its client.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import NAMESPACE_URL, uuid5

from sqlalchemy import Connection, Row, Select, select

from modelworks import __version__
from modelworks.core.errors import NotReady
from modelworks.core.ref import Ref, parse_segment
from modelworks.stores.ledger import Ledger
from modelworks.stores.ledger.tables import (
    campaigns,
    dataset_profiles,
    dataset_versions,
    edges,
    model_versions,
    runs,
)

if TYPE_CHECKING:
    from openlineage.client.event_v2 import InputDataset, OutputDataset, RunEvent

PRODUCER = f"https://modelworks.invalid/{__version__}"
"""Names the maker of an event; it has to look like an address, and is none."""
_MADE_OF = ("code", "source", "environment")
_PAGE = 500
_LONGEST = 10_000
"""Characters of an error that are told."""


class Events:
    """Makes events of what stands in the ledger.

    Args:
        namespace: Of jobs, and of the datasets and models of this factory.

    Raises:
        NotReady: the library of events is not installed.
    """

    def __init__(self, namespace: str) -> None:
        try:
            from openlineage.client import event_v2, facet_v2
        except ImportError as error:
            raise NotReady(
                "lineage cannot be told to others", "openlineage-python is not installed",
                "pip install 'modelworks[openlineage]'",
            ) from error  # fmt: skip
        self.namespace = namespace
        self._event, self._facet = event_v2, facet_v2
        event_v2.set_producer(PRODUCER)

    # -- data ------------------------------------------------------------------------------------------------

    def ingest(self, ledger: Ledger, dataset: str, version: int) -> Iterator[RunEvent]:
        """What made a dataset version; one event, for it is entered when it is over."""
        with ledger.read() as db:
            line = self._version(db, dataset, version)
        if line is None:
            return
        yield self._run(
            f"dataset:{dataset}@{version}",
            f"ingest.{dataset}",
            "INGEST",
            "COMPLETE",
            line.created,
            inputs=[self._source(one["uri"]) for one in line.sources],
            outputs=[self._made(line)],
        )

    def _version(self, db: Connection, dataset: str, version: int) -> Row[Any] | None:
        v = dataset_versions.c
        return db.execute(
            select(dataset_versions).where(v.dataset == dataset, v.version == version)
        ).one_or_none()

    def _source(self, uri: str) -> InputDataset:
        parts = urlsplit(uri)
        host = parts.hostname or ""
        port = f":{parts.port}" if host and parts.port else ""
        if host:  # without a user's name and password
            return self._event.InputDataset(f"{parts.scheme}://{host}{port}", parts.path.lstrip("/") or "/")
        kind, _, name = uri.partition(":")
        if name and kind.isidentifier() and "/" not in kind:
            return self._event.InputDataset(kind, name)
        return self._event.InputDataset("file", uri)

    def _made(self, line: Row[Any]) -> OutputDataset:
        statistics = self._facet.output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
            rowCount=line.added
        )
        return self._event.OutputDataset(
            self.namespace,
            line.dataset,
            facets=self._facets(line),
            outputFacets={"outputStatistics": statistics},
        )

    def _learned(self, db: Connection, ref: Ref) -> InputDataset | None:
        """A dataset version that something learned from, with what is known of its columns."""
        line = self._version(db, ref.name, int(ref.at or 0))
        if line is None:
            return None
        p = dataset_profiles.c
        columns = db.scalar(select(p.columns).where(p.dataset == ref.name, p.version == ref.at))
        facet = self._facet.data_quality_metrics_input_dataset
        metrics = facet.DataQualityMetricsInputDatasetFacet(
            columnMetrics={
                name: facet.ColumnMetrics(
                    nullCount=one.get("nulls"), distinctCount=one.get("distinct"), quantiles={}
                )
                for name, one in (columns or {}).items()
            },
            rowCount=line.rows,
        )
        return self._event.InputDataset(
            self.namespace,
            line.dataset,
            facets=self._facets(line),
            inputFacets={"dataQualityMetrics": metrics},
        )

    def _facets(self, line: Row[Any]) -> dict[str, Any]:
        schema, facet = self._facet.schema_dataset, self._facet
        fields = [
            schema.SchemaDatasetFacetFields(name=name, type=str(one.get("kind", "")), fields=[])
            for name, one in line.columns.items()
        ]
        return {
            "schema": schema.SchemaDatasetFacet(fields=fields),
            "version": facet.dataset_version_dataset.DatasetVersionDatasetFacet(str(line.version)),
            "storage": facet.storage_dataset.StorageDatasetFacet("delta", "parquet"),
        }

    # -- training --------------------------------------------------------------------------------------------

    def campaign(self, ledger: Ledger, identifier: str) -> Iterator[RunEvent]:
        """A training: when it began and ended, and each of its runs below it."""
        node = f"campaign:{identifier}"
        into: dict[str, list[str]] = {}
        with ledger.read() as db:
            line = db.execute(select(campaigns).where(campaigns.c.id == identifier)).one_or_none()
            if line is None:
                return
            query = select(edges.c.source).where(edges.c.target == node).order_by(edges.c.source)
            for source in db.scalars(query):
                kind, _, name = source.partition(":")
                into.setdefault(kind, []).append(name)
            found = [self._learned(db, Ref.parse(name)) for name in into.get("dataset", ())]
        job = f"train.{line.model}"
        inputs = [one for one in found if one is not None]
        made_of = {kind: names for kind, names in into.items() if kind in _MADE_OF}
        yield self._run(node, job, "TRAINING", "START", line.created, inputs=inputs, made_of=made_of)
        for row in _runs_of(ledger, identifier):
            yield from self._one(row, (node, job), inputs, made_of)
        end = line.finished or line.created
        yield self._run(node, job, "TRAINING", "COMPLETE", end, inputs=inputs, made_of=made_of)

    def _one(
        self,
        row: Row[Any],
        parent: tuple[str, str],
        inputs: Sequence[InputDataset],
        made_of: Mapping[str, Sequence[str]],
    ) -> Iterator[RunEvent]:
        node = f"run:{row.id}"
        job = f"train.{Ref(row.name, parse_segment(row.segment))}"
        yield self._run(node, job, "TRAINING", "START", row.started, inputs=inputs, parent=parent)
        yield self._run(
            node,
            job,
            "TRAINING",
            "FAIL" if row.error else "COMPLETE",
            row.ended or row.started,
            inputs=inputs,
            outputs=[] if row.version is None else [self._model(row)],
            parent=parent,
            made_of=made_of,
            error=row.error,
        )

    def _model(self, row: Row[Any]) -> OutputDataset:
        facets: dict[str, Any] = {
            "version": self._facet.dataset_version_dataset.DatasetVersionDatasetFacet(str(row.version)),
            "datasetType": self._facet.dataset_type_dataset.DatasetTypeDatasetFacet("MODEL"),
        }
        name = str(Ref(row.name, parse_segment(row.segment)))
        return self._event.OutputDataset(self.namespace, name, facets=facets)

    # -- the events ------------------------------------------------------------------------------------------

    def _run(
        self,
        node: str,
        job: str,
        kind: str,
        what: str,
        at: datetime,
        *,
        inputs: Sequence[InputDataset] = (),
        outputs: Sequence[OutputDataset] = (),
        parent: tuple[str, str] | None = None,
        made_of: Mapping[str, Sequence[str]] | None = None,
        error: str | None = None,
    ) -> RunEvent:
        event, facet = self._event, self._facet
        facets: dict[str, Any] = {
            "processing_engine": facet.processing_engine_run.ProcessingEngineRunFacet(
                version=__version__, name="modelworks"
            )
        }
        if parent is not None:
            facets["parent"] = facet.parent_run.ParentRunFacet(
                run=facet.parent_run.Run(runId=self._id(parent[0])),
                job=facet.parent_run.Job(namespace=self.namespace, name=parent[1]),
            )
        if made_of:
            tags = [
                facet.tags_run.TagsRunFacetFields(key=f"{name}_digest", value=digest, source="modelworks")
                for name, digests in made_of.items()
                for digest in digests
            ]
            facets["tags"] = facet.tags_run.TagsRunFacet(tags=tags)
        if error:
            facets["errorMessage"] = facet.error_message_run.ErrorMessageRunFacet(
                message=error[:_LONGEST], programmingLanguage="python"
            )
        job_type = facet.job_type_job.JobTypeJobFacet(
            processingType="BATCH", integration="MODELWORKS", jobType=kind
        )
        made: RunEvent = event.RunEvent(
            eventTime=at.isoformat(),
            run=event.Run(self._id(node), facets=facets),
            job=event.Job(self.namespace, job, facets={"jobType": job_type}),
            eventType=event.RunState(what),
            inputs=list(inputs),
            outputs=list(outputs),
            producer=PRODUCER,
        )
        return made

    def _id(self, node: str) -> str:
        return str(uuid5(NAMESPACE_URL, f"{self.namespace}/{node}"))


def _runs_of(ledger: Ledger, campaign: str) -> Iterator[Row[Any]]:
    """The runs of a campaign with the versions that they made; a page at a time, for whoever is told may be slow."""
    columns = (runs.c.id, runs.c.name, runs.c.segment, runs.c.error, runs.c.started, runs.c.ended)
    query: Select[Any] = (
        select(*columns, model_versions.c.version)
        .outerjoin(model_versions, model_versions.c.run == runs.c.id)
        .where(runs.c.campaign == campaign)
        .order_by(runs.c.segment)
        .limit(_PAGE)
    )
    page: Sequence[Row[Any]] = ()
    while True:
        with ledger.read() as db:
            page = db.execute(query.where(runs.c.segment > page[-1].segment) if page else query).all()
        yield from page
        if len(page) < _PAGE:
            return
