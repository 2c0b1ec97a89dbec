"""Searches on real fits: judged on the newest rows that may be learned from, the same whatever the workers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from modelworks.jobs.executors.inline import Inline
from modelworks.models.definition import Definition
from modelworks.stores.artifacts import LocalArtifacts
from modelworks.train import columns, trainer
from modelworks.train.segments import chosen, select, split
from modelworks.train.tune import Tune
from modelworks.train.tuning import Search, Tuned, nearest, search

START = datetime(2013, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module", autouse=True)
def _workers() -> Iterator[None]:
    yield
    trainer.close()


def rows(number: int = 400) -> pl.DataFrame:
    random = np.random.default_rng(5)
    x = random.normal(size=(number, 2))
    return pl.DataFrame(
        {
            "side": random.choice(["l", "r"], number),
            "when": [START + timedelta(minutes=int(at)) for at in random.permutation(number)],
            "a": x[:, 0],
            "b": x[:, 1],
            "y": (x[:, 0] + random.normal(size=number) > 0).astype(int),
        }
    )


def fit(frame: Any, y: Any, params: dict[str, Any]) -> Any:
    if params.get("fail"):
        raise RuntimeError("as was asked")
    return LogisticRegression(C=params["C"]).fit(frame, y)


DEFINITION = Definition("m", "d", "y", ("a", "b"), fit, ("side",), metrics=("log_loss",), params={"C": 1.0})
TUNE = Tune({"C": (0.001, 100.0, "log")}, searcher="random", trials=10, prune=False)


def made(
    frame: pl.DataFrame,
    root: Path,
    how: Tune = TUNE,
    executor: Any = None,
    known: dict[int, Any] | None = None,
    first: Any = (),
    metric: str = "log_loss",
) -> Search:
    selected = select(DEFINITION, frame, time="when")
    stored = columns.write(selected.frame, root / "rows.arrow")
    plan = trainer.plan_of(DEFINITION, stored, selected.since, LocalArtifacts(root))
    (part,) = chosen(selected, [("l",)])
    one = Search(part, first, dict(known or {}))
    list(search(plan, how, metric, [one], executor=executor or Inline(), workers=2, over=lambda: False))
    return one


def essence(one: Search) -> Any:
    return {number: (params, at.values, at.pruned) for number, (params, at) in sorted(one.done.items())}


def test_a_search_is_the_same_in_processes_and_when_it_goes_on(tmp_path: Path) -> None:
    frame = rows()
    whole = made(frame, tmp_path)
    assert sorted(whole.done) == list(range(10))
    assert essence(made(frame, tmp_path, executor=trainer.executor_of("processes"))) == essence(whole)
    for cut in ({0, 1, 2, 3, 5}, {1}, set(range(10))):
        known = {number: whole.done[number] for number in cut}
        again = made(frame, tmp_path, known=known)
        assert essence(again) == essence(whole)
        assert all(again.done[number] is whole.done[number] for number in cut)  # not tried again
    shorter = made(frame, tmp_path, replace(TUNE, trials=6))
    assert essence(made(frame, tmp_path, known=shorter.done)) == essence(whole)


def test_the_folds_are_the_newest_rows_that_are_learned_from(tmp_path: Path) -> None:
    frame = rows()
    one = made(frame, tmp_path, first=[{"C": 0.5}])
    mine = frame.filter(pl.col("side") == "l").sort("when").to_pandas()
    mine = mine[: split(mine["when"].astype("int64").to_numpy(), 0.2)]
    expected = []
    edges = [round(len(mine) * part / 4) for part in (1, 2, 3)] + [len(mine)]
    for begin, end in pairwise(edges):
        older, newer = mine[:begin], mine[begin:end]
        model = LogisticRegression(C=0.5).fit(older[["a", "b"]], older["y"])
        expected.append(log_loss(newer["y"], model.predict_proba(newer[["a", "b"]])))
    params, attempted = one.done[0]
    assert params == {"C": 0.5}
    assert attempted.values == pytest.approx(expected, rel=1e-5)


def test_rows_that_are_held_out_have_no_say(tmp_path: Path) -> None:
    frame = rows()
    newest = frame.filter(pl.col("side") == "l").sort("when").tail(20)["when"]
    turned = frame.with_columns(
        pl.when(pl.col("when").is_in(newest.implode())).then(1 - pl.col("y")).otherwise("y").alias("y")
    )
    assert essence(made(frame, tmp_path)) == essence(made(turned, tmp_path))
    oldest = frame.filter(pl.col("side") == "l").sort("when").head(20)["when"]
    turned = frame.with_columns(
        pl.when(pl.col("when").is_in(oldest.implode())).then(1 - pl.col("y")).otherwise("y").alias("y")
    )
    assert essence(made(frame, tmp_path)) != essence(made(turned, tmp_path))


def test_bad_trials_are_given_up_and_never_the_best(tmp_path: Path) -> None:
    good = [{"C": c} for c in (1.0, 2.0, 3.0, 4.0)]
    one = made(rows(), tmp_path, replace(TUNE, prune=True), first=[*good, {"C": 1e-7}, {"C": 1e-6}])
    given_up = {number for number, (_, at) in one.done.items() if at.pruned}
    assert {4, 5} <= given_up
    assert all(len(one.done[number][1].values) < 3 for number in given_up)
    (best,) = one.best("log_loss")
    assert best.number not in given_up
    assert best.loss == min(t.loss or 9 for t in one.trials("log_loss") if not t.pruned)


def test_a_trial_that_fails_says_why_and_stops_nothing(tmp_path: Path) -> None:
    how = Tune({"C": (0.1, 1.0), "fail": [True, False]}, searcher="grid", trials=100)
    one = made(rows(), tmp_path, how)
    failed = [at for params, at in one.done.values() if params["fail"]]
    assert len(one.done) == 10  # all there is
    assert len(failed) == 5
    assert all("as was asked" in at.error for at in failed)
    assert not one.best("log_loss")[0].params["fail"]


def test_more_is_better_where_the_metric_says_so(tmp_path: Path) -> None:
    one = made(rows(), tmp_path, metric="roc_auc")
    (best,) = one.best("roc_auc")
    assert best.loss == min(-np.mean(at.values) for _, at in one.done.values())


def test_a_segment_has_what_was_found_for_its_nearest_parent() -> None:
    found = {(): Tuned({"C": 1}, "r"), ("UA",): Tuned({"C": 2}, "s")}
    assert nearest(found, ("UA", "EWR")) == found[("UA",)]
    assert nearest(found, ("AA", "EWR")) == found[()]
    assert nearest({}, ("UA",)) is None
