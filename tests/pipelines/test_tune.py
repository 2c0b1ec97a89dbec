"""Tuning of a project: what it keeps, what trainings make of it, and that a kill costs nothing that was done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from modelworks.core.errors import Invalid
from modelworks.factory import Factory
from modelworks.train import trainer

CODE = """
import modelworks as mw

rows = mw.Dataset("rows", source=mw.Files("data/*.csv"), key="id", time="at",
                  contract={{"id": str, "at": mw.Time(), "side": str, "x": mw.Number(), "y": mw.Number(integer=True)}})

@mw.model(dataset=rows, target="y", features=["x"], per=["side"], min_rows=100, metrics=["log_loss"],
          params={{"C": 1.0}}, {more})
def guess(X, y, params):
    import time
    from sklearn.linear_model import LogisticRegression
    time.sleep({pause})
    return LogisticRegression(C=params["C"]).fit(X, y)
"""
TUNE = 'tune=mw.Tune({"C": (0.001, 100.0, "log")}, searcher="random", trials=8, folds=2, prune=False)'


@pytest.fixture(scope="module", autouse=True)
def _workers() -> Iterator[None]:
    yield
    trainer.close()


def project(folder: Path, more: str = TUNE, pause: float = 0.0) -> Path:
    (folder / "data").mkdir(parents=True)
    (folder / "factory.py").write_text(CODE.format(more=more, pause=pause))
    random = np.random.default_rng(2)
    x = random.normal(size=600)
    pl.DataFrame(
        {
            "id": [str(at) for at in range(600)],
            "at": [f"2026-01-{1 + at // 24:02d}T{at % 24:02d}:00:00Z" for at in range(600)],
            "side": random.choice(["l", "r"], 600),
            "x": x,
            "y": (x + random.normal(size=600) > 0).astype(int),
        }
    ).write_csv(folder / "data" / "rows.csv")
    return folder


def trials(factory: Factory) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = factory.runs("kind = 'trial' order by id", limit=1000)
    return found


def essence(factory: Factory) -> Any:
    return sorted(
        (t["segment"], int(t["tags"]["trial"]), t["params"]["C"], t["metrics"]["log_loss"])
        for t in trials(factory)
    )


def test_trainings_use_what_was_found(tmp_path: Path) -> None:
    with Factory(project(tmp_path)) as factory:
        factory.ingest()
        factory.train("guess")
        report = factory.tune("guess")
        assert [one.segment for one in report.searches] == ["", "l", "r"]
        assert report.new == 24
        for one in report.searches:
            assert one.trials == 8
            assert one.best <= one.before
            mine = [t for t in trials(factory) if t["parent"] == one.run]
            assert one.best == pytest.approx(min(t["metrics"]["log_loss"] for t in mine))
            assert min(mine, key=lambda t: t["metrics"]["log_loss"])["params"] == one.params
            told = factory.run(one.run)
            assert (told["kind"], told["status"], told["params"]) == ("search", "done", one.params)
        # A segment begins with the definition's own and with its parent's best.
        whole, left, _ = report.searches
        best = sorted(
            (t for t in trials(factory) if t["parent"] == whole.run), key=lambda t: t["metrics"]["log_loss"]
        )
        begun = [t["params"] for t in sorted(trials(factory), key=lambda t: int(t["tags"]["trial"]))
                 if t["parent"] == left.run]  # fmt: skip
        wanted = [{"C": 1.0}, *(t["params"] for t in best[:3] if t["params"] != {"C": 1.0})]
        assert begun[: len(wanted)] == wanted
        # The same data with other parameters is another training.
        (trained,) = factory.train("guess")
        assert (trained.trained, trained.skipped) == (3, 0)
        for one in report.searches:
            version = f"guess[{one.segment}]@2" if one.segment else "guess@2"
            run = factory.model(version)["version"]["run"]
            assert factory.run(run)["params"] == one.params
            edges = [vars(edge) for edge in factory.lineage(version)["edges"]]
            assert {"source": f"run:{one.run}", "relation": "tuned", "target": f"run:{run}"} in edges
        # Once more brings nothing new; more trials go on.
        assert factory.tune("guess").new == 0
        assert factory.tune("guess", segments=[""], trials=10).new == 2
        assert factory.tune("guess", seed=1, segments=[""]).new == 8
        compared = factory.compare(",".join(t["id"] for t in trials(factory)[:3]))
        assert any(field["field"] == "params.C" and field["differ"] for field in compared["fields"])


def test_one_search_for_all_and_a_budget_in_minutes(tmp_path: Path) -> None:
    more = TUNE.replace("trials=8", 'trials=8, scope="model"')
    with Factory(project(tmp_path, more)) as factory:
        factory.ingest()
        report = factory.tune("guess", minutes=1e-9)
        assert (report.new, report.searches[0].error) == (0, "no trial was made in the time")
        report = factory.tune("guess")
        assert [one.segment for one in report.searches] == [""]
        factory.train("guess")
        run = factory.run(factory.model("guess[l]@1")["version"]["run"])
        assert run["params"] == report.searches[0].params


def test_a_model_that_is_not_tuned_says_so(tmp_path: Path) -> None:
    with Factory(project(tmp_path, "")) as factory:
        factory.ingest()
        with pytest.raises(Invalid, match="does not say what to search"):
            factory.tune("guess")


@pytest.mark.fault
def test_a_search_that_is_killed_goes_on_and_repeats_nothing(tmp_path: Path) -> None:
    with Factory(project(tmp_path / "whole")) as factory:
        factory.ingest()
        factory.tune("guess")
        expected = essence(factory)
    folder = project(tmp_path / "killed", pause=0.05)
    with Factory(folder) as factory:
        factory.ingest()
        seen: set[str] = set()
        for least in (2, 11, 17):
            process = subprocess.Popen(
                [sys.executable, "-m", "modelworks.cli", "--project", str(folder), "tune", "guess"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            deadline = time.monotonic() + 120
            while len(trials(factory)) < least:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            now = {t["id"] for t in trials(factory)}
            assert seen <= now
            seen = now
        report = factory.tune("guess")
        assert report.new == 24 - len(seen)
        counted = Counter((t["parent"], t["tags"]["trial"]) for t in trials(factory))
        assert set(counted.values()) == {1}
        assert essence(factory) == expected
        assert factory.runs("kind = 'search' and status != 'done'") == []
