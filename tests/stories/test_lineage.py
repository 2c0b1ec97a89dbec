"""Lineage over the whole belt: up from a prediction, down from a version of data, told to others as it happens."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import shop_world as world
from openlineage.client import event_v2, facet_v2
from sqlalchemy import func, select

from modelworks.core.clock import FrozenClock
from modelworks.core.errors import Invalid, NotFound, Unavailable
from modelworks.core.plain import plain
from modelworks.factory import Factory
from modelworks.stores.ledger.tables import edges, exported, runs

ROW = {"region": "north", "shop": "a", "price": 10.0, "weight": 2.0, "size": "S"}


@pytest.fixture
def factory(tmp_path: Path) -> Iterator[Factory]:
    """Two versions of data, a training on each, a day of answers and outcomes."""
    root = world.make_project(tmp_path / "shop", days=10)
    clock = FrozenClock(world.START + timedelta(days=10))
    with Factory(root, clock=clock) as opened:
        opened.ingest()
        opened.train()
        clock.advance(timedelta(days=3))
        for day in (10, 11, 12):
            world.write_day(root, day, world.orders(day))
        opened.ingest()
        opened.train()
        clock.advance(timedelta(hours=1))
        yield opened


def nodes(told: dict[str, Any]) -> set[str]:
    return {edge[end] for edge in told["edges"] for end in ("source", "target")}


def test_a_training_writes_an_edge_for_each_input_not_for_each_run(factory: Factory) -> None:
    with factory.stores.ledger.read() as db:
        written = db.execute(select(edges.c.source, edges.c.target)).all()
        trained = db.scalar(select(func.count()).select_from(runs))
    assert trained >= 10
    trainings = [row for row in written if row.target.startswith("campaign:")]
    assert len(trainings) == 2 * len({"dataset", "code", "source", "environment"})
    assert len(written) == len(trainings) + 13  # and one for each file


def test_up_from_a_prediction_to_the_files_and_down_to_what_happened(factory: Factory) -> None:
    (answer,) = factory.predict("returns", [ROW])["predictions"]
    factory.outcomes([{"prediction_id": answer["id"], "value": 1}])
    factory.drain()
    up = plain(factory.lineage(answer["id"], "up", 10))
    kinds = {node.split(":")[0] for node in nodes(up)}
    assert {
        "prediction",
        "model",
        "run",
        "campaign",
        "dataset",
        "file",
        "code",
        "environment",
        "source",
    } <= kinds
    down = plain(factory.lineage(answer["id"], "down"))
    (edge,) = down["edges"]
    assert edge["relation"] == "turned out"
    assert edge["target"].startswith("outcome:1.0 at ")
    assert plain(factory.why(answer["id"]))["outcomes"][0]["value"] == 1.0
    with pytest.raises(NotFound):
        factory.lineage("0" * 26 + "-1")


def test_down_from_a_version_of_data_to_deployments(factory: Factory) -> None:
    down = plain(factory.lineage("orders@1", "down"))
    found = nodes(down)
    assert "dataset:orders@2" in found
    assert "model:returns[north,a]@1" in found
    assert any(node.startswith("deployment:returns[north,a]#") for node in found)
    assert any(node.startswith("verdict:returns[north,a]@1#") for node in found)
    assert "rows" in down["details"]["dataset:orders@1"]
    (run,) = {edge["source"] for edge in down["edges"] if edge["target"] == "model:returns[north,a]@1"}
    again = plain(factory.lineage(run.removeprefix("run:"), "down"))  # by its id
    assert again["node"] == run
    assert "model:returns[north,a]@1" in nodes(again)
    come = [edge["target"] for edge in down["edges"] if edge["source"] == "model:returns[north,a]@1"]
    for name in ("verdict", "deployment"):
        node = next(node for node in come if node.startswith(f"{name}:returns[north,a]"))
        assert "model:returns[north,a]@1" in nodes(plain(factory.lineage(node, "up")))


def test_what_follows_from_bad_data(factory: Factory) -> None:
    live = {row["segment"]: row["version"] for row in plain(factory.deployments("returns"))}
    row = {**ROW, "ordered": "2024-01-13T00:30:00Z"}
    page = [row] * 5 + [{**row, "region": "south", "shop": "c"}] * 2
    answers = factory.predict("returns", page)["predictions"]
    factory.drain()
    factory.observe()
    told = plain(factory.impact("orders@1"))
    versions = factory.stations.registry.versions("returns")
    # Later versions have the rows of the first one too.
    assert told["versions"] == len(versions)
    assert told["direct"] == sum(one.dataset_version == 1 for one in versions)
    assert told["champions"] == len(live)
    assert told["predictions"] == len(answers) == 7
    assert told["counted_until"]["returns"]
    newest = plain(factory.impact("orders@2"))
    assert newest["versions"] == newest["direct"] == sum(one.dataset_version == 2 for one in versions)
    by_ref = {one["ref"]: one for one in told["worst"]}
    mine = by_ref[f"returns[north,a]@{live['north,a']}"]
    assert (mine["champion"], mine["predictions"]) == (True, 5)
    assert plain(factory.impact(mine["ref"]))["predictions"] == 5
    leaf = f"predictions:{mine['ref']}"
    assert leaf in nodes(plain(factory.lineage(mine["ref"], "down")))


def test_rows_of_one_segment_touch_only_its_models_and_their_parents(factory: Factory) -> None:
    rows = world.orders(13).filter(region="south", shop="c")
    world.write_day(factory.config.root, 13, rows)
    factory.ingest()
    factory.train()
    told = plain(factory.impact("orders@3", limit=100))
    assert {one["ref"].split("@")[0] for one in told["worst"]} == {
        "returns",
        "returns[south]",
        "returns[south,c]",
    }


# -- told to others ------------------------------------------------------------------------------------------


class Receiver:
    """A real HTTP server; it refuses what comes after `patience` events."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.tokens: list[str | None] = []
        self.patience = 10**9
        self.came = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                fine = self.path == "/api/v1/lineage" and len(outer.events) < outer.patience
                if fine:
                    outer.events.append(json.loads(body))
                    outer.tokens.append(self.headers.get("Authorization"))
                self.send_response(201 if fine else 503)
                self.end_headers()
                outer.came.set()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@contextmanager
def receiver() -> Iterator[Receiver]:
    one = Receiver()
    thread = threading.Thread(target=one.server.serve_forever)
    thread.start()
    try:
        yield one
    finally:
        one.server.shutdown()
        one.server.server_close()
        thread.join()


FACETS = {
    "processing_engine": facet_v2.processing_engine_run.ProcessingEngineRunFacet,
    "tags": facet_v2.tags_run.TagsRunFacet,
    "errorMessage": facet_v2.error_message_run.ErrorMessageRunFacet,
    "parent": facet_v2.parent_run.ParentRunFacet,
    "jobType": facet_v2.job_type_job.JobTypeJobFacet,
    "schema": facet_v2.schema_dataset.SchemaDatasetFacet,
    "version": facet_v2.dataset_version_dataset.DatasetVersionDatasetFacet,
    "storage": facet_v2.storage_dataset.StorageDatasetFacet,
    "datasetType": facet_v2.dataset_type_dataset.DatasetTypeDatasetFacet,
    "dataQualityMetrics": facet_v2.data_quality_metrics_input_dataset.DataQualityMetricsInputDatasetFacet,
    "outputStatistics": facet_v2.output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet,
}


def valid(event: dict[str, Any]) -> event_v2.RunEvent:
    """Build the event again with the classes of the client, which refuse what the specification does not know."""

    def facets(of: dict[str, Any], name: str = "facets") -> dict[str, Any]:
        made = {}
        for key, value in of.pop(name, {}).items():
            plain_ones = {field: content for field, content in value.items() if not field.startswith("_")}
            assert value["_producer"]
            assert value["_schemaURL"].startswith("https://openlineage.io/spec/facets/")
            made[key] = FACETS[key](**plain_ones)
        return made

    event = json.loads(json.dumps(event))
    assert event.pop("schemaURL").startswith("https://openlineage.io/spec/2-0-2/OpenLineage.json")
    run, job = event.pop("run"), event.pop("job")
    made = event_v2.RunEvent(
        run=event_v2.Run(facets=facets(run), **run),
        job=event_v2.Job(facets=facets(job), **job),
        inputs=[
            event_v2.InputDataset(facets=facets(one), inputFacets=facets(one, "inputFacets"), **one)
            for one in event.pop("inputs")
        ],
        outputs=[
            event_v2.OutputDataset(facets=facets(one), outputFacets=facets(one, "outputFacets"), **one)
            for one in event.pop("outputs")
        ],
        eventType=event_v2.RunState(event.pop("eventType")),
        **event,
    )
    UUID(made.run.runId)
    return made


def test_events_are_valid_and_say_what_happened(factory: Factory, tmp_path: Path) -> None:
    factory.profile("orders@2")
    to = tmp_path / "events" / "lineage.jsonl"
    told = factory.export_lineage(str(to))
    lines = [json.loads(line) for line in to.read_text().splitlines()]
    assert told["events"] == len(lines)
    events = [valid(line) for line in lines]
    ingests = [one for one in lines if one["job"]["name"] == "ingest.orders"]
    assert [one["outputs"][0]["facets"]["version"]["datasetVersion"] for one in ingests] == ["1", "2"]
    assert ingests[0]["inputs"][0] == {
        "facets": {},
        "inputFacets": {},
        "name": "data/000.parquet",
        "namespace": "file",
    }
    assert ingests[1]["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == 120
    fields = ingests[0]["outputs"][0]["facets"]["schema"]["fields"]
    assert {"name": "price", "type": "number", "fields": []} in fields
    whole = [
        one for one in lines if one["job"]["name"] == "train.returns" and "parent" not in one["run"]["facets"]
    ]
    assert [one["eventType"] for one in whole] == ["START", "COMPLETE"] * 2
    learned = whole[-1]["inputs"][0]
    assert learned["inputFacets"]["dataQualityMetrics"]["columnMetrics"]["weight"]["nullCount"] > 0
    made = [one for one in lines if one["job"]["name"] == "train.returns[north,a]" and one["outputs"]]
    assert [one["outputs"][0]["facets"]["version"]["datasetVersion"] for one in made] == ["1", "2"]
    parent = made[0]["run"]["facets"]["parent"]
    assert parent["run"]["runId"] == whole[0]["run"]["runId"]
    digests = {tag["key"]: tag["value"] for tag in made[0]["run"]["facets"]["tags"]["tags"]}
    version = next(
        one for one in factory.stations.registry.versions("returns") if one.segment == ("north", "a")
    )
    assert digests["code_digest"] == version.package.code
    assert len({event.run.runId for event in events}) < len(events)  # a start and an end share one


def test_a_failed_run_says_why(tmp_path: Path) -> None:
    root = world.make_project(tmp_path / "shop", days=10)
    broken = world.FACTORY.replace(
        "    columns = make", '    if len(X) < 100: raise ValueError("too small a shop")\n    columns = make'
    )
    (root / "factory.py").write_text(broken.replace("min_rows=100", "min_rows=50"))
    with Factory(root) as factory:
        factory.ingest()
        (report,) = factory.train()
        assert report.failed
        factory.export_lineage("lineage.jsonl")
    lines = [json.loads(line) for line in (root / "lineage.jsonl").read_text().splitlines()]
    failed = [valid(line) and line for line in lines if line["eventType"] == "FAIL"]
    assert len(failed) == report.failed
    assert "too small a shop" in failed[0]["run"]["facets"]["errorMessage"]["message"]


def test_over_http_what_was_told_is_not_told_again(factory: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    with receiver() as one:
        one.patience = 5
        with pytest.raises(Unavailable, match="nothing is lost"):
            factory.export_lineage(one.url)
        assert len(one.events) == 5
        one.patience = 10**9
        factory.export_lineage(one.url)
        number = len(one.events)
        assert factory.export_lineage(one.url)["events"] == 0
        # Told anew is only the training in whose middle the receiver failed.
        ids = [(e["run"]["runId"], e["eventType"]) for e in one.events]
        assert len(set(ids)) >= number - 5
        for event in one.events:
            valid(event)
        assert factory.export_lineage(one.url, again=True)["events"] == len(set(ids))
    with pytest.raises(Unavailable):  # nobody listens
        factory.export_lineage(one.url, again=True)
    with pytest.raises(Invalid, match="neither a file nor a URL"):
        factory.export_lineage("ftp://somewhere/x")


def test_what_is_over_long_is_remembered_by_one_mark(factory: Factory) -> None:
    with receiver() as one:
        factory.clock = lambda: world.START + timedelta(days=40_000)
        factory.export_lineage(one.url)
        with factory.stores.ledger.read() as db:
            kept = {row.node for row in db.execute(select(exported.c.node))}
        assert kept == {"dataset:orders", "campaigns"}
        assert factory.export_lineage(one.url)["events"] == 0


def test_as_it_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with receiver() as one:
        monkeypatch.setenv("MODELWORKS_LINEAGE_TO", one.url)
        monkeypatch.setenv("MODELWORKS_LINEAGE_TOKEN", "secret-word")
        root = world.make_project(tmp_path / "shop", days=10)
        with Factory(root) as factory:
            factory.ingest()
            assert one.came.wait(30)
            while not one.events:
                one.came.wait(0.1)
        assert valid(one.events[0]).job.name == "ingest.orders"
        assert one.tokens[0] == "Bearer secret-word"


def test_a_receiver_that_is_down_keeps_nothing_from_going_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with receiver() as one:
        pass
    monkeypatch.setenv("MODELWORKS_LINEAGE_TO", one.url)
    root = world.make_project(tmp_path / "shop", days=10)
    with Factory(root) as factory:
        factory.ingest()
        (report,) = factory.train()
        assert report.trained >= 4
    monkeypatch.delenv("MODELWORKS_LINEAGE_TO")
    with Factory(root) as factory, receiver() as another:
        assert factory.export_lineage(another.url)["events"] > 8  # all of it is there still
