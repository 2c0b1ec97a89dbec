"""Runs recorded by hand: in the journal at once, one row of the ledger, also when the block fails."""

import multiprocessing
import os
import time
from contextlib import suppress
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from modelworks.core.clock import FrozenClock
from modelworks.core.errors import Conflict, Invalid, NotFound
from modelworks.core.ref import Ref
from modelworks.models import packaging
from modelworks.models.layout import to_batch
from modelworks.registry.station import RegistryStation
from modelworks.stores import Stores, journal
from modelworks.track.local import LocalSink
from modelworks.track.run import begin, current, resume
from modelworks.track.settle import folder
from modelworks.track.station import TrackStation

from .conftest import NOW


def test_a_run_has_all_that_was_logged(
    sink: LocalSink, station: TrackStation, clock: FrozenClock, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("by hand")
    with begin(sink, "baseline", experiment="churn", tags={"team": "pricing"}) as run:
        run.log_params({"C": 0.1}, depth=np.int64(3))
        run.log_params(C=0.2)
        for value in [0.9, 0.5, float("nan")]:
            run.log_metrics({"loss": value})
        run.log_metrics(auc=np.float32(0.75), step=7)
        run.log_tags(owner="ann", draft="yes")
        run.log_tags(draft=None)
        run.note("*first*")
        run.log_artifact(tmp_path / "notes.txt")
        digest = run.log_artifact(b"bytes", "raw.bin")
        assert station.run(run.id)["status"] == "running"
        clock.advance(timedelta(minutes=5))
    told = station.run(run.id)
    assert (told["name"], told["experiment"], told["kind"]) == ("baseline", "churn", "experiment")
    assert (told["status"], told["error"], told["note"]) == ("done", None, "*first*")
    assert told["params"] == {"C": 0.2, "depth": 3}
    assert told["metrics"] == {"loss": None, "auc": 0.75}
    assert told["tags"] == {"team": "pricing", "owner": "ann"}
    assert told["artifacts"]["raw.bin"] == digest
    assert station.artifact(run.id, "notes.txt") == b"by hand"
    assert (told["started"], told["ended"], told["duration"]) == (NOW, NOW + timedelta(minutes=5), 300)
    assert (told["steps"], told["points"]) == ({"loss": 2, "auc": 7}, {"loss": 3, "auc": 1})
    course = station.course(run.id, "loss")
    assert course["step"].to_list() == [0, 1, 2]
    assert course["value"].to_list()[:2] == [0.9, 0.5]
    assert np.isnan(course["value"][2])
    assert station.course(run.id, "auc").rows() == [("auc", 7, int(NOW.timestamp() * 1e6), 0.75)]


@pytest.mark.parametrize("error", [ValueError("no luck"), KeyboardInterrupt()])
def test_a_run_that_fails_keeps_what_it_had(
    sink: LocalSink, station: TrackStation, error: BaseException
) -> None:
    with suppress(ValueError, KeyboardInterrupt), begin(sink, "baseline") as run:
        run.log_params(C=1)
        raise error
    told = station.run(run.id)
    assert (told["status"], told["params"]) == ("failed", {"C": 1})
    assert told["error"] in ("ValueError: no luck", "KeyboardInterrupt")


def test_a_run_inside_another_is_part_of_it(sink: LocalSink, station: TrackStation) -> None:
    with begin(sink, "outer", experiment="e") as outer:
        with begin(sink, "inner") as inner:
            assert current() is inner
        assert current() is outer
        aside = begin(sink, "aside", parent=inner)
        aside.end()
        assert current() is outer
    assert current() is None
    assert (inner.parent, inner.experiment, aside.parent) == (outer.id, "e", inner.id)
    assert [child["name"] for child in station.run(outer.id)["children"]] == ["inner"]
    assert [run["name"] for run in station.find(f"parent = '{outer.id}'")] == ["inner"]


def test_a_run_goes_on(sink: LocalSink, station: TrackStation) -> None:
    with begin(sink, "long", tags={"a": "b"}) as first:
        first.log_params(lr=0.1)
        first.log_metrics(loss=3.0)
        first.log_metrics(loss=2.0)
    with pytest.raises(Conflict, match="has ended"):
        first.log_metrics(loss=1.0)
    assert station.run(first.id)["status"] == "done"
    with resume(sink, first.id[:20]) as again:
        assert (again.params, again.tags, again.metrics) == ({"lr": 0.1}, {"a": "b"}, {"loss": 2.0})
        assert station.run(first.id)["status"] == "running"
        again.log_metrics(loss=1.0)
    told = station.run(first.id)
    assert (told["status"], told["metrics"], told["ended"] is None) == ("done", {"loss": 1.0}, False)
    assert station.course(first.id, "loss")["value"].to_list() == [3.0, 2.0, 1.0]
    with pytest.raises(NotFound):
        resume(sink, "0" * 26)


def test_the_newest_value_is_the_one_of_the_highest_step(sink: LocalSink, station: TrackStation) -> None:
    with begin(sink, "late") as run:
        run.log_metrics(loss=1.0, step=10)
        run.settle()
        run.log_metrics(loss=5.0, step=2)
    told = station.run(run.id)
    assert (told["metrics"], told["steps"]) == ({"loss": 1.0}, {"loss": 10})
    assert station.course(run.id)["step"].to_list() == [2, 10]


def test_a_whole_course_at_once(sink: LocalSink, station: TrackStation) -> None:
    with begin(sink, "boosted") as run:
        run.log_metrics(loss=9.0)
        run.log_course("loss", np.array([3.0, float("inf"), 1.0]))
        run.log_course("loss", [0.5], steps=[10])
        run.log_course("nothing", [])
        with pytest.raises(Invalid, match="as many"):
            run.log_course("loss", [1.0], steps=[1, 2])
        with pytest.raises(Invalid, match="not a number"):
            run.log_course("loss", ["high"])  # type: ignore[list-item]
    course = station.course(run.id, "loss")
    assert course["step"].to_list() == [0, 1, 2, 3, 10]
    assert course["value"].to_list() == [9.0, 3.0, float("inf"), 1.0, 0.5]
    assert (station.run(run.id)["metrics"], run.metrics) == ({"loss": 0.5}, {"loss": 0.5})


def test_points_move_into_their_table_and_are_read_as_before(
    sink: LocalSink, station: TrackStation, stores: Stores
) -> None:
    with begin(sink, "long") as run:
        for step in range(500):
            run.log_metrics(loss=1 / (step + 1), acc=step / 500)
    before = station.course(run.id)
    from modelworks.track import points

    assert points.pack(stores, worth=100_000) == 0
    assert points.pack(stores, worth=1) == 1000
    with stores.ledger.read() as db:
        assert points.waiting(db) == 0
    after = station.course(run.id)
    assert len(after) == 1000
    assert after.equals(before)
    some = station.course(run.id, "loss", most=10)
    assert 5 <= len(some) <= 10
    assert some["step"][-1] == 499


def test_points_that_were_moved_are_not_moved_again_after_a_kill(
    sink: LocalSink, station: TrackStation, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    from modelworks.track import points

    with begin(sink, "long") as run:
        for step in range(10):
            run.log_metrics(loss=step)
    run.settle()
    with monkeypatch.context() as patched:
        patched.setattr(points, "delete", lambda *_: 1 / 0)  # dies between the table and the ledger
        with pytest.raises(ZeroDivisionError):
            points.pack(stores, worth=1)
    assert len(station.course(run.id)) == 10
    assert points.pack(stores, worth=1) == 10
    assert len(station.course(run.id)) == 10
    assert stores.tables.scan(points.TABLE).collect().height == 10


def test_figures_and_tables_are_artifacts(sink: LocalSink, station: TrackStation) -> None:
    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots()
    axis.plot([1, 2, 3])
    with begin(sink, "drawn") as run:
        run.log_figure(figure, "course")
        run.log_figure(axis, "course.svg")
        run.log_table(pl.DataFrame({"a": [1, 2]}), "rows")
        run.log_table(pd.DataFrame({"b": ["x"]}), "texts")
        run.log_table({"c": [0.5]})
        with pytest.raises(Invalid, match="not a figure"):
            run.log_figure("no")
        with pytest.raises(Invalid, match="not a table"):
            run.log_table(3)
    pyplot.close(figure)
    assert set(run.artifacts) == {
        "course.png",
        "course.svg",
        "rows.parquet",
        "texts.parquet",
        "table.parquet",
    }
    assert station.artifact(run.id, "course.png").startswith(b"\x89PNG")
    assert b"<svg" in station.artifact(run.id, "course.svg")
    assert pl.read_parquet(BytesIO(station.artifact(run.id, "rows.parquet")))["a"].to_list() == [1, 2]


def test_the_machine_is_watched(sink: LocalSink, station: TrackStation) -> None:
    with begin(sink, "busy", system=0.1) as run:
        time.sleep(0.25)
    told = station.run(run.id)
    assert told["metrics"]["system.process_memory_mb"] > 1
    assert told["points"]["system.cpu_percent"] >= 2
    assert len(station.find("metrics.system.memory_percent > 0")) == 1


def test_where_a_run_comes_from(sink: LocalSink, station: TrackStation, stores: Stores) -> None:
    with begin(sink, "known") as run:
        pass
    sink.source.wait()
    source = station.run(run.id)["source"]
    assert b'"numpy": {' in stores.artifacts.get(source["environment"])
    assert source["host"]
    with begin(sink, "second") as again:
        pass
    assert station.run(again.id)["source"] == source


def test_a_model_that_is_logged_is_a_version_at_once(
    sink: LocalSink, station: TrackStation, stores: Stores, clock: FrozenClock
) -> None:
    frame = pd.DataFrame({"x": np.arange(40.0), "z": np.arange(40.0) % 7})
    y = np.array(["no", "yes"])[(frame["x"] > 20).astype(int)]
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, y)
    with suppress(RuntimeError), begin(sink, "baseline") as run:
        run.log_metrics(auc=0.7)
        version = run.log_model(model, "churn", frame.head(10))
        assert RegistryStation(stores.ledger, clock).get(Ref("churn", at=1)) == version
        assert station.run(run.id)["status"] == "running"
        run.log_metrics(auc=0.8)
        raise RuntimeError
    told = station.run(run.id)
    assert (told["status"], told["metrics"]) == ("failed", {"auc": 0.8})
    assert (version.run, version.version, dict(version.metrics)) == (run.id, 1, {"auc": 0.7})
    assert version.package.signature.classes == ("no", "yes")
    assert version.package.compiled is not None
    assert version.package.environment in stores.artifacts
    assert version.package.code in stores.artifacts
    predictor = packaging.load(version.package, stores.artifacts)
    answers = predictor.predict(to_batch(frame, version.package.signature))
    np.testing.assert_allclose(answers, model.predict_proba(frame), atol=1e-5)


def test_a_run_makes_one_version(sink: LocalSink) -> None:
    frame = pd.DataFrame({"x": np.arange(40.0)})
    model = LogisticRegression().fit(frame, frame["x"] > 20)
    with begin(sink, "baseline") as run:
        run.log_model(model, "churn", frame)
        with pytest.raises(Conflict, match="has logged a model already"):
            run.log_model(model, "churn", frame)


def test_what_cannot_be_logged_is_refused(sink: LocalSink, station: TrackStation) -> None:
    with begin(sink, "baseline") as run:
        with pytest.raises(Invalid, match="not a number"):
            run.log_metrics(loss="small")  # type: ignore[arg-type]
        with pytest.raises(Invalid, match="no name"):
            run.log_artifact(b"bytes")
        for name in ("", "../x", "/etc/passwd", "x" * 251, "a\nb"):
            with pytest.raises(Invalid, match="cannot name"):
                run.log_metrics({name: 1.0})
            with pytest.raises(Invalid, match="cannot name"):
                run.log_params({name: 1.0})
            with pytest.raises(Invalid):
                run.log_artifact(b"", name)
        with pytest.raises(Invalid, match="too long"):
            run.log_params(text="x" * 10_001)
    for name in ("../run", "", "x" * 121):
        with pytest.raises(Invalid, match="not a valid run name"):
            begin(sink, name)
    assert station.run(run.id)["metrics"] == {}


def test_deleted_runs_come_back(sink: LocalSink, station: TrackStation) -> None:
    with begin(sink, "outer") as outer, begin(sink, "inner"):
        pass
    assert station.delete([outer.id]) == 2
    assert station.find("") == []
    assert {run["name"] for run in station.find("", deleted=True)} == {"outer", "inner"}
    assert station.restore([outer.id]) == 2
    assert len(station.find("")) == 2


def test_a_run_is_a_block_of_html(sink: LocalSink) -> None:
    with begin(sink, "<b>shown</b>") as run:
        run.log_params(name="<script>")
        for value in (3.0, float("nan"), 1.0):
            run.log_metrics(loss=value)
    html = run._repr_html_()
    assert "&lt;b&gt;shown" in html
    assert "<script>" not in html
    assert "<polyline" in html


def _log_in_child(run: object, steps: range) -> None:
    for step in steps:
        run.log_metrics(loss=float(step), step=step)  # type: ignore[attr-defined]


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_logs_to_the_same_run(sink: LocalSink, station: TrackStation) -> None:
    with begin(sink, "forked") as run:
        os.register_at_fork(after_in_child=sink.forget)  # as `sdk.standalone` does for its own
        child = multiprocessing.get_context("fork").Process(target=_log_in_child, args=(run, range(100)))
        child.start()
        _log_in_child(run, range(100, 200))
        child.join()
        assert child.exitcode == 0
        assert station.run(run.id)["status"] == "running"  # the child's death is not the run's
    assert station.course(run.id)["step"].to_list() == list(range(200))
    assert station.run(run.id)["status"] == "done"


def test_a_long_journal_has_several_files(
    stores: Stores, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "_FIRST", 1024)
    sink = LocalSink(stores, clock)
    sink.journal._rotate = 2000
    station = TrackStation(stores, clock)
    with begin(sink, "long") as run:
        for step in range(200):
            run.log_metrics(loss=step)
            if step % 50 == 25:
                assert len(station.course(run.id)) == step + 1
                assert station.run(run.id)["status"] == "running"
    assert sink.journal._number > 3
    sink.close()
    assert len(station.course(run.id)) == 200
    assert journal.files(folder(stores)) == []
