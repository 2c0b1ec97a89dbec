"""Experiments, logged models and links of runs, in both kinds of ledger."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import true
from tests.track.conftest import NOW

from modelworks.core.clock import new_id
from modelworks.core.errors import Conflict, Invalid, NotFound
from modelworks.stores import Stores
from modelworks.track import book, experiments, links, logged, look
from modelworks.track.entry import Entry
from modelworks.track.links import Link

LATER = NOW + timedelta(hours=1)


def begin(stores: Stores, experiment: str | None) -> str:
    run = new_id()
    with stores.ledger.write() as db:
        book.enter(db, [Entry(run, round(NOW.timestamp() * 1e6), name="r", experiment=experiment)])
    return run


def test_what_runs_name_is_numbered(both: Stores) -> None:
    begin(both, "first")
    begin(both, "second")
    begin(both, "first")
    begin(both, None)
    with both.ledger.read() as db:
        rows = experiments.find(db, true(), (), 0, 10)
        assert [row["name"] for row in rows] == ["second", "first"]
        assert experiments.by_name(db, "first")["created"] == NOW
        assert experiments.get(db, experiments.DEFAULT)["name"] == ""
        assert set(experiments.of(db, [rows[0]["id"], 0, 999])) == {rows[0]["id"], 0}
        with pytest.raises(NotFound):
            experiments.get(db, 999)


def test_runs_follow_their_experiment(both: Stores) -> None:
    run, other = begin(both, "first"), begin(both, "other")
    with both.ledger.write() as db:
        number = experiments.by_name(db, "first")["id"]
        experiments.rename(db, number, "renamed", LATER)
        assert look.rows(db, [run], ["id", "experiment"])[0]["experiment"] == "renamed"
        with pytest.raises(Conflict):
            experiments.rename(db, number, "other", LATER)
        with pytest.raises(Invalid):
            experiments.rename(db, experiments.DEFAULT, "mine", LATER)
        experiments.delete(db, number, LATER)
        deleted = {row["id"]: row["deleted"] for row in look.rows(db, [run, other], ["id", "deleted"])}
        assert deleted == {run: LATER, other: None}
        with pytest.raises(Conflict):
            experiments.delete(db, number, LATER)
        with pytest.raises(Conflict, match="already"):
            experiments.create(db, "renamed", {}, LATER)
        experiments.restore(db, number, LATER)
        assert look.rows(db, [run], ["id", "deleted"])[0]["deleted"] is None


def test_tags(both: Stores) -> None:
    with both.ledger.write() as db:
        number = experiments.create(db, "first", {"a": "1"}, NOW)
        experiments.tag(db, number, {"a": None, "b": "2"}, LATER)
        experiments.tag(db, experiments.DEFAULT, {"c": "3"}, LATER)
        assert experiments.get(db, number)["tags"] == {"b": "2"}
        assert experiments.get(db, experiments.DEFAULT)["tags"] == {"c": "3"}
        assert experiments.create(db, "second", {}, NOW) != experiments.DEFAULT


def test_a_logged_model(both: Stores) -> None:
    point = {"name": "auc", "value": 0.5, "step": 1, "time": 5, "run": "", "dataset": "", "digest": ""}
    with both.ledger.write() as db:
        made = logged.create(db, 0, "m", run=None, kind="", params={"a": "1"}, tags={}, now=NOW)
        logged.measure(db, made, [point, {**point, "value": 0.7, "step": 0}, {**point, "dataset": "d"}], NOW)
        logged.measure(db, made, [{**point, "value": "NaN", "step": 2}], NOW)
        logged.keep(db, made, {"MLmodel": "a" * 64, "x": "b" * 64}, NOW)
        logged.keep(db, made, {"x": None}, NOW)
        logged.add_params(db, made, {"a": "1", "b": "2"}, NOW)
        with pytest.raises(Conflict):
            logged.add_params(db, made, {"a": "2"}, NOW)
        logged.finish(db, made, logged.READY, "", LATER)
        row = logged.get(db, made)
        assert (row["status"], row["params"], row["artifacts"]) == (
            "ready", {"a": "1", "b": "2"}, {"MLmodel": "a" * 64},
        )  # fmt: skip
        assert {(one["dataset"], one["value"]) for one in row["points"]} == {("", "NaN"), ("d", 0.5)}
        assert row["metrics"] == {"auc": 0.5}
        logged.delete(db, made, LATER)
        with pytest.raises(NotFound):
            logged.get(db, made)
        with pytest.raises(Invalid):
            logged.create(db, 0, "a/b", run=None, kind="", params={}, tags={}, now=NOW)


def test_links(both: Stores) -> None:
    run = begin(both, None)
    with both.ledger.write() as db:
        links.add(db, [Link(run, "dataset", "d#1", {"a": 1}), Link(run, "model_out", "m-1", {"step": 3})])
        links.add(db, [Link(run, "dataset", "d#1", {"a": 2})])
        assert [(one.role, one.detail) for one in links.of(db, [run])[run]] == [
            ("dataset", {"a": 2}),
            ("model_out", {"step": 3}),
        ]


def test_an_artifact_is_taken_away(both: Stores) -> None:
    run = begin(both, None)
    with both.ledger.write() as db:
        book.enter(db, [Entry(run, 1, artifacts={"a": "a" * 64, "b": "b" * 64})])
        book.enter(db, [Entry(run, 2, artifacts={"a": None})])
        assert look.rows(db, [run], ["id", "artifacts"])[0]["artifacts"] == {"b": "b" * 64}
